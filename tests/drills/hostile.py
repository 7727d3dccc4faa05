"""Invalid policies, invalid bodies, and clients that keep connections open."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from tests.controlplane.release import RELEASE
from tests.controlplane.replicas import REVIEWS_PORT, SERVING_NAME, Replica
from tests.controlplane.waiting import wait_until
from tests.drills.direct import allows, hang_up, review
from tests.drills.site import POLICIES, Site, policy
from tests.drills.traffic import GOOD, VIOLATING, DrillError

CONNECTIONS = 2000
HALVES = 100
"""Connections of either kind to each replica: half a head, half a body."""
LARGE_HALVES = 80
STREAM = 50
"""Rounds of the policy stream, first reviewed and then unreviewed."""
_SOON = 30.0
_CONFIGURATION = f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{RELEASE}"
_REVIEWS_OF_POLICIES = "validate.policies.sekisho.dev"
_AT_ONCE = 100
_ESTABLISHED = "01"  # in /proc/net/tcp
_UNCOMPILABLE = {"controls": {"images": {"trustedRegistries": ["registry.example/team:1"]}}}
"""What no schema can tell. It is denied when it is applied; stored it can be from before, or past the webhook."""
_NO_SCHEMA = {"enforcement": "Perhaps", "controls": {"privileged": "yes"}}
_HUGE = {
    "match": {
        "podSelector": {
            "matchExpressions": [
                {"key": f"key-{key}", "operator": "NotIn", "values": [f"{value:063}" for value in range(220)]}
                for key in range(60)
            ]
        }
    },
    "controls": {"privileged": {}},
}
"""Just below what the API server takes, and every pod is compared with all of it."""
_MALFORMED: tuple[bytes, ...] = (
    b"",
    b"null",
    b"[]",
    b"{",
    b"\xff\xfe\x00",
    b'{"request":{}}',
    b'{"request":{"uid":"u","operation":"CREATE","object":7}}',
    b'{"request":' * 1500,
    b"[" * 100_000,
    b'{"request":{"uid":"u"},"request":{"uid":"v"}}',
    b'{"request":{"uid":' + b"9" * 5000 + b"}}",
    b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"\\ud800"}}',
    b" " * (9 << 20),
)
_BAD_PODS: tuple[dict[str, Any], ...] = (
    {"containers": "none"},
    {"containers": [{"name": "a", "image": "a" * 100_000}]},
    {"containers": [{"name": "a", "image": "b"}] * 10_000},
)


def policy_stream(site: Site, rounds: int = STREAM) -> str:
    """Policies that cannot be compiled, huge and short-lived ones, and bodies that are not reviews."""
    site.enforce("drills-kept", {"controls": {"privileged": {}}})
    with site.traffic() as traffic:
        _stream(site, rounds, takes_uncompilable=False)
        with _policies_unreviewed(site):
            _break(site, "drills-kept")
            _stream(site, rounds, takes_uncompilable=True)
        traffic.wait_flowing()
        for replica in site.replicas.running:
            if allows(replica, site.namespace, VIOLATING):
                raise DrillError(f"{replica.name} allows a violating pod")
            wait_until(partial(_quarantines, replica, rounds + 1), _SOON, "the broken ones are counted")
        site.clear_policies()
        for replica in site.replicas.running:
            wait_until(partial(_quarantines, replica, 0), _SOON, "they are forgotten")
    return f"{2 * rounds} rounds, {len(msgspec.json.encode(_HUGE)) >> 10} KiB the largest"


def _stream(site: Site, rounds: int, *, takes_uncompilable: bool) -> None:
    nonsense = (*_MALFORMED, *(review(site.namespace, spec) for spec in _BAD_PODS))
    for number in range(rounds):
        _take(site, f"drills-broken-{number}", _UNCOMPILABLE, takes=takes_uncompilable)
        _take(site, f"drills-never-{number}", _NO_SCHEMA, takes=False)
        _take(site, "drills-brief", {"controls": {"privileged": {}}}, takes=True)
        if number % 10 == 0:
            _take(site, f"drills-huge-{number}", _HUGE, takes=True)
        for replica in site.replicas.running:
            _post_nonsense(replica, nonsense[number % len(nonsense)])
        site.must("DELETE", f"{POLICIES}/drills-brief")
        if number % 10 == 9:
            site.must("DELETE", f"{POLICIES}/drills-huge-{number - 9}")


@contextmanager
def _policies_unreviewed(site: Site) -> Iterator[None]:
    """The API server accepts policies without calling Sekisho, as if its policy webhook had been deleted."""
    held = msgspec.json.decode(site.must("GET", _CONFIGURATION))
    others = [webhook for webhook in held["webhooks"] if webhook["name"] != _REVIEWS_OF_POLICIES]
    site.replace(_CONFIGURATION, lambda present: present | {"webhooks": others})
    try:
        trial = f"{POLICIES}?dryRun=All"
        wait_until(
            lambda: site.plane.call("POST", trial, policy("drills-trial", _UNCOMPILABLE)).status == 201,
            _SOON,
            "policies are taken unreviewed",
        )
        yield
    finally:
        site.replace(_CONFIGURATION, lambda present: present | {"webhooks": held["webhooks"]})


def half_bodies(site: Site, halves: int = HALVES, large: int = LARGE_HALVES) -> str:
    """Connections that send half a head or half a body and then wait: both time out; bodies are bounded in total."""
    body = review(site.namespace, GOOD)
    head = b"POST /validate?timeout=3s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    half_head = head[: len(head) // 2]
    half_body = head + b"Content-Length: %d\r\n\r\n" % len(body) + body[: len(body) // 2]
    half_of_much = head + b"Content-Length: %d\r\n\r\n" % (2 << 20) + b" " * (1 << 20)
    with site.traffic() as traffic:
        before = {replica.name: _descriptors(replica) for replica in site.replicas.running}
        ports = uvloop.run(_hold(site, [half_head] * halves + [half_body] * halves + [half_of_much] * large))
        traffic.wait_flowing()
        for replica in site.replicas.running:
            max_open = before[replica.name] + 10
            closed = partial(_has_closed, replica, max_open, frozenset(ports))
            wait_until(closed, _SOON, f"{replica.name} has at most {max_open} descriptors")
    return f"{len(ports)} incomplete requests closed"


def many_connections(site: Site, count: int = CONNECTIONS) -> str:
    """Thousands of connections to one replica, half of them idle, half of them busy."""
    replica = site.replicas.running[0]
    with site.traffic():
        answered = uvloop.run(_connect_many(replica, site.namespace, count))
    return f"{count} connections, {answered} direct reviews, {_resident_mib(replica)} MiB"


def _break(site: Site, name: str) -> None:
    """Replace a valid policy by an invalid version; the valid one must stay enforced."""
    path = f"{POLICIES}/{name}"

    def is_replaced() -> bool:
        held = msgspec.json.decode(site.must("GET", path))
        return site.plane.call("PUT", path, held | {"spec": _UNCOMPILABLE}).status == 200

    wait_until(is_replaced, _SOON, f"{name} is replaced between two writes of its status")


def _take(site: Site, name: str, spec: dict[str, Any], *, takes: bool) -> None:
    """Make a policy. Raises DrillError unless the API server takes it, or denies it, as it should."""
    answer = site.plane.call("POST", POLICIES, policy(name, spec), timeout=_SOON)
    if answer.status not in ((201,) if takes else (400, 403, 422)):
        raise DrillError(f"the API server answers {name} with {answer.status}: {answer.body[:300]!r}")


def _post_nonsense(replica: Replica, body: bytes) -> None:
    answer = replica.post("/validate", body)
    if answer.status == 0 and len(body) > 8 << 20:
        return  # it closed while we were still sending
    if b'"allowed":true' in answer.body or not (answer.status == 200 or 400 <= answer.status < 500):
        raise DrillError(f"{body[:80]!r} is answered with {answer.status} {answer.body[:200]!r}")


def _quarantines(replica: Replica, policies: int) -> bool:
    return f"sekisho_policies_quarantined {policies}.0" in replica.metrics().splitlines()


def _has_closed(replica: Replica, max_open: int, ports: frozenset[int]) -> bool:
    return _descriptors(replica, ports) <= max_open


def _descriptors(replica: Replica, ports: frozenset[int] = frozenset()) -> int:
    """The open descriptors, apart from the API server's connections: it opens more when it is busy, and keeps them.

    ports: of clients that are not the API server.
    """
    process = Path(f"/proc/{replica.process.pid}")
    of_api_server = {f"socket:[{inode}]" for inode in _connections(process, ports)}
    opened = 0
    for descriptor in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            opened += str(descriptor.readlink()) not in of_api_server
    return opened


def _connections(process: Path, ports: frozenset[int]) -> Iterator[str]:
    """The inodes of the established connections for reviews, but not of those from these ports."""
    for line in (process / "net" / "tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, remote = (int(address.partition(":")[2], 16) for address in fields[1:3])
        if local == REVIEWS_PORT and fields[3] == _ESTABLISHED and remote not in ports:
            yield fields[9]


def _resident_mib(replica: Replica) -> int:
    status = Path(f"/proc/{replica.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) >> 10


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _hold(site: Site, beginnings: list[bytes]) -> list[int]:
    """Send these incomplete requests to every replica until all are closed; returns the ports that they came from."""
    context, gate = _trusting(), asyncio.Semaphore(_AT_ONCE)

    async def hold(replica: Replica, beginning: bytes) -> int:
        async with gate:
            reader, writer = await asyncio.open_connection(
                replica.sandbox.address, REVIEWS_PORT, ssl=context, server_hostname=SERVING_NAME
            )
        port: int = writer.get_extra_info("sockname")[1]
        writer.write(beginning)
        try:
            async with asyncio.timeout(_SOON):
                status = await reader.readline()
        except TimeoutError:
            raise DrillError(f"the rest of {beginning[:300]!r} is not answered in time") from None
        except ConnectionError:
            status = b""
        await hang_up([writer])
        if status and status.split()[1] not in (b"408", b"503"):
            raise DrillError(f"half a request is answered with {status!r}")
        return port

    return await asyncio.gather(*(hold(replica, text) for replica in site.replicas.running for text in beginnings))


async def _connect_many(replica: Replica, namespace: str, count: int) -> int:
    context, gate = _trusting(), asyncio.Semaphore(_AT_ONCE)
    body = review(namespace, VIOLATING)
    request = b"POST /validate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    request %= (len(body), body)
    writers: list[asyncio.StreamWriter] = []

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split()[0])
        answer = await reader.readexactly(length)
        if b'"allowed":false' not in answer:
            raise DrillError(f"a direct review is answered with {head!r} {answer[:200]!r}")
        return 1

    async def connect(number: int) -> int:
        async with gate:
            reader, writer = await asyncio.open_connection(
                replica.sandbox.address, REVIEWS_PORT, ssl=context, server_hostname=SERVING_NAME
            )
            writers.append(writer)
            answered = await ask(reader, writer)
        if len(writers) == count:
            all_there.set()
        if number % 2:
            await all_there.wait()
            for _ in range(5):
                async with gate:
                    answered += await ask(reader, writer)
        return answered

    all_there = asyncio.Event()
    try:
        return sum(await asyncio.gather(*(connect(number) for number in range(count))))
    finally:
        await hang_up(writers)
