"""OCI registries on loopback with TLS, how they are filled, and distribution, which has no referrers API."""

import base64
import hashlib
import http.client
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml

from tests.controlplane.component import Component, base_environment
from tests.controlplane.ports import start_component
from tests.trustparts.authority import ServerTls

LOOPBACK = "127.0.0.1"
USER = "robot"
PASSWORD = "correct horse"
# Both of the above; distribution takes bcrypt only.
_HTPASSWD = "$2a$04$BN4HyvX5O82VLW37P4gSIOzpRlg.pykd3wqgYIcH1FcQ98yqh90gS"

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


class RegistryError(Exception):
    """A registry did not take what a test gave it."""


class Image(msgspec.Struct, frozen=True):
    """A manifest in a registry. `repository` has the host and the port."""

    repository: str
    digest: str
    size: int
    media_type: str = IMAGE

    @property
    def reference(self) -> str:
        """The image by digest, as a pod names it."""
        return f"{self.repository}@{self.digest}"


class Registry:
    """A running registry. `host` has the port; clients trust `ca`."""

    def __init__(
        self, component: Component, port: int, ca: Path, authorization: str = "", address: str = LOOPBACK
    ) -> None:
        self.component = component
        self.host = f"{address}:{port}"
        self.ca = ca
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._authorization = authorization

    def push_image(self, name: str, content: str = "", tag: str | None = None) -> Image:
        """A tiny image with this content in its only layer, in the repository `name` (without host)."""
        layer = self.push_blob(name, f"layer of {content}".encode(), LAYER)
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        }
        described = self.push_blob(name, msgspec.json.encode(config), CONFIG)
        return self.push_manifest(name, {"mediaType": IMAGE, "config": described, "layers": [layer]}, tag)

    def push_index(
        self, name: str, children: Sequence[Image], tag: str | None = None, of_builder: Sequence[Image] = ()
    ) -> Image:
        """An index of images for linux/amd64, linux/arm64, and so on.

        of_builder: manifests that cannot run, as BuildKit adds them.
        """
        platforms = [{"os": "linux", "architecture": machine} for machine in ("amd64", "arm64", "s390x", "ppc64le")]
        manifests = [
            descriptor(child) | {"platform": platform} for child, platform in zip(children, platforms, strict=False)
        ]
        unknown = {"platform": {"os": "unknown", "architecture": "unknown"}}
        manifests += [descriptor(image) | unknown for image in of_builder]
        return self.push_manifest(name, {"mediaType": INDEX, "manifests": manifests}, tag)

    def attach(
        self,
        subject: Image,
        payload: bytes,
        media_type: str = BUNDLE,
        annotations: Mapping[str, str] | None = None,
        artifact_type: str = BUNDLE,
    ) -> Image:
        """A referrer of `subject` with `payload` as its layer; without a referrers API also in the fallback tag."""
        name = subject.repository.removeprefix(f"{self.host}/")
        manifest = {
            "mediaType": IMAGE,
            "artifactType": artifact_type,
            "config": self.push_blob(name, b"{}", EMPTY),
            "layers": [self.push_blob(name, payload, media_type)],
            "annotations": dict(annotations or {}),
            "subject": descriptor(subject),
        }
        body = msgspec.json.encode({"schemaVersion": 2} | manifest)
        pushed = self.put_manifest(name, digest_of(body), body, IMAGE)
        if not pushed.understands_subject:
            self._add_to_fallback_tag(name, subject, pushed.image, artifact_type)
        return pushed.image

    def attach_by_tag(
        self, subject: Image, suffix: str, layers: Sequence[tuple[str, bytes, Mapping[str, str]]]
    ) -> Image:
        """What older cosign writes: the tag sha256-HEX with a suffix (".sig", ".att").

        layers: media type, bytes, annotations of each.
        """
        name = subject.repository.removeprefix(f"{self.host}/")
        manifest = {
            "mediaType": IMAGE,
            "config": self.push_blob(name, b"{}", CONFIG),
            "layers": [
                self.push_blob(name, payload, media_type) | {"annotations": dict(annotations)}
                for media_type, payload, annotations in layers
            ],
        }
        return self.push_manifest(name, manifest, subject.digest.replace(":", "-") + suffix)

    def bundles(self, subject: Image) -> list[bytes]:
        """The first layer of everything that refers to an image, in the order of its list."""
        name = subject.repository.removeprefix(f"{self.host}/")
        status, _, listed = self.request("GET", f"/v2/{name}/referrers/{subject.digest}")
        if status == 404:
            fallback = f"/v2/{name}/manifests/{subject.digest.replace(':', '-')}"
            _, _, listed = self.request("GET", fallback, headers={"Accept": INDEX})
        layers = []
        for entry in msgspec.json.decode(listed)["manifests"]:
            _, _, manifest = self.request("GET", f"/v2/{name}/manifests/{entry['digest']}", headers={"Accept": IMAGE})
            digest = msgspec.json.decode(manifest)["layers"][0]["digest"]
            layers.append(self.request("GET", f"/v2/{name}/blobs/{digest}")[2])
        return layers

    def push_blob(self, name: str, content: bytes, media_type: str) -> dict[str, Any]:
        """A blob; gives its descriptor. Raises RegistryError."""
        digest = digest_of(content)
        status, headers, _ = self.request("POST", f"/v2/{name}/blobs/uploads/")
        if status != 202:
            raise RegistryError(f"{self.host}: {status} for an upload to {name}")
        location = urlsplit(headers["Location"])
        query = f"{location.query}&" if location.query else ""
        sent = {"Content-Type": "application/octet-stream"}
        status, _, body = self.request("PUT", f"{location.path}?{query}digest={digest}", content, sent)
        if status != 201:
            raise RegistryError(f"{self.host}: {status} for a blob of {name}: {body.decode(errors='replace')}")
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def push_manifest(self, name: str, manifest: Mapping[str, Any], tag: str | None = None) -> Image:
        """A manifest, by digest or by tag. Raises RegistryError."""
        body = msgspec.json.encode({"schemaVersion": 2} | dict(manifest))
        return self.put_manifest(name, tag or digest_of(body), body, manifest["mediaType"]).image

    def put_manifest(self, name: str, reference: str, body: bytes, media_type: str) -> "PushedManifest":
        """Any bytes as a manifest. Raises RegistryError."""
        path = f"/v2/{name}/manifests/{reference}"
        status, headers, answer = self.request("PUT", path, body, {"Content-Type": media_type})
        if status != 201:
            raise RegistryError(f"{self.host}: {status} for {path}: {answer.decode(errors='replace')}")
        image = Image(f"{self.host}/{name}", digest_of(body), len(body), media_type)
        return PushedManifest(image, "OCI-Subject" in headers)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request as somebody who may push: status, headers, body."""
        with self.open(method, path, body, headers) as response:
            return response.status, response.headers, response.read()

    @contextmanager
    def open(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """One request whose body the caller reads."""
        connection = http.client.HTTPSConnection(self.host, timeout=30, context=self._tls)
        sent = {"Authorization": self._authorization} if self._authorization else {}
        try:
            connection.request(method, path, body, sent | dict(headers or {}))
            with connection.getresponse() as response:
                yield response
        finally:
            connection.close()

    def _add_to_fallback_tag(self, name: str, subject: Image, referrer: Image, artifact_type: str) -> None:
        tag = subject.digest.replace(":", "-")
        status, _, body = self.request("GET", f"/v2/{name}/manifests/{tag}", headers={"Accept": INDEX})
        manifests = msgspec.json.decode(body)["manifests"] if status == 200 else []
        entry = descriptor(referrer) | {"artifactType": artifact_type}
        self.push_manifest(name, {"mediaType": INDEX, "manifests": [*manifests, entry]}, tag)


class PushedManifest(msgspec.Struct, frozen=True):
    """A manifest, and whether the registry will list it as a referrer of its subject."""

    image: Image
    understands_subject: bool


def descriptor(image: Image) -> dict[str, Any]:
    """An image as another manifest names it."""
    return {"mediaType": image.media_type, "digest": image.digest, "size": image.size}


def digest_of(content: bytes) -> str:
    """sha256:…"""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def start_distribution(binary: Path, folder: Path, tls: ServerTls, *, login: bool = False) -> Registry:
    """distribution's registry, started; stop its component. With `login` it wants USER and PASSWORD (basic)."""
    selected: dict[str, int] = {}

    def make(ports: dict[str, int]) -> Component:
        selected.update(ports)
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"inmemory": {}},
            "http": {
                "addr": f"127.0.0.1:{ports['registry']}",
                "secret": "of no use to anybody",
                "tls": {"certificate": str(tls.certificate), "key": str(tls.key)},
            },
        }
        if login:
            (folder / "htpasswd").write_text(f"{USER}:{_HTPASSWD}\n")
            config["auth"] = {"htpasswd": {"realm": "distribution", "path": str(folder / "htpasswd")}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        command = (str(binary), "serve", str(folder / "config.yaml"))
        return registry_component("distribution", command, folder, ports["registry"], tls)

    component = start_component(folder / "ports.json", ("registry",), make)
    return Registry(component, selected["registry"], tls.ca, basic(USER, PASSWORD) if login else "")


def basic(user: str, password: str) -> str:
    """The header Authorization for a user."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def registry_component(
    name: str, command: tuple[str, ...], folder: Path, port: int, tls: ServerTls, address: str = LOOPBACK
) -> Component:
    """The process of a registry, which is ready when it answers at /v2/."""
    context = ssl.create_default_context(cafile=str(tls.ca))
    environment = base_environment() | {"OTEL_TRACES_EXPORTER": "none"}
    return Component(
        name, command, folder / f"{name}.log", lambda: _answers(f"{address}:{port}", context), port, environment
    )


def _answers(host: str, context: ssl.SSLContext) -> bool:
    connection = http.client.HTTPSConnection(host, timeout=5, context=context)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status in (200, 401)
    except OSError:
        return False
    finally:
        connection.close()
