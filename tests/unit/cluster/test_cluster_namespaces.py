"""Labels of namespaces: known ones from the reflector, new ones from the API server, once at a time."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from sekisho.cluster import namespaces as module
from sekisho.cluster.api import ApiClient
from sekisho.cluster.config import ApiConfig
from sekisho.cluster.namespaces import PATH, Namespaces, UnknownNamespaceError, decode_labels
from sekisho.cluster.reflector import Reflector
from tests.unit.waiting import until


class NamespaceServer:
    """Namespaces, of which the reflector gets only those that are listed."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.status = 200
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name")
        if name is None:
            if "watch" in request.query:
                await asyncio.Event().wait()
            item = {"metadata": {"name": "listed", "labels": {"tier": "prod"}}}
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [item]})
        self.fetched.append(name)
        await self.gate.wait()
        return web.json_response(
            {"message": f'namespaces "{name}" not found', "metadata": {"labels": {"name": name}}}, status=self.status
        )


@pytest.fixture
async def server() -> NamespaceServer:
    return NamespaceServer()


@pytest.fixture
async def namespaces(server: NamespaceServer) -> AsyncIterator[Namespaces]:
    app = web.Application()
    app.router.add_get(PATH, server.handle)
    app.router.add_get(PATH + "/{name}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api = ApiClient(ApiConfig(host=f"http://127.0.0.1:{runner.addresses[0][1]}", authorization=None, tls=False))
    reflector = Reflector(api, PATH, decode_labels, metadata_only=True)
    task = asyncio.create_task(reflector.run())
    await reflector.wait_synced()
    yield Namespaces(api, reflector)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await api.close()
    await runner.cleanup()


async def test_listed_namespace_is_known_and_a_new_one_is_fetched(
    namespaces: Namespaces, server: NamespaceServer
) -> None:
    assert namespaces.known("listed") == {"tier": "prod"}
    assert namespaces.known("new") is None
    assert await namespaces.fetch("new") == {"name": "new"}
    assert server.fetched == ["new"]


async def test_requests_at_the_same_time_share_one_fetch(namespaces: Namespaces, server: NamespaceServer) -> None:
    answers = await asyncio.gather(*(namespaces.fetch("new") for _ in range(50)))
    assert answers == [{"name": "new"}] * 50
    assert server.fetched == ["new"]


async def test_namespace_that_cannot_be_read_is_an_error_that_says_why(
    namespaces: Namespaces, server: NamespaceServer
) -> None:
    server.status = 404
    with pytest.raises(UnknownNamespaceError, match='namespaces "gone" not found'):
        await namespaces.fetch("gone")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../secrets", "A", "a" * 64, "a?x=y", "a\n"])
async def test_invalid_name_is_not_looked_up(namespaces: Namespaces, server: NamespaceServer, name: str) -> None:
    with pytest.raises(UnknownNamespaceError, match="its name is not valid"):
        await namespaces.fetch(name)
    assert server.fetched == []


async def test_fetches_at_the_same_time_are_bounded(
    namespaces: Namespaces, server: NamespaceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FETCHES", 2)
    server.gate.clear()
    waiting = [asyncio.create_task(namespaces.fetch(name)) for name in ("a", "b")]
    await until(lambda: len(server.fetched) == 2)
    with pytest.raises(UnknownNamespaceError, match="too many namespaces"):
        await namespaces.fetch("c")
    server.gate.set()
    assert await asyncio.gather(*waiting) == [{"name": "a"}, {"name": "b"}]
    assert await namespaces.fetch("c") == {"name": "c"}
