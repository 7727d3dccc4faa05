"""The keeper of policy status, against a server that counts what is written."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from sekisho.cluster.api import ApiClient
from sekisho.cluster.config import ApiConfig
from sekisho.cluster.replicas import (
    COMPONENT,
    COUNTS_ANNOTATION,
    EXAMPLES_ANNOTATION,
    LABEL,
    Replica,
    annotation_of,
)
from sekisho.cluster.reported import Recent
from sekisho.operator.metrics import Metrics
from sekisho.operator.policy_status import BATCH, StatusKeeper, relevant
from sekisho.operator.records import Record, read_record
from sekisho.operator.shown_counts import COUNT_SECONDS, ShownCounts, ShownExamples
from sekisho.operator.status import View, wanted_policy_status
from sekisho.policies.status import AuditedExample, Conflict, PolicyStatus
from sekisho.timestamps import micro_time

Json = dict[str, Any]


class Server:
    """Policies and one replica's Lease, as the API server has them."""

    def __init__(self) -> None:
        self.version = 1000
        self.counts = "{}"
        self.examples = "{}"
        self.endpoints: list[Json] = []
        self.events: list[Json] = []
        self.events_status = 201
        self.policies: dict[str, Json] = {}
        self.leases: list[Json] = [self.lease("a", datetime.now(UTC))]
        self.denied: set[str] = set()
        self.writes: list[str] = []
        self.conflicts = 0
        self.rejected_at: list[float] = []
        self.happened = asyncio.Event()
        self.when_written: Callable[[Json], None] = lambda written: None

    def lease(self, name: str, renewed: datetime) -> Json:
        plurals = ("clusterpodpolicies", "policywaivers", "imagecatalogs")
        annotations = {annotation_of(plural): "999999" for plural in plurals}
        annotations |= {COUNTS_ANNOTATION: self.counts, EXAMPLES_ANNOTATION: self.examples}
        return {
            "metadata": {"name": f"sekisho-webhook-{name}", "labels": {LABEL: COMPONENT}, "annotations": annotations},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 30, "renewTime": micro_time(renewed)},
        }

    def abandon_a_lease(self) -> None:
        self.leases.append(self.lease("dead", datetime.fromtimestamp(0, UTC)))

    def make(self, name: str, spec: Json | None = None, kind: str = "ClusterPodPolicy") -> Json:
        self.version += 1
        metadata = {"name": name, "uid": f"u-{name}", "generation": 1, "resourceVersion": str(self.version)}
        self.policies[name] = {"kind": kind, "metadata": metadata, "spec": spec or {"controls": {"privileged": {}}}}
        return dict(self.policies[name])

    def edit(self, name: str) -> Json:
        """A new generation of a policy."""
        metadata = self.policies[name]["metadata"]
        self.policies[name]["metadata"] = {**metadata, "generation": metadata["generation"] + 1}
        return self.touch(name)

    def touch(self, name: str) -> Json:
        """A newer version of a policy, with a label, say."""
        self.version += 1
        policy = self.policies[name]
        policy["metadata"] = {**policy["metadata"], "resourceVersion": str(self.version)}
        return dict(policy)

    async def list_or_watch(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            await asyncio.Event().wait()
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": self.leases})

    async def remove(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.leases = [lease for lease in self.leases if lease["metadata"]["name"] != name]
        self.happened.set()
        return web.json_response({})

    async def write(self, request: web.Request) -> web.Response:
        self.happened.set()
        name, patch = request.match_info["name"], await request.json()
        if name not in self.policies:
            return _denied(404)
        if name in self.denied:
            self.rejected_at.append(time.monotonic())
            return _denied(422)
        if patch["metadata"]["resourceVersion"] != self.policies[name]["metadata"]["resourceVersion"]:
            self.conflicts += 1
            return _denied(409)
        self.writes.append(name)
        self.happened.set()
        self.policies[name]["status"] = {k: v for k, v in patch["status"].items() if v is not None}
        written = self.touch(name)
        self.when_written(written)
        return web.json_response(written)

    async def slices(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            await asyncio.Event().wait()
        assert request.query["labelSelector"] == "kubernetes.io/service-name=sekisho-webhook"
        endpoint_slice = {"metadata": {"name": "s", "resourceVersion": "1"}, "endpoints": self.endpoints}
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [endpoint_slice]})

    async def write_event(self, request: web.Request) -> web.Response:
        self.happened.set()
        if self.events_status != 201:
            return _denied(self.events_status)
        self.events.append(await request.json())
        return web.json_response({}, status=201)

    def condition(self, name: str, kind: str) -> str:
        """Status and reason of a condition, as they are stored."""
        stored = self.policies[name].get("status", {}).get("conditions", [])
        return next((f"{c['status']} {c['reason']}" for c in stored if c["type"] == kind), "")

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20.0
        while not condition():
            self.happened.clear()
            async with asyncio.timeout(deadline - time.monotonic()):
                await self.happened.wait()


def _denied(status: int) -> web.Response:
    return web.json_response({"reason": "Denied", "message": "denied"}, status=status)


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
def service() -> str:
    return ""


@pytest.fixture
async def keeper(server: Server, service: str) -> AsyncIterator[StatusKeeper]:
    app = web.Application()
    leases = "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
    app.router.add_get(leases, server.list_or_watch)
    app.router.add_delete(leases + "/{name}", server.remove)
    for plural in ("clusterpodpolicies", "policywaivers", "imagecatalogs"):
        app.router.add_patch(f"/apis/sekisho.dev/v1alpha1/{plural}/{{name}}/status", server.write)
    app.router.add_get("/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices", server.slices)
    app.router.add_post("/apis/events.k8s.io/v1/namespaces/default/events", server.write_event)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    api = ApiClient(ApiConfig(host=f"http://{host}:{port}", authorization=None, tls=False))
    keeper = StatusKeeper(api, "ns", Metrics(), "leader", service)
    running = asyncio.create_task(keeper.run())
    yield keeper
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await api.close()
    await runner.cleanup()


async def test_each_status_is_written_once(server: Server, keeper: StatusKeeper) -> None:
    names = [f"p-{i}" for i in range(3 * BATCH)]
    for name in names:
        keeper.changed(server.make(name))
    await server.wait_until(lambda: len(server.writes) >= len(names))
    keeper.changed(server.make("last"))
    await server.wait_until(lambda: "last" in server.writes)
    assert sorted(server.writes) == sorted([*names, "last"])


async def test_policies_that_cannot_be_written_delay_no_others(
    server: Server, keeper: StatusKeeper, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sekisho.operator.policy_status.MAX_RETRY_SECONDS", 0.01)
    server.denied = {f"bad-{i}" for i in range(2 * BATCH)}
    for name in sorted(server.denied):
        keeper.changed(server.make(name))
    for i in range(2 * BATCH):
        keeper.changed(server.make(f"good-{i}"))
    await server.wait_until(lambda: len(server.writes) == 2 * BATCH)
    assert all(name.startswith("good") for name in server.writes)
    assert "denied" in caplog.text


async def test_a_rejected_status_is_tried_again_after_a_growing_wait(server: Server, keeper: StatusKeeper) -> None:
    server.denied = {"bad"}
    keeper.changed(server.make("bad"))
    await server.wait_until(lambda: len(server.rejected_at) >= 2)
    keeper.changed(server.make("good"))  # other objects that change do not shorten the wait
    await server.wait_until(lambda: server.writes == ["good"])
    await server.wait_until(lambda: len(server.rejected_at) >= 4)
    _, second, third, fourth = server.rejected_at[:4]
    assert third - second > 0.45
    assert fourth - third > 0.9
    server.denied.clear()
    keeper.changed(server.edit("bad"))  # a new generation is written at once
    await server.wait_until(lambda: server.writes == ["good", "bad"])


async def test_a_defect_in_one_status_stops_no_other(
    server: Server, keeper: StatusKeeper, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_for_bad(record: Record, conflicts: tuple[Conflict, ...], view: View) -> PolicyStatus:
        if record.title == "bad":
            raise OverflowError("date value out of range")
        return wanted_policy_status(record, conflicts, view)

    monkeypatch.setattr("sekisho.operator.policy_status.wanted_policy_status", fail_for_bad)
    keeper.changed(server.make("bad"))
    keeper.changed(server.make("good"))
    await server.wait_until(lambda: server.writes == ["good"])
    assert "cannot compute the status of ClusterPodPolicy bad" in caplog.text


async def test_an_object_that_cannot_be_read_stops_no_other(
    server: Server, keeper: StatusKeeper, caplog: pytest.LogCaptureFixture
) -> None:
    bad = server.make("bad")
    keeper.changed({**bad, "kind": "NoSuchKind"})
    keeper.changed(server.make("good"))
    await server.wait_until(lambda: server.writes == ["good"])
    assert "cannot read NoSuchKind bad" in caplog.text


async def test_a_policy_that_changed_meanwhile_is_written_when_the_change_arrives(
    server: Server, keeper: StatusKeeper
) -> None:
    stale = server.make("p")
    newer = server.touch("p")
    keeper.changed(stale)
    await server.wait_until(lambda: server.conflicts > 0)
    assert server.writes == []
    keeper.changed(newer)
    await server.wait_until(lambda: server.writes == ["p"])


async def test_a_deleted_policy_is_forgotten(server: Server, keeper: StatusKeeper) -> None:
    keeper.changed(server.make("p"))
    del server.policies["p"]
    keeper.changed(server.make("q"))
    await server.wait_until(lambda: server.writes == ["q"])
    keeper.deleted(server.policies["q"]["metadata"]["uid"])
    keeper.changed(server.make("r"))
    await server.wait_until(lambda: server.writes == ["q", "r"])


async def test_the_lease_of_a_replica_that_died_long_ago_is_removed(server: Server, keeper: StatusKeeper) -> None:
    server.abandon_a_lease()
    keeper.changed(server.make("p"))
    await server.wait_until(lambda: len(server.leases) == 1 and server.writes == ["p"])
    assert server.leases[0]["spec"]["holderIdentity"] == "a"


RUN_AS_1, RUN_AS_2 = ({"defaults": {"pod": {"securityContext": {"runAsUser": user}}}} for user in (1, 2))


async def test_two_policies_with_conflicting_defaults_both_say_so_until_one_is_deleted(
    server: Server, keeper: StatusKeeper
) -> None:
    for name, spec in (("a", RUN_AS_1), ("b", RUN_AS_2), ("c", {})):
        keeper.changed(server.make(name, spec))

    def conflicting(name: str) -> list[str]:
        return [conflict["policy"] for conflict in server.policies[name].get("status", {}).get("conflicts", [])]

    await server.wait_until(lambda: (conflicting("a"), conflicting("b")) == (["b"], ["a"]))
    assert "conflicts" not in server.policies["c"]["status"]
    keeper.deleted(server.policies["a"]["metadata"]["uid"])
    await server.wait_until(lambda: conflicting("b") == [])


def waiver(server: Server, name: str, **remaining: float) -> Json:
    expires = datetime.now(UTC) + timedelta(**remaining)
    spec = {"policies": ["p", "q"], "controls": ["privileged"], "expires": expires.isoformat(), "reason": "x"}
    return server.make(name, spec, "PolicyWaiver")


async def test_a_policy_lists_its_waivers_and_a_waiver_its_policies(server: Server, keeper: StatusKeeper) -> None:
    keeper.changed(server.make("p"))
    keeper.changed(waiver(server, "w", days=30))
    await server.wait_until(lambda: server.condition("w", "Active") == "True HonouredByAllReplicas")
    await server.wait_until(lambda: bool(server.policies["p"].get("status", {}).get("waivers")))
    status = server.policies["w"]["status"]
    assert (status["policies"], status["missingPolicies"]) == (["p"], ["q"])
    assert [waiver["name"] for waiver in server.policies["p"]["status"]["waivers"]] == ["w"]
    assert server.events == []


async def test_a_waiver_expires_in_its_status_without_a_change(server: Server, keeper: StatusKeeper) -> None:
    keeper.changed(server.make("p"))
    await server.wait_until(lambda: server.condition("p", "Enforced").startswith("True"))
    keeper.changed(waiver(server, "w", seconds=2.5))
    await server.wait_until(lambda: server.condition("w", "Active") == "True HonouredByAllReplicas")
    await server.wait_until(lambda: server.condition("w", "Active") == "False Expired")
    await server.wait_until(lambda: "waivers" not in server.policies["p"]["status"])


async def test_the_expiry_of_a_waiver_is_announced_once_and_not_again_by_the_next_leader(
    server: Server, keeper: StatusKeeper
) -> None:
    keeper.changed(waiver(server, "w", days=2))
    await server.wait_until(lambda: server.policies["w"].get("status", {}).get("expiresWithinDays") == 3)
    [event] = server.events
    assert (event["reason"], event["type"], event["metadata"]["namespace"]) == ("PolicyExpiring", "Warning", "default")
    assert event["regarding"] == {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "PolicyWaiver",
        "name": "w",
        "namespace": "",
        "uid": "u-w",
    }
    assert event["note"].startswith("expires at 20")
    keeper.deleted(server.policies["w"]["metadata"]["uid"])  # what a new leader knows is the status alone
    keeper.changed(server.touch("w"))
    keeper.changed(waiver(server, "later", hours=20))
    await server.wait_until(lambda: server.policies["later"].get("status", {}).get("expiresWithinDays") == 1)
    assert [event["regarding"]["name"] for event in server.events] == ["w", "later"]


def catalog(server: Server, name: str, **remaining: float) -> Json:
    until = (datetime.now(UTC) + timedelta(**remaining)).isoformat()
    entry = {"repository": "ghcr.io/acme/pay", "digest": f"sha256:{'a' * 64}", "validUntil": until}
    return server.make(name, {"owner": "security", "entries": [entry]}, "ImageCatalog")


async def test_the_end_of_entries_is_announced_once_and_not_again_by_the_next_leader(
    server: Server, keeper: StatusKeeper
) -> None:
    keeper.changed(catalog(server, "c", days=10))
    await server.wait_until(lambda: bool(server.policies["c"].get("status", {}).get("notices")))
    [event] = server.events
    assert (event["reason"], event["type"], event["regarding"]["kind"]) == (
        "CatalogEntriesEnding",
        "Warning",
        "ImageCatalog",
    )
    assert event["note"].startswith("1 entry ends within 14 days: ghcr.io/acme/pay@sha256:aaaaaaaaaaaa at 20")
    keeper.deleted(server.policies["c"]["metadata"]["uid"])  # what a new leader knows is the status alone
    keeper.changed(server.touch("c"))
    keeper.changed(catalog(server, "later", hours=20))
    await server.wait_until(lambda: bool(server.policies["later"].get("status", {}).get("notices")))
    assert [event["regarding"]["name"] for event in server.events] == ["c", "later"]


async def test_an_event_about_entries_that_failed_is_written_later(
    server: Server, keeper: StatusKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sekisho.operator.policy_status.MAX_RETRY_SECONDS", 0.01)
    server.events_status = 503
    keeper.changed(catalog(server, "c", days=10))
    await server.wait_until(lambda: server.policies["c"].get("status", {}).get("entries") == 1)
    assert "notices" not in server.policies["c"]["status"]  # nobody has been warned
    server.events_status = 409  # an earlier attempt succeeded after all
    await server.wait_until(lambda: "notices" in server.policies["c"]["status"])


async def test_a_failing_event_blocks_no_status_and_is_written_later(
    server: Server, keeper: StatusKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sekisho.operator.policy_status.MAX_RETRY_SECONDS", 0.01)
    server.events_status = 503
    keeper.changed(waiver(server, "w", days=2))
    keeper.changed(server.make("p"))
    await server.wait_until(lambda: sorted(server.writes) == ["p", "w"])
    assert server.condition("w", "Active") == "True HonouredByAllReplicas"
    assert "expiresWithinDays" not in server.policies["w"]["status"]  # nobody has been warned
    server.events_status = 409  # an earlier attempt succeeded after all
    await server.wait_until(lambda: "expiresWithinDays" in server.policies["w"]["status"])
    assert server.policies["w"]["status"]["expiresWithinDays"] == 3


async def test_the_counts_of_the_replicas_are_shown(server: Server, keeper: StatusKeeper) -> None:
    server.counts = '{"p":[4,2,1,3]}'
    server.examples = '{"p":[{"owner":"Deployment shop/web","controls":["privileged"]}]}'
    server.leases = [server.lease(name, datetime.now(UTC)) for name in ("a", "b")]
    keeper.changed(server.make("p"))
    await server.wait_until(lambda: server.policies["p"].get("status", {}).get("denials") == 8)
    assert server.policies["p"]["status"]["warnings"] == 4
    assert server.policies["p"]["status"]["withoutEvent"] == 2
    assert server.policies["p"]["status"]["audited"] == 6
    (example,) = server.policies["p"]["status"]["auditedExamples"]
    assert example == {"owner": "Deployment shop/web", "controls": ["privileged"]}


def record(name: str = "p", version: int = 100, uid: str = "u", status: Json | None = None) -> Record:
    metadata = {"name": name, "uid": uid, "generation": 1, "resourceVersion": str(version)}
    body = {"kind": "ClusterPodPolicy", "metadata": metadata, "spec": {"controls": {"privileged": {}}}} | (
        {"status": status} if status else {}
    )
    return read_record(body, None)


def reports(*counts: dict[str, Recent], version: int = 100) -> list[Replica]:
    return [Replica("r", {"clusterpodpolicies": version}, "", 0.0, counts=of_replica) for of_replica in counts]


def test_a_count_that_keeps_changing_is_written_once_a_minute() -> None:
    shown = ShownCounts()
    counted = [shown.of([record()], reports({"p": Recent(second, 0)}), float(second))["p"][0] for second in range(130)]
    assert counted == [0] + [1] * 60 + [61] * 60 + [121] * 9
    assert COUNT_SECONDS == 60
    assert shown.of([], reports({"p": Recent(1, 0)}), 200.0) == {}


def test_the_counts_of_replicas_are_summed() -> None:
    counts = reports({"p": Recent(1, 2, 1)}, {"p": Recent(3, 0), "ns/b": Recent(0, 1)}, {"p": Recent(1, 0, 1)})
    assert ShownCounts().of([record()], counts, 0.0) == {"p": Recent(5, 2, 2)}


def test_a_new_policy_of_an_old_name_starts_at_zero() -> None:
    shown = ShownCounts()
    assert shown.of([record()], reports({"p": Recent(8, 1)}), 0.0) == {"p": Recent(8, 1)}
    new = record(version=150, uid="new")
    assert shown.of([new], reports({"p": Recent(8, 1)}), 10.0) == {
        "p": Recent(0, 0)
    }  # a report from before it was created
    assert shown.of([new], reports({"p": Recent(1, 0)}, version=150), 20.0) == {"p": Recent(1, 0)}


def with_examples(*owners: str, version: int = 100) -> Replica:
    examples = {"p": [AuditedExample(owner, ("privileged",)) for owner in owners]}
    return Replica("r", {"clusterpodpolicies": version}, "", 0.0, examples=examples)


def shown_owners(shown: ShownExamples, now: float, *replicas: Replica, status: Json | None = None) -> list[str]:
    examples = shown.of([record(version=150 if status else 100, status=status)], replicas, now)
    return [example.owner for example in examples.get("p", ())]


def test_the_examples_of_replicas_are_put_together() -> None:
    replicas = (with_examples("Pod s/b", "Pod s/a"), with_examples("Pod s/b", *(f"Pod t/{n}" for n in range(9))))
    owners = ["Pod s/a", "Pod s/b", "Pod t/0", "Pod t/1", "Pod t/2"]
    assert shown_owners(ShownExamples(), 0.0, *replicas) == owners


def test_examples_change_once_a_minute_and_are_gone_when_no_replica_has_any() -> None:
    shown = ShownExamples()
    assert shown_owners(shown, 0.0, with_examples("Pod s/a")) == ["Pod s/a"]
    assert shown_owners(shown, 59.0, with_examples("Pod s/b")) == ["Pod s/a"]
    assert shown_owners(shown, 60.0, with_examples("Pod s/b")) == ["Pod s/b"]
    assert shown_owners(shown, 120.0, with_examples()) == []


def test_a_new_leader_shows_the_stored_examples_until_a_replica_reports() -> None:
    status = {"auditedExamples": [{"owner": "Pod s/old", "controls": ["privileged"]}]}
    shown = ShownExamples()
    assert shown_owners(shown, 0.0, with_examples("Pod s/a"), status=status) == ["Pod s/old"]
    assert shown_owners(shown, 1.0, with_examples("Pod s/a", version=150), status=status) == ["Pod s/a"]


def test_a_new_leader_shows_the_stored_counts_until_a_replica_reports() -> None:
    stored = record(version=150, status={"denials": 8, "warnings": 1})
    shown = ShownCounts()
    assert shown.of([stored], reports({"p": Recent(9, 1)}), 0.0) == {"p": Recent(8, 1)}
    assert shown.of([stored], reports({"p": Recent(9, 1)}, version=150), 1.0) == {"p": Recent(9, 1)}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the status of each policy is computed, by title."""
    computed: Counter[str] = Counter()

    def counting(record: Record, conflicts: tuple[Conflict, ...], view: View) -> PolicyStatus:
        computed[record.title] += 1
        return wanted_policy_status(record, conflicts, view)

    monkeypatch.setattr("sekisho.operator.policy_status.wanted_policy_status", counting)
    return computed


async def test_a_change_of_one_policy_causes_no_computation_for_the_others(
    server: Server, keeper: StatusKeeper, computed: Counter[str]
) -> None:
    for name in ("p", "q"):
        keeper.changed(server.make(name))
    for _ in range(8):
        await server.wait_until(lambda: server.condition("p", "Enforced").startswith("True"))
        await server.wait_until(lambda: server.condition("q", "Enforced").startswith("True"))
        keeper.changed(server.edit("p"))
        generation = server.policies["p"]["metadata"]["generation"]
        await server.wait_until(lambda: server.policies["p"]["status"]["observedGeneration"] == generation)  # noqa: B023
    assert computed["p"] >= 9
    assert computed["q"] <= 3


async def test_many_statuses_are_each_computed_once_before_and_once_after_they_are_written(
    server: Server, keeper: StatusKeeper, monkeypatch: pytest.MonkeyPatch, computed: Counter[str]
) -> None:
    monkeypatch.setattr("sekisho.operator.policy_status.RECOMPUTE_SECONDS", 0.0)
    names = [f"p-{number}" for number in range(5 * BATCH)]
    server.when_written = keeper.changed  # the watch delivers a status before the write is answered
    for name in names:
        keeper.changed(server.make(name))
    await server.wait_until(lambda: all("status" in server.policies[name] for name in names))
    keeper.changed(server.make("last"))
    await server.wait_until(lambda: server.condition("last", "Enforced").startswith("True"))
    assert max(computed[name] for name in names) <= 2
    assert Counter(server.writes) == Counter([*names, "last"])


async def test_a_new_generation_is_written_before_the_others_are_computed(
    server: Server, keeper: StatusKeeper, computed: Counter[str]
) -> None:
    for number in range(2 * BATCH):
        policy = server.make(f"p-{number}")
        keeper.changed(policy | {"status": {"observedGeneration": 1}})
    keeper.changed(server.make("new"))
    before: list[set[str]] = []
    server.when_written = lambda _: before.append(set(computed))
    await server.wait_until(lambda: len(before) > 1)
    assert server.writes[0] == "new"
    assert before[0] == {"new"}


async def test_a_status_that_another_program_writes_meanwhile_is_put_right(
    server: Server, keeper: StatusKeeper
) -> None:
    def overwrite(written: Json) -> None:
        if len(server.writes) == 1:
            server.policies["p"]["status"] = {**written["status"], "enforcedBy": "7/7"}
            keeper.changed(server.touch("p"))

    server.when_written = overwrite
    keeper.changed(server.make("p"))
    await server.wait_until(lambda: server.writes == ["p", "p"])
    await server.wait_until(lambda: server.policies["p"]["status"]["enforcedBy"] == "1/1")


def test_a_renewal_and_the_report_of_a_written_status_change_no_status() -> None:
    def reported(version: int = 1500, expires: float = 10.0, problem: str = "", denials: int = 0) -> object:
        counts = {"p": Recent(denials, 0)}
        versions = {"clusterpodpolicies": version}
        replica = Replica("a", versions, str(expires), expires, counts=counts, problem=problem)
        return relevant({"sekisho-webhook-a": replica}, {"clusterpodpolicies": 1001}, now=5.0)

    assert reported(version=2000, expires=30.0) == reported()
    for other in (
        reported(version=1000),
        reported(problem="no certificate"),
        reported(denials=1),
        reported(expires=4.0),  # it was silent until now
    ):
        assert other != reported()


@pytest.mark.parametrize("service", ["sekisho-webhook"])
async def test_with_a_ready_pod_that_does_not_report_a_policy_is_not_called_enforced(
    server: Server, keeper: StatusKeeper
) -> None:
    server.endpoints = [
        {"conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": name}} for name in ("a", "cut-off")
    ]
    keeper.changed(server.make("p"))
    await server.wait_until(lambda: server.condition("p", "Enforced") == "Unknown ReplicasSilent")
    assert server.policies["p"]["status"]["enforcedBy"] == "1/2"


@pytest.mark.parametrize("service", ["sekisho-webhook"])
async def test_a_report_that_no_pod_of_the_service_wrote_does_not_count(server: Server, keeper: StatusKeeper) -> None:
    ghost = server.lease("ghost", datetime.now(UTC))
    ghost["metadata"]["annotations"] = {COUNTS_ANNOTATION: '{"p":[9,9]}'}
    server.leases.append(ghost)
    starting = server.lease("starting", datetime.now(UTC))
    server.leases.append(starting)
    server.endpoints = [
        {"conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": name}}
        for name, ready in (("a", True), ("starting", False))
    ]
    keeper.changed(server.make("p"))
    await server.wait_until(lambda: server.condition("p", "Enforced") == "True EnforcedByAllReplicas")
    status = server.policies["p"]["status"]
    assert (status["enforcedBy"], status["denials"]) == ("2/2", 0)


@pytest.mark.parametrize("service", ["sekisho-webhook"])
async def test_an_expired_lease_without_a_ready_pod_does_not_count(server: Server, keeper: StatusKeeper) -> None:
    server.endpoints = [{"conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": "a"}}]
    keeper.changed(server.make("p"))
    await server.wait_until(lambda: server.condition("p", "Enforced") == "True EnforcedByAllReplicas")
