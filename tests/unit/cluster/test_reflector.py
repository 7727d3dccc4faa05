"""The reflector against a server that lists and watches over real HTTP, and fails as API servers do."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from sekisho import backoff
from sekisho.cluster import pages as module_of_pages
from sekisho.cluster import reflector as module
from sekisho.cluster.pages import pages
from sekisho.cluster.reflector import Reflector
from tests.unit.cluster.collection_server import PATH, CollectionServer, line, serving
from tests.unit.waiting import until

Labels = dict[str, str]


def decode(raw: bytes) -> Labels:
    labels: Labels = json.loads(raw)["metadata"]["labels"]
    if "bad" in labels:
        raise ValueError(f"bad is {labels['bad']}")
    return labels


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(backoff, "MAX_SECONDS", 0.05)


@pytest.fixture
def server() -> CollectionServer:
    return CollectionServer()


class Calls:
    """What a reflector reported: each snapshot, each version, each quarantine."""

    def __init__(self) -> None:
        self.snapshots: list[dict[str, Labels]] = []
        self.versions: list[str] = []
        self.quarantines: list[tuple[str, str]] = []

    def change(self, objects: Mapping[str, Labels]) -> None:
        self.snapshots.append(dict(objects))

    def quarantine(self, name: str, error: Exception) -> None:
        self.quarantines.append((name, str(error)))


@asynccontextmanager
async def following(
    server: CollectionServer, calls: Calls | None = None, **settings: Any
) -> AsyncIterator[Reflector[Labels]]:
    calls = calls or Calls()
    async with serving(server) as api:
        reflector = Reflector(
            api,
            PATH,
            decode,
            on_change=calls.change,
            on_version=calls.versions.append,
            on_quarantine=calls.quarantine,
            **settings,
        )
        task = asyncio.create_task(reflector.run())
        try:
            yield reflector
            assert not task.done()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def names(reflector: Reflector[Labels]) -> Callable[[], list[str]]:
    return lambda: sorted(reflector.objects)


async def test_list_is_read_in_pages_and_used_only_when_complete(server: CollectionServer) -> None:
    for name in "abcde":
        server.put(name)
    server.page = 2
    calls = Calls()
    seen: list[tuple[int, int, bool]] = []
    async with following(server, calls) as reflector:
        server.before_page = lambda start: seen.append((start, len(reflector.objects), reflector.synced))
        await reflector.wait_synced()
        assert seen == [(0, 0, False), (2, 0, False), (4, 0, False)]
        assert sorted(reflector.objects) == list("abcde")
        assert calls.snapshots[0].keys() == set("abcde")
        assert calls.versions[0] == reflector.resource_version == "105"


async def test_next_page_is_requested_while_a_page_is_read(server: CollectionServer) -> None:
    for name in "abc":
        server.put(name)
    server.page = 1
    read: list[int] = []
    async with serving(server) as api:
        async for page in pages(api, PATH, {}):
            read.append(len(page.items or ()))
            await until(lambda: server.lists() == min(3, len(read) + 1))
    assert read == [1, 1, 1]


async def test_list_with_large_objects_is_read_in_smaller_pages(
    server: CollectionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_of_pages, "MAX_PAGE_BYTES", 10_000)
    sizes = [*([10] * 40), *([4_000] * 20), 20_000, *([10] * 400)]
    for number, size in enumerate(sizes):
        server.put(f"n{number}", size="x" * size)
    async with serving(server) as api:
        read = [len(page.items or ()) async for page in pages(api, PATH, {})]
    assert sum(read) == len(sizes)
    assert read[0] > min(read) == 1
    assert max(read[-3:]) > 20


async def test_watch_delivers_additions_changes_and_deletions(server: CollectionServer) -> None:
    server.put("a", tier="1")
    async with following(server) as reflector:
        await reflector.wait_synced()
        server.put("b")
        server.put("a", tier="2")
        await until(lambda: reflector.objects.get("a") == {"tier": "2"} and "b" in reflector.objects)
        server.delete("a")
        await until(lambda: names(reflector)() == ["b"])
        assert reflector.resource_version == str(server.version)
        assert server.lists() == 1


async def test_changes_that_arrive_together_are_one_call(server: CollectionServer) -> None:
    calls = Calls()
    async with following(server, calls) as reflector:
        await reflector.wait_synced()
        await until(lambda: bool(server.watchers))
        before = len(calls.snapshots)
        things = ({"metadata": {"name": f"n{i}", "labels": {}, "resourceVersion": str(200 + i)}} for i in range(50))
        server.send(b"".join(line("ADDED", thing) for thing in things))
        await until(lambda: calls.versions[-1] == "249")
        assert len(reflector.objects) == 50
        assert len(calls.snapshots) == before + 1


async def test_bookmark_changes_the_version_only(server: CollectionServer) -> None:
    calls = Calls()
    async with following(server, calls) as reflector:
        await reflector.wait_synced()
        await until(lambda: bool(server.watchers))
        snapshots = len(calls.snapshots)
        server.bookmark(500)
        await until(lambda: calls.versions[-1] == "500")
        assert reflector.resource_version == "500"
        assert len(calls.snapshots) == snapshots
        server.end()
        await until(lambda: len(server.watches()) == 2)
        assert server.watches() == ["100", "500"]


@pytest.mark.parametrize("how", ["end", "abort", "half a line"])
async def test_broken_watch_is_resumed_where_it_broke(server: CollectionServer, how: str) -> None:
    async with following(server) as reflector:
        await reflector.wait_synced()
        server.put("a")
        await until(lambda: names(reflector)() == ["a"])
        if how == "half a line":
            server.send(b'{"type":"ADDED","object":{"meta')
        if how == "end":
            server.end()
        else:
            server.send(b"ABORT")
        await until(lambda: len(server.watches()) == 2)
        server.put("b")
        await until(lambda: names(reflector)() == ["a", "b"])
        assert server.watches() == ["100", "101"]
        assert server.lists() == 1


async def test_changes_while_the_watch_was_down_are_not_lost(server: CollectionServer) -> None:
    server.put("a")
    async with following(server) as reflector:
        await reflector.wait_synced()
        server.status = 503
        server.end()
        await until(lambda: server.requests[-1][0] == "watch" and not server.watchers)
        server.put("b")
        server.delete("a")
        assert names(reflector)() == ["a"]
        server.status = None
        await until(lambda: names(reflector)() == ["b"])


@pytest.mark.parametrize("how", ["status", "event"])
async def test_forgotten_version_leads_to_a_new_list(server: CollectionServer, how: str) -> None:
    server.put("a")
    server.put("b")
    async with following(server) as reflector:
        await reflector.wait_synced()
        await until(lambda: bool(server.watchers))
        watchers = server.watchers[:]
        server.watchers.clear()  # what happens now is never reported
        server.delete("a")
        server.put("c")
        server.compact()
        server.watchers += watchers
        if how == "status":
            server.end()
        else:
            server.send(line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}))
        await until(lambda: names(reflector)() == ["b", "c"])
        assert server.lists() == 2


@pytest.mark.parametrize(
    "text",
    [
        b"this is no JSON\n",
        b'{"type":"ADDED"}\n',
        b'{"type":"ADDED","object":{"metadata":{"name":7}}}\n',
        line("ERROR", {"kind": "Status", "code": 500, "reason": "InternalError", "message": "etcd"}),
    ],
    ids=["no JSON", "no object", "wrong type", "error event"],
)
async def test_unreadable_watch_leads_to_a_new_list(server: CollectionServer, text: bytes) -> None:
    async with following(server) as reflector:
        await reflector.wait_synced()
        await until(lambda: bool(server.watchers))
        server.send(text)
        await until(lambda: server.lists() == 2 and bool(server.watchers))
        server.put("a")
        await until(lambda: names(reflector)() == ["a"])


async def test_list_that_expires_between_pages_is_started_again(server: CollectionServer) -> None:
    for name in "abc":
        server.put(name)
    server.page = 2
    expired: list[int] = []

    def expire_once(start: int) -> None:
        if start and not expired:
            expired.append(start)
            server.put("d")
            server.compact()

    server.before_page = expire_once
    async with following(server) as reflector:
        await reflector.wait_synced()
        assert expired
        assert names(reflector)() == list("abcd")


async def test_object_that_cannot_be_decoded_affects_no_other_and_keeps_its_last_good_version(
    server: CollectionServer,
) -> None:
    server.put("good", v="1")
    server.put("never", bad="1")
    calls = Calls()
    async with following(server, calls) as reflector:
        await reflector.wait_synced()
        assert names(reflector)() == ["good"]
        assert reflector.quarantined == {"never": "bad is 1"}
        server.put("good", v="2", bad="2")
        server.put("other")
        await until(lambda: "other" in reflector.objects)
        assert reflector.objects["good"] == {"v": "1"}
        assert reflector.quarantined == {"never": "bad is 1", "good": "bad is 2"}
        server.compact()
        server.send(line("ERROR", {"code": 410}))
        await until(lambda: server.lists() == 2 and bool(server.watchers))
        assert reflector.objects["good"] == {"v": "1"}
        assert calls.quarantines == [("never", "bad is 1"), ("good", "bad is 2")]
        server.put("good", v="3")
        server.delete("never")
        await until(lambda: reflector.objects["good"] == {"v": "3"} and not reflector.quarantined)


async def test_watch_that_ends_normally_without_an_event_is_healthy(
    server: CollectionServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(server) as reflector:
        await reflector.wait_synced()
        await until(lambda: bool(server.watchers) and reflector.stale_seconds > 0.5)
        ended = time.monotonic()
        server.end()
        await until(lambda: len(server.watches()) == 2)
        assert reflector.stale_seconds < time.monotonic() - ended
        assert not caplog.records
        assert server.lists() == 1


async def test_silent_watch_is_restarted(
    server: CollectionServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "WATCH_SECONDS", (0, 0))
    monkeypatch.setattr(module, "STALL_SECONDS", 0.1)
    async with following(server) as reflector:
        await reflector.wait_synced()
        await until(lambda: len(server.watches()) >= 3)
        assert "timed out" in caplog.text
        server.put("a")
        await until(lambda: names(reflector)() == ["a"])
        assert server.lists() == 1


async def test_last_copy_stays_and_becomes_stale_while_the_server_is_unreachable(server: CollectionServer) -> None:
    server.put("a")
    async with following(server) as reflector:
        assert reflector.stale_seconds == float("inf")
        await reflector.wait_synced()
        assert reflector.stale_seconds < 5
        server.status = 500
        server.send(b"ABORT")
        count = len(server.requests)
        await until(lambda: len(server.requests) > count + 3)
        assert names(reflector)() == ["a"]
        assert reflector.synced
        assert reflector.stale_seconds > 0.01


async def test_first_list_is_tried_until_it_succeeds(server: CollectionServer) -> None:
    server.status = 404  # the CRD is yet to be made
    server.put("a")
    async with following(server) as reflector:
        await until(lambda: server.lists() >= 3)
        assert not reflector.synced
        server.status = None
        await reflector.wait_synced()
        assert names(reflector)() == ["a"]


async def test_one_object_or_metadata_only_can_be_requested(server: CollectionServer) -> None:
    async with following(server, field_selector="metadata.name=a", metadata_only=True) as reflector:
        await reflector.wait_synced()
        await until(lambda: bool(server.watchers))
        (_, listed, list_type), (_, watched, watch_type) = server.requests
        assert listed["fieldSelector"] == watched["fieldSelector"] == "metadata.name=a"
        assert "as=PartialObjectMetadataList" in list_type
        assert "as=PartialObjectMetadata;" in watch_type
        assert watched["allowWatchBookmarks"] == "true"
        assert module.WATCH_SECONDS[0] <= int(watched["timeoutSeconds"]) <= module.WATCH_SECONDS[1]
