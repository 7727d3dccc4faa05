"""The recorder of Events, writing to a server that keeps the API server's rules for them."""

import asyncio
import re
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from sekisho import backoff
from sekisho.cluster import recorded
from sekisho.cluster import recorder as module
from sekisho.cluster.events import Occurrence, Reason, event_of, statement
from sekisho.cluster.owners import ObjectReference, Owners
from sekisho.cluster.recorded import DropReason, Held, HeldEntry, HeldSeries, text_bytes
from sekisho.cluster.recorder import EventRecorder
from tests.unit.cluster.collection_server import serving
from tests.unit.waiting import until

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NOTE = 'policy "restricted" denies container "app". Fix: do not. [privileged]'
IMMUTABLE = ("note", "reason", "type", "action", "regarding", "related", "reportingController", "reportingInstance")


class EventServer:
    """Events by path, ReplicaSets that a Deployment owns each, and Jobs of a CronJob, or of none if named report-….

    Denies what the API server would reject.
    """

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.status = 0
        self.message = "no"
        self.unreadable = False
        self.lose_answers = False
        """Whether an Event is stored and the client is not told."""
        self.stuck = asyncio.Event()
        """Until it is set, the look-up of a ReplicaSet named stuck-… has no answer."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name = request.path.split("/")[-1]
        self.requests.append(f"{request.method} {name}")
        if self.status:
            return web.json_response({"message": self.message}, status=self.status)
        if "/replicasets/" in request.path or "/jobs/" in request.path:
            return await self._owner(name, of_job="/jobs/" in request.path)
        if request.method == "POST":
            event = await request.json()
            problem = wrong(event, request.path)
            if problem:
                return web.json_response({"message": problem}, status=422)
            path = f"{request.path}/{event['metadata']['name']}"
            if path in self.events:
                return web.json_response({"message": "already exists"}, status=409)
            self.events[path] = event
            if self.lose_answers:
                assert request.transport is not None
                request.transport.abort()
            return web.json_response(event, status=201)
        stored = self.events.get(request.path)
        if request.method != "PATCH" or stored is None:
            return web.json_response({"message": "not found"}, status=404)
        patch = await request.json()
        assert patch.keys() == {"series"}
        stored["series"] = patch["series"]
        return web.json_response(stored)

    async def _owner(self, name: str, *, of_job: bool) -> web.StreamResponse:
        if name.startswith("stuck-"):
            await self.stuck.wait()
        if self.unreadable:
            return web.json_response({"message": "no"}, status=403)
        above = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name.rpartition("-")[0], "uid": "d"}
        if of_job:
            above = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "backup", "uid": "c"}
        owners = [] if name.startswith("report") else [above | {"controller": True}]
        return web.json_response({"metadata": {"uid": f"uid-{name}", "ownerReferences": owners}})

    @property
    def all(self) -> list[dict[str, Any]]:
        return list(self.events.values())

    @property
    def occurrences_in_events(self) -> int:
        """How many occurrences the Events report."""
        return sum(event.get("series", {}).get("count", 1) for event in self.all)

    @property
    def writes(self) -> int:
        return sum(request.startswith(("POST", "PATCH")) for request in self.requests)


def wrong(event: dict[str, Any], path: str) -> str:
    """The rules of pkg/apis/core/validation/events.go."""
    namespace = event["metadata"]["namespace"]
    checks = {
        "path": path == f"/apis/events.k8s.io/v1/namespaces/{namespace}/events",
        "name": SUBDOMAIN.fullmatch(event["metadata"]["name"]) and len(event["metadata"]["name"]) <= 253,
        "eventTime": re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["eventTime"]),
        "type": event["type"] in ("Normal", "Warning"),
        "regarding.namespace": event["regarding"].get("namespace") == namespace,
        "reportingController": event["reportingController"],
        "reportingInstance": 0 < len(event["reportingInstance"]) <= 128,
        "action": 0 < len(event["action"]) <= 128,
        "reason": 0 < len(event["reason"]) <= 128,
        "note": len(event["note"].encode()) <= 1024,
        "series": "series" not in event or event["series"]["count"] >= 2,
        "fields": not event.keys() & {"source", "firstTimestamp", "lastTimestamp", "count"},
    }
    return ", ".join(name for name, fine in checks.items() if not fine)


def denial(
    name: str, note: str = NOTE, kind: str = "Pod", seconds: int = 0, namespace: str = "ns", **rest: Any
) -> Occurrence:
    """The denial of a bare pod, or of a pod of a ReplicaSet or Job."""
    version = {"ReplicaSet": "apps/v1", "Job": "batch/v1"}.get(kind, "v1")
    uid = "" if kind == "Pod" else f"uid-{name}"
    said = statement(Reason.POD_DENIED, note, **rest)
    regarding = ObjectReference(version, kind, name, namespace, uid)
    return Occurrence(regarding, None, said, NOW + timedelta(seconds=seconds))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "WRITE_SECONDS", (0.01, 0.02))
    monkeypatch.setattr(backoff, "MAX_SECONDS", 0.02)


@pytest.fixture
def server() -> EventServer:
    return EventServer()


@asynccontextmanager
async def recording(server: EventServer, per_second: float = 1e6) -> AsyncIterator[EventRecorder]:
    async with serving(server, "/{path:.*}") as api:
        recorder = EventRecorder(api, Owners(api, per_second), "replica-1", per_second)
        task = asyncio.create_task(recorder.run())
        try:
            yield recorder
            assert not task.done()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def dropped(recorder: EventRecorder) -> dict[str, int]:
    return {reason: count for reason, count in recorder.dropped.items() if count}


async def test_event_about_a_pod_of_a_deployment_regards_the_deployment(server: EventServer) -> None:
    async with recording(server) as recorder:
        recorder.record(denial("web-1", kind="ReplicaSet"))
        await until(lambda: bool(server.events))
        await until(lambda: recorder.sent == 1)
    (event,) = server.all
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "namespace": "ns", "uid": "d"}
    assert event["regarding"] == owner
    assert event["note"] == NOTE


@pytest.mark.parametrize(
    ("job", "owner", "above"),
    [
        ("backup-by-hand", "CronJob", "spec.jobTemplate.spec.template"),
        ("backup-29384756", "CronJob", "spec.jobTemplate.spec.template"),
        ("report-20261127", "Job", "spec.template"),
        ("report", "Job", "spec.template"),
    ],
)
async def test_event_about_a_pod_of_a_job_names_the_path_in_what_its_user_wrote(
    server: EventServer, job: str, owner: str, above: str
) -> None:
    async with recording(server) as recorder:
        for template in ("spec.template", "spec.jobTemplate.spec.template"):  # as the Job's name makes it seem
            field = f"{template}.spec.hostUsers"
            note = f"spec.hostUsers is unset, image x/spec.template.spec.y. Fix: set {field} to false. [hostUsers]"
            recorder.record(denial(job, note, kind="Job", fixes=[f"{field}: set {field} to false"]))
        await until(lambda: server.occurrences_in_events == 2)
    (event,) = server.all
    field = f"{above}.spec.hostUsers"
    assert event["regarding"]["kind"] == owner
    note = f"spec.hostUsers is unset, image x/spec.template.spec.y. Fix: set {field} to false. [hostUsers]"
    assert event["note"] == note
    assert event["metadata"]["annotations"]["sekisho.dev/fixes"] == f"{field}: set {field} to false"


async def test_repeats_are_one_series_and_one_look_up(server: EventServer) -> None:
    async with recording(server) as recorder:
        for second in range(30):
            recorder.record(denial("web-1", kind="ReplicaSet", seconds=second))
        await until(lambda: server.occurrences_in_events == 30)
        recorder.record(denial("web-1", kind="ReplicaSet", seconds=30))
        await until(lambda: server.occurrences_in_events == 31)
    (event,) = server.all
    assert event["series"] == {"count": 31, "lastObservedTime": "2026-11-23T12:00:30.123456Z"}
    assert server.requests == ["GET web-1", "POST events", f"PATCH {event['metadata']['name']}"]
    assert not dropped(recorder)


async def test_new_replica_set_of_the_same_deployment_continues_the_series(server: EventServer) -> None:
    async with recording(server) as recorder:
        recorder.record(denial("web-1", kind="ReplicaSet"))
        await until(lambda: server.occurrences_in_events == 1)
        recorder.record(denial("web-2", kind="ReplicaSet"))
        await until(lambda: server.occurrences_in_events == 2)
    assert len(server.events) == 1


async def test_changed_message_is_another_event(server: EventServer) -> None:
    """The API server accepts no change of a note, so a half-fixed problem would keep showing the old text."""
    async with recording(server) as recorder:
        recorder.record(denial("a"))
        recorder.record(denial("a", "something else is wrong"))
        recorder.record(denial("a", controls=["privileged"]))
        recorder.record(denial("a", policies=["restricted"]))
        recorder.record(denial("b"))
        recorder.record(denial("b"))
        await until(lambda: server.occurrences_in_events == 6)
    assert len(server.events) == 5


async def test_series_whose_event_was_deleted_starts_another(server: EventServer) -> None:
    async with recording(server) as recorder:
        recorder.record(denial("a"))
        await until(lambda: recorder.sent == 1)
        server.events.clear()
        recorder.record(denial("a"))
        await until(lambda: bool(server.events))
    assert server.all[0]["series"]["count"] == 2


async def test_storm_of_many_owners_loses_no_occurrence(server: EventServer) -> None:
    async with recording(server) as recorder:
        for _ in range(100):
            for owner in range(200):
                recorder.record(denial(f"web{owner}-1", kind="ReplicaSet"))
        await until(lambda: server.occurrences_in_events == 20_000)
    assert {event["regarding"]["name"] for event in server.all} == {f"web{owner}" for owner in range(200)}
    assert server.writes == 200
    assert not dropped(recorder)


async def test_counts_of_known_owners_wait_for_events_of_new_owners(
    server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WORKERS", 1)
    async with recording(server, per_second=200) as recorder:
        recorder.record(denial("old"))
        await until(lambda: recorder.sent == 1)
        for number in range(10):
            recorder.record(denial("old"))
            recorder.record(denial(f"new-{number}"))
        await until(lambda: server.occurrences_in_events == 21)
    assert [request.split()[0] for request in server.requests][-1] == "PATCH"
    assert sum(request.startswith("PATCH") for request in server.requests) <= 2


async def test_owner_that_cannot_be_looked_up_delays_no_other(
    server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_UP_SECONDS", (0.02, 0.05))
    async with recording(server) as recorder:
        for number in range(50):
            recorder.record(denial(f"stuck-{number}", kind="ReplicaSet"))
        for number in range(50):
            recorder.record(denial(f"fine{number}-1", kind="ReplicaSet"))
        await until(lambda: len(server.events) == 50)
        assert all(event["regarding"]["name"].startswith("fine") for event in server.all)
        server.stuck.set()
        await until(lambda: server.occurrences_in_events == 100)
    assert not dropped(recorder)


async def test_events_of_one_owner_are_bounded_and_others_are_not_affected(server: EventServer) -> None:
    async with recording(server) as recorder:
        for number in range(40):
            recorder.record(denial("noisy", f"message {number}"))
        recorder.record(denial("quiet"))
        await until(lambda: any(event["regarding"]["name"] == "quiet" for event in server.all))
    assert len(server.events) == 11
    assert dropped(recorder) == {"owner_rate": 30}


async def test_entries_are_bounded_while_the_server_is_away_and_are_written_when_it_is_back(
    server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ENTRY_BYTES", 5 * HeldEntry(denial("web0-1", kind="ReplicaSet"), NOW).size)
    server.status = 503
    async with recording(server) as recorder:
        for number in range(8):
            for _ in range(3):
                recorder.record(denial(f"web{number}-1", kind="ReplicaSet"))
        await until(lambda: len(server.requests) > 20)
        assert dropped(recorder) == {"queue": 9}
        assert not server.events
        server.status = 0
        await until(lambda: server.occurrences_in_events == 15)
    assert len(server.events) == 5


def test_references_count_as_bytes_of_an_entry() -> None:
    short, long = (HeldEntry(denial(name), NOW).size for name in ("a", "a" * 253))
    assert long - short >= 252


async def test_series_are_bounded_and_written_ones_make_room(
    server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = denial("pod-00")
    event = event_of(first, first.regarding, "")
    series = HeldSeries(event, text_bytes(first.statement, first.regarding, event.related), NOW, 0.0)
    monkeypatch.setattr(module, "MAX_SERIES_BYTES", 5 * series.size)
    async with recording(server) as recorder:
        for number in range(20):
            recorder.record(denial(f"pod-{number:02}"))
            await until(lambda: len(server.events) == number + 1)  # noqa: B023
        await until(lambda: recorder.sent == 20)
        server.status = 503
        for number in range(8):
            recorder.record(denial(f"new-{number:02}"))
        await until(lambda: recorder.dropped[DropReason.QUEUE] == 3)
        server.status = 0
        await until(lambda: len(server.events) == 25)


@pytest.mark.parametrize("kind", ["ReplicaSet", "Pod"])
async def test_namespace_with_many_denials_does_not_delay_the_event_of_another(server: EventServer, kind: str) -> None:
    async with recording(server, per_second=200) as recorder:
        for number in range(300):
            recorder.record(denial(f"many{number}-1", kind=kind, namespace="many"))
        await until(lambda: bool(server.events))
        recorder.record(denial("one-1", kind=kind, namespace="one"))
        await until(lambda: any(event["metadata"]["namespace"] == "one" for event in server.all))
        assert len(server.events) < 100
        many = [int(event["regarding"]["name"].split("-")[0][4:]) for event in server.all[:-1] if "many" in str(event)]
        assert max(many) < 110  # in the order of first denial
        recorder.record(denial("more-1", kind=kind, namespace="one"))
        await until(lambda: sum(event["metadata"]["namespace"] == "one" for event in server.all) == 2)
        assert len(server.events) < 200
        await until(lambda: server.occurrences_in_events == 302)


async def test_namespace_with_the_most_denials_loses_events_when_there_are_too_many(
    server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ENTRY_BYTES", 20 * HeldEntry(denial("many00-1", kind="ReplicaSet"), NOW).size)
    server.status = 503
    lost: list[int] = []
    async with recording(server) as recorder:
        monkeypatch.setattr(recorder, "_on_dropped", lambda _, count: lost.append(count))
        for number in range(100):
            recorder.record(denial(f"many{number}-1", kind="ReplicaSet", namespace="many"))
        for number in range(5):
            recorder.record(denial(f"few{number}-1", kind="ReplicaSet", namespace="few"))
        assert 80 <= recorder.dropped[DropReason.QUEUE] <= 86
        server.status = 0
        await until(lambda: server.occurrences_in_events == 105 - recorder.dropped[DropReason.QUEUE])
    names = {event["regarding"]["name"] for event in server.all}
    assert {f"few{number}" for number in range(5)} | {f"many{number}" for number in range(14)} <= names
    assert sum(lost) == recorder.dropped[DropReason.QUEUE]


def test_bytes_of_what_is_held_are_counted_as_much_as_they_take() -> None:
    held: Held[HeldEntry] = Held()
    tracemalloc.start()
    try:
        for number in range(2000):
            message = f'policy "restricted" denies container "app-{number}": privileged is true; must be false'
            occurrence = denial(f"web-{number}", message, policies=[f"p-{number}"], fixes=[f"fix {number}"] * 3)
            held.add((occurrence.regarding, occurrence.statement), HeldEntry(occurrence, NOW))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= held.bytes <= 1.5 * taken


async def test_event_whose_answer_was_lost_exists_once_and_is_counted_on(server: EventServer) -> None:
    server.lose_answers = True
    async with recording(server) as recorder:
        recorder.record(denial("a"))
        await until(lambda: bool(server.events))
        recorder.record(denial("a"))
        await until(lambda: server.occurrences_in_events == 2)
    assert len(server.events) == 1


@pytest.mark.parametrize("status", [401, 403, 422])
async def test_rejected_event_is_counted_and_affects_no_other(server: EventServer, status: int) -> None:
    server.status = status
    async with recording(server) as recorder:
        recorder.record(denial("a"))
        recorder.record(denial("a"))
        await until(lambda: recorder.dropped[DropReason.REJECTED] == 2)
        server.status = 0
        recorder.record(denial("a"))
        await until(lambda: len(server.events) == 1)


async def test_permissions_that_the_server_does_not_know_yet_lose_no_event(
    server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FORBIDDEN", 1000)
    server.status = 403
    async with recording(server) as recorder:
        recorder.record(denial("web-1", kind="ReplicaSet"))
        recorder.record(denial("a"))
        await until(lambda: len(server.requests) >= 4)
        server.status = 0
        await until(lambda: server.occurrences_in_events == 2)
    assert {event["regarding"]["name"] for event in server.all} == {"web", "a"}
    assert not dropped(recorder)


async def test_event_about_an_owner_that_may_not_be_read_regards_its_controller(server: EventServer) -> None:
    server.unreadable = True
    async with recording(server) as recorder:
        recorder.record(denial("web-1", kind="ReplicaSet"))
        await until(lambda: server.occurrences_in_events == 1)
    assert server.all[0]["regarding"]["kind"] == "ReplicaSet"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, 'namespaces "ns" not found'),
        (403, "unable to create new content in namespace ns because it is being terminated"),
    ],
)
async def test_event_in_a_deleted_namespace_is_dropped_without_being_counted(
    server: EventServer, status: int, message: str
) -> None:
    server.status, server.message = status, message
    async with recording(server) as recorder:
        recorder.record(denial("a"))
        await until(lambda: bool(server.requests))
        server.status = 0
        recorder.record(denial("b"))
        await until(lambda: len(server.events) == 1)
    assert not dropped(recorder)


async def test_defect_loses_one_event_only(server: EventServer, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = event_of

    def defective(occurrence: Occurrence, *rest: Any) -> Any:
        if occurrence.regarding.name == "a":
            raise ZeroDivisionError
        return genuine(occurrence, *rest)

    monkeypatch.setattr(module, "event_of", defective)
    async with recording(server) as recorder:
        recorder.record(denial("a"))
        recorder.record(denial("b"))
        await until(lambda: bool(server.events) and recorder.dropped[DropReason.ERROR] == 1)
    assert dropped(recorder) == {"error": 1}


async def test_recorded_events_are_still_written_when_the_process_stops(
    server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "WRITE_SECONDS", (3600.0, 3600.0))
    async with recording(server) as recorder:
        recorder.record(denial("a"))
        await until(lambda: recorder.sent == 1)
        recorder.record(denial("a"))
        recorder.record(denial("web-1", kind="ReplicaSet"))
    assert server.occurrences_in_events == 3
    assert not dropped(recorder)


async def test_stopping_is_bounded_when_the_server_is_away(
    server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.05)
    server.status = 503
    async with recording(server, per_second=50) as recorder:
        recorder.record(denial("a"))
        recorder.record(denial("a"))
        await until(lambda: bool(server.requests))
    assert dropped(recorder) == {"stopped": 2}
