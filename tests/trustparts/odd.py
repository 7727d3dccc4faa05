"""A registry of our own, with the referrers API, that behaves as oddly as a test wants."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.controlplane.component import Component
from tests.controlplane.ports import start_component
from tests.trustparts.authority import ServerTls
from tests.trustparts.registries import LOOPBACK, Registry, RegistryError, registry_component


class Request(msgspec.Struct, frozen=True):
    """A request in the log. `listener` is "registry" or "storage", `kind` as in Fault, `path` with the query."""

    listener: str
    host: str
    method: str
    path: str
    repository: str
    kind: str
    authorization: str
    user_agent: str


class Fault(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What the registry does instead of its true answer; the first fault that fits a request counts.

    kind: "tag", "manifest", "blob", "referrers", "token", "ping", or "" for all. methods: GET and HEAD unless set.
    times: how many requests (0: all). status: instead of the true answer (0: the true one), with an empty body.
    headers: set, or removed by an empty value; {path} stands for the request's path. body: None for the true one.
    endless: the body again and again. drip_ms: pause after each byte. flip: one bit of the body.
    """

    kind: str = ""
    methods: tuple[str, ...] = ()
    times: int = 0
    delay_ms: int = 0
    status: int = 0
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    endless: bool = False
    drip_ms: int = 0
    flip: bool = False


NO_REFERRERS = Fault("referrers", status=404)
HTML_REFERRERS = Fault("referrers", headers={"Content-Type": "text/html"}, body=b"<html>Sign in</html>")
NO_DIGEST_HEADER = Fault(headers={"Docker-Content-Digest": ""})
UNAVAILABLE = Fault(status=503)
ENDLESS = Fault("blob", body=b"x" * 65536, endless=True)
WRONG_BYTES = Fault("blob", flip=True)
HIDDEN_SUBJECTS = Fault("manifest", methods=("PUT",), headers={"OCI-Subject": ""})
"""Clients that push a referrer take the registry for one without the referrers API, and write the fallback tag."""


class Behavior(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """How the registry answers for a repository.

    auth: "", "basic" or "bearer", with bearer and no user for everybody. realm: where clients are sent for a token
    ("" for the registry's own). page_size: descriptors an answer of the referrers API (0: all). turns: digests that
    each tag stands for, one after the other.
    """

    auth: str = ""
    user: str = ""
    password: str = ""
    realm: str = ""
    page_size: int = 0
    ignores_filter: bool = False
    turns: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


class OddRegistry(Registry):
    """Our own registry. `storage` is the host and port at which it serves the same content plainly."""

    def __init__(self, component: Component, port: int, storage: int, ca: Path, address: str = LOOPBACK) -> None:
        super().__init__(component, port, ca, address=address)
        self.storage = f"{address}:{storage}"

    def behave(self, behavior: Behavior, name: str = "") -> None:
        """How it answers from now on for a repository.

        name: without the host; "" is for all repositories that have no behavior of their own.
        """
        body = msgspec.json.encode(behavior)
        status, _, answer = self.request("POST", f"/control/behavior?repository={name}", body)
        if status != 200:
            raise RegistryError(answer.decode())

    def requests(self, name: str | None = None) -> list[Request]:
        """What was asked so far, of one repository or of all; pushes too."""
        _, _, body = self.request("GET", "/control/requests")
        requests = msgspec.json.decode(body, type=list[Request])
        return [request for request in requests if name is None or request.repository == name]

    def redirect(self, kind: str = "blob") -> Fault:
        """A fault that sends clients to the storage."""
        return Fault(kind, status=307, headers={"Location": f"https://{self.storage}{{path}}"})


def start_odd_registry(binary: Path, folder: Path, tls: ServerTls, address: str = LOOPBACK) -> OddRegistry:
    """Our own registry, started; stop its component. The certificate must be for `address`."""
    selected: dict[str, int] = {}

    def make(ports: dict[str, int]) -> Component:
        selected.update(ports)
        addresses = (f"{address}:{ports['registry']}", f"{address}:{ports['storage']}")
        command = (str(binary), *addresses, str(tls.certificate), str(tls.key))
        return registry_component("oddregistry", command, folder, ports["registry"], tls, address)

    component = start_component(folder / "ports.json", ("registry", "storage"), make)
    return OddRegistry(component, selected["registry"], selected["storage"], tls.ca, address)
