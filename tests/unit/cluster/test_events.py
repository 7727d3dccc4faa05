"""Events about denials, written to a server that keeps the API server's rules for them."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from aiohttp import web
from collection_server import serving

from sekisho import admission
from sekisho.cluster import events as module
from sekisho.cluster.events import Denial, EventRecorder, denial_of, note_of
from sekisho.cluster.owners import Owners

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
POD = {"group": "", "version": "v1", "kind": "Pod"}
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
REPLICA_SET = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "r", "controller": True}
STATEFUL_SET = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "s", "controller": True}
MESSAGE = 'policy "restricted" refuses container "app". Fix: do not. [privileged]'


class EventServer:
    """Events by path, and one ReplicaSet that a Deployment owns. Refuses what the API server would refuse."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.status = 0
        self.lose_answers = False
        """Whether an Event is stored and the client is not told."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path.split('/')[-1]}")
        if self.status:
            return web.json_response({"message": "no"}, status=self.status)
        if request.path == "/apis/apps/v1/namespaces/ns/replicasets/web-1":
            owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": True}
            return web.json_response({"metadata": {"uid": "r", "ownerReferences": [owner]}})
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
        found = self.events.get(request.path)
        if request.method != "PATCH" or found is None:
            return web.json_response({"message": "not found"}, status=404)
        patch = await request.json()
        assert patch.keys() == {"series"}
        found["series"] = patch["series"]
        return web.json_response(found)

    @property
    def all(self) -> list[dict[str, Any]]:
        return list(self.events.values())


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


def refused(meta: dict[str, Any], message: str = MESSAGE, **request: Any) -> Denial | None:
    """What is recorded of a pod that was refused."""
    asked = {
        "uid": "u",
        "kind": POD,
        "namespace": "ns",
        "operation": "CREATE",
        "object": {"metadata": meta, "spec": {}},
    }
    body = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": asked | request}
    return denial_of(admission.decode(msgspec.json.encode(body)), message, NOW)


def denial(meta: dict[str, Any], message: str = MESSAGE, **request: Any) -> Denial:
    found = refused(meta, message, **request)
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITE_SECONDS", 0.01)
    monkeypatch.setattr(module, "_MOST_BACKOFF_SECONDS", 0.02)


@pytest.fixture
def server() -> EventServer:
    return EventServer()


@asynccontextmanager
async def recording(server: EventServer) -> AsyncIterator[EventRecorder]:
    async with serving(server, "/{path:.*}") as api:
        recorder = EventRecorder(api, Owners(api), "replica-1")
        task = asyncio.create_task(recorder.run())
        try:
            yield recorder
            assert not task.done()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_pod_of_a_deployment_is_told_on_the_deployment(server: EventServer) -> None:
    async with recording(server) as recorder:
        recorder.record(denial({"generateName": "web-1-", "name": "web-1-x7k2p", "ownerReferences": [REPLICA_SET]}))
        await until(lambda: bool(server.events))
    (event,) = server.all
    assert event["regarding"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "web",
        "namespace": "ns",
        "uid": "d",
    }
    assert event["related"]["kind"] == "ReplicaSet"
    assert event["related"]["name"] == "web-1"
    assert event["note"] == MESSAGE
    assert (event["reason"], event["type"], event["action"]) == ("PodDenied", "Warning", "Admit")
    assert (event["reportingController"], event["reportingInstance"]) == ("sekisho.dev/webhook", "replica-1")
    assert event["eventTime"] == "2026-11-23T12:00:00.123456Z"
    assert recorder.sent == 1


@pytest.mark.parametrize(
    ("meta", "request_fields", "regarding", "related"),
    [
        ({"name": "bare"}, {}, "bare", None),
        ({"generateName": "job-"}, {}, "job-", None),
        ({"generateName": "job-", "name": "job-abcde"}, {}, "job-", None),
        ({"name": "db-0", "ownerReferences": [STATEFUL_SET]}, {}, "db", "db-0"),
        ({"generateName": "db-", "ownerReferences": [STATEFUL_SET]}, {}, "db", None),
        ({"generateName": "web-1-", "name": "web-1-ab", "ownerReferences": [REPLICA_SET]},
         {"operation": "UPDATE", "name": "web-1-ab"}, "web", "web-1-ab"),
        ({"name": "node-1-proxy", "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "n",
         "controller": True}]}, {}, "node-1-proxy", None),
        ({}, {}, "pod", None),
        ({"name": "Not/A name"}, {}, "Not/A name", None),
        ({"name": "x" * 500}, {}, "x" * 253, None),
    ],
)  # fmt: skip
async def test_who_is_told(
    server: EventServer,
    meta: dict[str, Any],
    request_fields: dict[str, Any],
    regarding: str,
    related: str | None,
) -> None:
    async with recording(server) as recorder:
        recorder.record(denial(meta, **request_fields))
        await until(lambda: bool(server.events))
    (event,) = server.all
    assert event["regarding"]["name"] == regarding
    assert event.get("related", {}).get("name") == related


def test_dry_run_and_what_has_no_namespace_leave_no_event() -> None:
    assert refused({"name": "p"}, dryRun=True) is None
    assert refused({"name": "p"}, namespace="") is None
    assert refused({"name": "p"}, namespace="a/../b") is None
    assert refused({"name": "p"}, dryRun=False) is not None


async def test_repeats_become_one_series(server: EventServer) -> None:
    async with recording(server) as recorder:
        for number in range(30):
            meta = {"generateName": "web-1-", "name": f"web-1-{number}", "ownerReferences": [REPLICA_SET]}
            recorder.record(denial(meta))
        await until(lambda: any("series" in event for event in server.all))
        recorder.record(denial({"generateName": "web-1-", "ownerReferences": [REPLICA_SET]}))
    (event,) = server.all
    assert event["series"] == {"count": 31, "lastObservedTime": "2026-11-23T12:00:00.123456Z"}
    assert server.requests.count("POST events") == 1
    assert server.requests.count("GET web-1") == 1
    assert not recorder.dropped


async def test_another_message_or_another_owner_is_another_event(server: EventServer) -> None:
    async with recording(server) as recorder:
        recorder.record(denial({"name": "a"}))
        recorder.record(denial({"name": "a"}, "something else is wrong"))
        recorder.record(denial({"name": "b"}))
        await until(lambda: len(server.events) == 3)


async def test_series_whose_event_is_gone_begins_another(server: EventServer) -> None:
    async with recording(server) as recorder:
        recorder.record(denial({"name": "a"}))
        await until(lambda: bool(server.events))
        server.events.clear()
        recorder.record(denial({"name": "a"}))
        await until(lambda: bool(server.events))
    assert server.all[0]["series"]["count"] == 2


async def test_owner_may_write_so_much_and_others_still_can(server: EventServer) -> None:
    async with recording(server) as recorder:
        for number in range(40):
            recorder.record(denial({"name": "noisy"}, f"message {number}"))
        recorder.record(denial({"name": "quiet"}))
        await until(lambda: any(event["regarding"]["name"] == "quiet" for event in server.all))
    assert len(server.events) == 11
    assert recorder.dropped == {"owner_rate": 30}


async def test_all_together_may_write_so_much(server: EventServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOTAL_PER_SECOND", 0)
    async with recording(server) as recorder:
        for number in range(130):
            recorder.record(denial({"name": f"pod-{number}"}))
        await until(lambda: recorder.dropped["rate"] == 30)
    assert len(server.events) == 100


async def test_queue_is_bounded_while_the_server_is_away_and_is_written_when_it_is_back(
    server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_QUEUED", 5)
    server.status = 503
    async with recording(server) as recorder:
        for number in range(8):
            recorder.record(denial({"name": f"pod-{number}"}))
        await until(lambda: len(server.requests) > 3)
        assert recorder.dropped == {"queue": 3}
        assert not server.events
        server.status = 0
        await until(lambda: len(server.events) == 5)


async def test_event_whose_answer_was_lost_is_there_once(server: EventServer) -> None:
    server.lose_answers = True
    async with recording(server) as recorder:
        recorder.record(denial({"name": "a"}))
        await until(lambda: recorder.sent == 1)
    assert server.requests == ["POST events"] * 2
    assert len(server.events) == 1


@pytest.mark.parametrize("status", [403, 404, 422])
async def test_what_the_server_does_not_want_is_counted_and_harms_nothing_else(
    server: EventServer, status: int
) -> None:
    server.status = status
    async with recording(server) as recorder:
        recorder.record(denial({"name": "a"}))
        await until(lambda: recorder.dropped["refused"] == 1)
        server.status = 0
        recorder.record(denial({"name": "a"}))
        await until(lambda: len(server.events) == 1)


async def test_queued_denials_are_still_written_when_the_process_stops(server: EventServer) -> None:
    async with serving(server, "/{path:.*}") as api:
        recorder = EventRecorder(api, Owners(api), "replica-1")
        task = asyncio.create_task(recorder.run())
        await asyncio.sleep(0)
        recorder.record(denial({"name": "a"}))
        recorder.record(denial({"name": "a"}))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (event,) = server.all
    assert event["series"]["count"] == 2


async def test_stopping_is_bounded_when_the_server_is_away(
    server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.05)
    server.status = 503
    async with recording(server) as recorder:
        recorder.record(denial({"name": "a"}))
        await until(lambda: bool(server.requests))
    assert recorder.dropped == {"queue": 1}


@pytest.mark.parametrize(
    ("message", "note"),
    [
        ("short. text", "short. text"),
        ("a" * 1024, "a" * 1024),
        ("first line.\n" + "b" * 2000, "first line.\n…"),
        ("one. two. " + "c" * 2000, "one. two. …"),
        ("é" * 2000, "é" * 510 + "…"),
    ],
)
def test_long_message_is_cut_after_a_whole_line_or_sentence(message: str, note: str) -> None:
    assert note_of(message) == note
    assert len(note_of(message).encode()) <= 1024


def test_values_from_a_review_are_cut() -> None:
    found = denial({"name": "n" * 5000}, kind={"group": "g" * 5000, "version": "v1", "kind": "K" * 5000})
    assert all(len(value) <= 253 for value in (found.refused.name, found.refused.kind, found.refused.api_version))
