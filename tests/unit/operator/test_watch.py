"""The watches of policies, waivers and authorities, against servers that lose CRDs."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web

from sekisho import backoff
from sekisho.operator.watch import POD_POLICIES, Body, administrators_kinds, watch_pod_policies
from tests.unit.cluster.collection_server import CollectionServer, serving
from tests.unit.waiting import until

PLURALS = [POD_POLICIES.plural]
PROGRAM = Path(__file__).parent / "watch_program.py"


class Server:
    """The collection by its name in the API; without its CRD while it is in `missing`."""

    def __init__(self) -> None:
        self.collections = {plural: CollectionServer() for plural in PLURALS}
        self.missing: set[str] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        plural = request.path.rpartition("/")[2]
        if plural in self.missing:
            return web.json_response({"message": "the server could not find the requested resource"}, status=404)
        return await self.collections[plural].handle(request)


class Watched:
    """What the watch has called so far."""

    def __init__(self) -> None:
        self.uids: dict[str, str] = {}
        self.is_complete = False

    def changed(self, body: Body) -> None:
        self.uids[body["metadata"]["uid"]] = f"{body['kind']} {body['metadata']['name']}"

    def deleted(self, uid: str) -> None:
        del self.uids[uid]

    def listed(self) -> None:
        assert not self.is_complete
        self.is_complete = True


@asynccontextmanager
async def watching(server: Server) -> AsyncIterator[Watched]:
    watched = Watched()
    async with serving(server, "/{path:.*}") as api:
        task = asyncio.create_task(watch_pod_policies(api, watched.changed, watched.deleted, watched.listed))
        try:
            yield watched
            assert not task.done()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "MAX_SECONDS", 0.02)


@pytest.fixture
def server() -> Server:
    server = Server()
    for plural in PLURALS:
        server.collections[plural].put("p", uid=f"uid-{plural}")
    return server


ALL = {f"uid-{POD_POLICIES.plural}": f"{POD_POLICIES.name} p"}


async def test_all_are_listed_first_and_changes_follow(server: Server) -> None:
    async with watching(server) as watched:
        await until(lambda: watched.is_complete)
        assert watched.uids == ALL
        server.collections["podpolicies"].put("q", uid="uid-q")
        await until(lambda: watched.uids.get("uid-q") == "PodPolicy q")
        server.collections["podpolicies"].delete("q")
        await until(lambda: watched.uids == ALL)


async def test_object_with_the_name_of_a_deleted_one_replaces_it(server: Server) -> None:
    policies = server.collections["podpolicies"]
    async with watching(server) as watched:
        await until(lambda: watched.is_complete)
        policies.compact()
        policies.put("p", uid="another")
        policies.end()
        await until(lambda: "another" in watched.uids)
        assert "uid-podpolicies" not in watched.uids


@pytest.mark.parametrize("plural", PLURALS)
async def test_crd_that_is_missing_is_waited_for(server: Server, plural: str) -> None:
    server.missing.add(plural)
    async with watching(server) as watched:
        await until(lambda: len(watched.uids) == len(ALL) - 1)
        assert not watched.is_complete
        server.missing.clear()
        await until(lambda: watched.is_complete)
        assert watched.uids == ALL


@pytest.mark.parametrize("plural", PLURALS)
async def test_crd_that_is_deleted_and_created_again_is_watched_again(server: Server, plural: str) -> None:
    policies = server.collections[plural]
    async with watching(server) as watched:
        await until(lambda: watched.is_complete and bool(policies.watchers))
        server.missing.add(plural)
        policies.delete("p")
        policies.end()
        await until(lambda: f"uid-{plural}" not in watched.uids)
        policies.put("new", uid="uid-new")
        policies.compact()
        server.missing.clear()
        await until(lambda: watched.uids.get("uid-new", "").endswith(" new"))


# What kopf follows, in a process of its own.


def lines_of(*action: str) -> list[str]:
    done = subprocess.run((sys.executable, PROGRAM, *action), capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("plural", [one.plural for one in administrators_kinds(with_authorities=True)])
def test_a_watch_that_dies_ends_the_work_soon(plural: str) -> None:
    started, listed, ended, seconds = lines_of("remove", plural)
    assert (started, listed) == ("started", "listed u")
    assert ended == "ended: kopf no longer watches every kind that it should"
    assert float(seconds) < 5


@pytest.mark.parametrize("how", [[], ["unverified"]])
def test_a_watch_that_lives_ends_when_cancelled(how: list[str]) -> None:
    started, listed, ended, seconds = lines_of("cancel", *how)
    assert (started, listed, ended) == ("started", "listed u", "cancelled")
    assert float(seconds) < 5
