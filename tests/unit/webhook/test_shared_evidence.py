"""Evidence that replicas share through the API server: written once, read by all, removed when it is old."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from msgspec import structs

from sekisho.cluster.api import ApiClient
from sekisho.images.attested import SLSA_1, Build
from sekisho.images.evidence import Attestation, ImageFacts, Signature
from sekisho.images.reported import Severity
from sekisho.images.scans import SCAN_PREDICATE, BySeverity, Ids, Scan, Vulnerability
from sekisho.policies.image_evidence import facts_of, name_of, shared
from sekisho.webhook import shared_evidence as module
from sekisho.webhook.shared_evidence import PATH, SharedEvidence
from tests.unit.cluster.collection_server import CollectionServer, serving
from tests.unit.waiting import until

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
RELEASE = "sekisho-system"
SIGNED = ImageFacts(
    repository="ghcr.io/acme/pay",
    digest="sha256:" + "ab" * 32,
    signatures=(
        Signature("release", "01" * 32, candidate="sha256:" + "cd" * 32),
        Signature("ci", "02" * 32, "https://github.com/acme/x", "https://issuer.example", NOW - timedelta(days=1)),
    ),
    others=2,
    problems=("it is an attestation",),
    omitted=1,
    checked={"release": "03" * 32, "ci": "04" * 32},
    looked_up=NOW,
)
NAME = name_of(SIGNED, RELEASE)


class EvidenceServer:
    """The collection of ImageEvidence: lists, watches, and writes that may fail."""

    def __init__(self) -> None:
        self.collection = CollectionServer()
        self.writes: list[tuple[str, str]] = []
        self.status: int | None = None

    def spec(self, name: str) -> dict[str, Any]:
        spec: dict[str, Any] = self.collection.things[name]["spec"]
        return spec

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name = request.path.removeprefix(PATH).strip("/")
        if request.method == "GET":
            return await self.collection.handle(request)
        self.writes.append((request.method, name))
        if self.status is not None:
            return web.json_response({"message": "no"}, status=self.status)
        if request.method == "DELETE":
            if name not in self.collection.things:
                return web.json_response({"message": "no"}, status=404)
            self.collection.delete(name)
            return web.json_response({})
        body = json.loads(await request.read())
        if request.method == "PATCH":
            await self._patch(name, body, request.content_type)
            return web.json_response({})
        name = body["metadata"]["name"]
        if request.method == "POST" and name in self.collection.things:
            return web.json_response({"message": "exists"}, status=409)
        self.place(name, body["spec"], body["metadata"]["labels"])
        return web.json_response({}, status=201)

    async def _patch(self, name: str, body: Any, content_type: str) -> None:
        """As the API server does it, for the two kinds of patch that replace or merge the spec."""
        thing = self.collection.things[name]
        if content_type == "application/json-patch+json":
            ((operation, path, value),) = [(one["op"], one["path"], one["value"]) for one in body]
            assert (operation, path) == ("replace", "/spec")
            spec = value
        else:
            spec = thing["spec"] | body["spec"]
        self.place(name, spec, thing["metadata"].get("labels"))

    def place(self, name: str, spec: Any, labels: Any = None) -> None:
        self.collection.version += 1
        meta = {"name": name, "labels": labels or {}, "resourceVersion": str(self.collection.version)}
        thing = {"metadata": meta, "spec": spec}
        kind = "MODIFIED" if name in self.collection.things else "ADDED"
        self.collection.things[name] = thing
        self.collection._tell(json.dumps({"type": kind, "object": thing}).encode() + b"\n")  # noqa: SLF001


class Replica:
    def __init__(self, api: ApiClient) -> None:
        self.facts: list[ImageFacts] = []
        self.namespaces: list[str] = []
        self.now = NOW
        self.sharing = SharedEvidence(api, RELEASE, lambda: self.now, self.take)

    def take(self, facts: ImageFacts, namespace: str) -> None:
        self.facts.append(facts)
        self.namespaces.append(namespace)


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def server() -> EvidenceServer:
    return EvidenceServer()


@pytest.fixture
async def replica(server: EvidenceServer) -> AsyncIterator[Replica]:
    async with serving(server, PATH + "{rest:.*}") as api:
        replica = Replica(api)
        async with running(replica.sharing.reflector.run(), replica.sharing.run()):
            await replica.sharing.reflector.wait_synced()
            yield replica


UNSIGNED = structs.replace(SIGNED, signatures=(), digest="sha256:" + "ee" * 32)


@pytest.mark.parametrize("facts", [SIGNED, UNSIGNED, structs.replace(UNSIGNED, problems=(), others=1, checked={})])
def test_facts_are_the_same_after_they_were_shared(facts: ImageFacts) -> None:
    assert facts_of(shared(facts, NOW)) == facts


def test_two_releases_and_two_images_have_different_objects() -> None:
    other = structs.replace(SIGNED, digest="sha256:" + "ef" * 32)
    assert len({NAME, name_of(SIGNED, "other"), name_of(other, RELEASE)}) == 3


async def test_facts_reach_all_replicas(server: EvidenceServer, replica: Replica) -> None:
    replica.sharing.share(SIGNED)
    await until(lambda: replica.facts == [SIGNED])
    assert server.collection.things[NAME]["metadata"]["labels"] == {"sekisho.dev/release": RELEASE}
    assert server.spec(NAME)["signedBy"] == "release and ci"
    assert server.spec(NAME)["whyNot"] == "2 signatures by other keys; it is an attestation"


async def test_only_the_own_releases_objects_are_read(server: EvidenceServer, replica: Replica) -> None:
    (_, params, _), *_ = server.collection.requests
    assert params["labelSelector"] == f"sekisho.dev/release={RELEASE}"


async def test_known_object_is_renewed(server: EvidenceServer, replica: Replica) -> None:
    replica.sharing.share(SIGNED)
    await until(lambda: len(replica.facts) == 1)
    later = structs.replace(SIGNED, looked_up=NOW + timedelta(hours=1))
    replica.sharing.share(later)
    await until(lambda: replica.facts == [SIGNED, later])
    assert server.writes == [("POST", ""), ("PATCH", NAME)]


async def test_signature_that_is_gone_is_not_shared_any_longer(server: EvidenceServer, replica: Replica) -> None:
    replica.sharing.share(SIGNED)
    await until(lambda: len(replica.facts) == 1)
    gone = structs.replace(
        SIGNED, signatures=(), others=0, problems=(), checked={}, looked_up=NOW + timedelta(hours=1), omitted=0
    )
    replica.sharing.share(gone)
    await until(lambda: replica.facts == [SIGNED, gone])


async def test_object_of_another_replica_that_is_not_seen_yet_is_renewed(
    server: EvidenceServer, replica: Replica
) -> None:
    server.collection.things[NAME] = {"metadata": {"name": NAME, "resourceVersion": "1"}, "spec": {}}
    replica.sharing.share(SIGNED)
    await until(lambda: len(server.writes) == 2)
    assert server.writes == [("POST", ""), ("PATCH", NAME)]


async def test_images_without_anything_attached_are_not_shared(server: EvidenceServer, replica: Replica) -> None:
    replica.sharing.share(structs.replace(SIGNED, signatures=(), others=0, problems=(), digest="sha256:" + "0" * 64))
    replica.sharing.share(SIGNED)
    await until(lambda: bool(server.collection.things))
    assert list(server.collection.things) == [NAME]


async def test_objects_are_bounded(server: EvidenceServer, replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    replica.sharing.share(SIGNED)
    await until(lambda: len(replica.facts) == 1)
    monkeypatch.setattr(module, "MAX_SHARED", 1)
    replica.sharing.share(structs.replace(SIGNED, digest="sha256:" + "0" * 64))
    replica.sharing.share(structs.replace(SIGNED, others=7))
    await until(lambda: len(replica.facts) == 2)
    assert list(server.collection.things) == [NAME]


async def test_namespace_adds_only_as_many_objects_as_it_leaves_free(
    server: EvidenceServer, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SHARED", 4)

    async def share(number: int, namespace: str) -> None:
        replica.sharing.share(structs.replace(SIGNED, digest=f"sha256:{number:064x}"), namespace)
        await until(lambda: not replica.sharing._queue)  # noqa: SLF001
        await until(lambda: len(replica.sharing.reflector.objects) == len(server.collection.things))

    for number in range(4):
        await share(number, "flood")
    assert len(server.collection.things) == 2
    await share(4, "team")
    assert len(server.collection.things) == 3
    await share(0, "flood")  # there already
    namespaces = [
        thing["metadata"]["labels"].get(module.NAMESPACE_LABEL) for thing in server.collection.things.values()
    ]
    assert sorted(namespaces) == ["flood", "flood", "team"]
    await until(lambda: replica.namespaces == ["flood", "flood", "team", "flood"])


async def test_namespace_adds_only_as_many_bytes_as_it_leaves_free(
    server: EvidenceServer, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def share(number: int, namespace: str, problem: str = "") -> list[str]:
        facts = structs.replace(SIGNED, digest=f"sha256:{number:064x}", problems=(problem,))
        replica.sharing.share(facts, namespace)
        await until(lambda: not replica.sharing._queue)  # noqa: SLF001
        await until(lambda: len(replica.sharing.reflector.objects) == len(server.collection.things))
        namespaces = (thing["metadata"]["labels"] for thing in server.collection.things.values())
        return sorted(labels[module.NAMESPACE_LABEL] for labels in namespaces)

    assert await share(0, "flood") == ["flood"]
    (size,) = (seen.size for seen in replica.sharing.reflector.objects.values())
    monkeypatch.setattr(module, "MAX_SHARED_BYTES", 4 * size + 64)
    assert await share(1, "flood") == ["flood", "flood"]
    assert await share(2, "flood") == ["flood", "flood"]
    assert await share(3, "team") == ["flood", "flood", "team"]
    assert await share(0, "flood", "renewed") == ["flood", "flood", "team"]
    # Facts that have become too large are not left there as they were.
    assert await share(0, "flood", "x" * size) == ["flood", "team"]


async def test_namespaces_take_turns_at_writes_and_the_most_queued_lose_one(
    server: EvidenceServer, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED", 4)
    flood = [structs.replace(SIGNED, digest=f"sha256:{number:064x}") for number in range(9)]
    for facts in flood:
        replica.sharing.share(facts, "flood")
    replica.sharing.share(SIGNED, "team")
    await until(lambda: not replica.sharing._queue)  # noqa: SLF001
    kept = [name_of(facts, RELEASE) for facts in flood[-3:]]
    assert [name for _, name in server.writes if name] == []  # all were created
    assert set(server.collection.things) == {NAME, *kept}
    assert list(server.collection.things).index(NAME) <= 1


async def test_objects_of_unsigned_images_leave_room_for_signed_ones(
    server: EvidenceServer, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SHARED_UNSIGNED", 2)
    for number in range(4):
        replica.sharing.share(structs.replace(UNSIGNED, others=1, digest=f"sha256:{number:064x}"))
    await until(lambda: len(replica.facts) == 2)
    replica.sharing.share(structs.replace(UNSIGNED, others=1, digest=f"sha256:{9:064x}"))
    replica.sharing.share(SIGNED)
    replica.sharing.share(structs.replace(UNSIGNED, others=2, digest=f"sha256:{0:064x}"))  # there already
    await until(lambda: len(replica.facts) == 4)
    shown = [(int(facts.digest[-4:], 16), bool(facts.signatures)) for facts in replica.facts]
    assert shown == [(0, False), (1, False), (int(SIGNED.digest[-4:], 16), True), (0, False)]


async def test_failed_write_is_tried_again(
    server: EvidenceServer, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    server.status = 503
    replica.sharing.share(SIGNED)
    await until(lambda: len(server.writes) >= 2)
    server.status = None
    await until(lambda: replica.facts == [SIGNED])
    assert caplog.text.count("cannot share evidence") == 1


async def test_write_that_the_api_server_denies_is_dropped(server: EvidenceServer, replica: Replica) -> None:
    server.status = 403
    replica.sharing.share(SIGNED)
    await until(lambda: bool(server.writes))
    server.status = None
    other = structs.replace(SIGNED, digest="sha256:" + "0" * 64)
    replica.sharing.share(other)
    await until(lambda: replica.facts == [other])


async def test_internal_error_does_not_end_the_sharing(
    server: EvidenceServer, replica: Replica, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "shared", lambda *_: 1 / 0)
        replica.sharing.share(UNSIGNED)
        await until(lambda: "internal error" in caplog.text)
    replica.sharing.share(SIGNED)
    await until(lambda: replica.facts == [SIGNED])


async def test_object_that_cannot_be_read_does_not_affect_others(server: EvidenceServer, replica: Replica) -> None:
    server.place("broken", {"image": 1})
    replica.sharing.share(SIGNED)
    await until(lambda: replica.facts == [SIGNED])


async def test_facts_that_nobody_needs_are_removed(server: EvidenceServer, replica: Replica) -> None:
    replica.sharing.share(SIGNED)
    await until(lambda: len(replica.facts) == 1)
    replica.now = NOW + timedelta(days=7)
    await replica.sharing.remove_old()
    assert list(server.collection.things) == [NAME]
    replica.now += timedelta(minutes=1)
    await replica.sharing.remove_old()
    assert list(server.collection.things) == []
    assert ("DELETE", NAME) in server.writes


async def test_facts_from_the_future_do_not_count_and_are_removed(server: EvidenceServer, replica: Replica) -> None:
    image = f"{SIGNED.repository}@{SIGNED.digest}"
    ahead = NOW + timedelta(minutes=5)
    replica.sharing.share(structs.replace(SIGNED, looked_up=ahead))
    await until(lambda: len(replica.facts) == 1)
    assert replica.sharing.looked_up(image) == ahead
    await replica.sharing.remove_old()
    assert list(server.collection.things) == [NAME]
    replica.now -= timedelta(seconds=1)
    assert replica.sharing.looked_up(image) is None
    await replica.sharing.remove_old()
    assert list(server.collection.things) == []


SCANNED = structs.replace(
    SIGNED,
    predicates=(SCAN_PREDICATE,),
    attestations=(
        Attestation(
            SCAN_PREDICATE,
            SIGNED.signatures[:1],
            Scan(
                NOW - timedelta(hours=1),
                "grype",
                BySeverity(critical=Ids(2, "CVE-1 GHSA-2,CVE-2"), high=Ids(1, "CVE-3")),
                BySeverity(high=Ids(1, "CVE-4")),
                (Vulnerability("CVE-1", Severity.CRITICAL, "openssl", "3.0.11", "3.0.13", True),),
            ),
        ),
        Attestation(
            SCAN_PREDICATE, SIGNED.signatures[:1], Scan(NOW - timedelta(hours=2), "grype", problem="it is old")
        ),
        Attestation(
            SLSA_1, SIGNED.signatures, build=Build("https://ci.acme.example", ("git+https://acme.example/pay",))
        ),
        Attestation("https://acme.example/qa/v1", SIGNED.signatures[:1]),
    ),
)


async def test_attestations_reach_other_replicas(server: EvidenceServer, replica: Replica) -> None:
    replica.sharing.share(SCANNED)
    await until(lambda: replica.facts == [SCANNED])
    spec = server.spec(NAME)
    assert [spec[name] for name in ("critical", "high", "scanned")] == [2, 2, "2026-11-26T11:00:00Z"]


@pytest.mark.parametrize(
    ("other", "columns"),
    [
        (Scan(NOW - timedelta(hours=3), "trivy", BySeverity(critical=Ids(5, "A B C D E"))), (5, 2, 3)),
        (Scan(NOW - timedelta(hours=3), "trivy"), (2, 2, 3)),
        (Scan(NOW - timedelta(hours=2), "grype"), (2, 2, 1)),
        (Scan(NOW, "trivy", problem="it is too large"), None),
        (Scan(NOW + timedelta(days=1), "trivy"), None),
    ],
    ids=["more", "fewer", "older by the same", "does not count", "of the future"],
)
def test_columns_say_no_more_than_the_newest_scans_do(other: Scan, columns: tuple[int, int, int] | None) -> None:
    added = Attestation(SCAN_PREDICATE, SIGNED.signatures[:1], other)
    spec = shared(structs.replace(SCANNED, attestations=(added, *SCANNED.attestations)), NOW)
    expected = (None, None, None) if columns is None else (*columns[:2], NOW - timedelta(hours=columns[2]))
    assert (spec.critical, spec.high, spec.scanned) == expected


async def test_columns_of_an_unusable_scan_are_empty(server: EvidenceServer, replica: Replica) -> None:
    unusable = structs.replace(SCANNED, attestations=SCANNED.attestations[1:])
    replica.sharing.share(unusable)
    await until(lambda: replica.facts == [unusable])
    assert "critical" not in server.spec(NAME)


async def test_image_that_is_only_scanned_is_shared(server: EvidenceServer, replica: Replica) -> None:
    only = structs.replace(SCANNED, signatures=(), others=0, problems=())
    replica.sharing.share(only)
    await until(lambda: replica.facts == [only])
