"""One collection of the API over HTTP, with list, paging and watch, that can be made to fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from sekisho.cluster.api import ApiClient
from sekisho.cluster.config import ApiConfig

Json = dict[str, Any]
PATH = "/api/v1/things"


def line(kind: str, thing: Json) -> bytes:
    """A watch event as the API server writes it."""
    return json.dumps({"type": kind, "object": thing}).encode() + b"\n"


class CollectionServer:
    """Things by name, with the history that a watch resumes in."""

    def __init__(self) -> None:
        self.things: dict[str, Json] = {}
        self.version = 100
        self.oldest = 0
        """Versions before this one are forgotten."""
        self.status: int | None = None
        """Answer everything with this status."""
        self.page = 0
        """The longest page, whatever the client asks for."""
        self.before_page: Callable[[int], None] = lambda start: None
        self.requests: list[tuple[str, dict[str, str], str]] = []
        """What was asked: list or watch, the parameters, and the media type that was accepted."""
        self.watchers: list[asyncio.Queue[bytes | None]] = []
        self._history: list[tuple[int, bytes]] = []

    def put(self, name: str, uid: str = "", **labels: Any) -> None:
        self.version += 1
        kind = "MODIFIED" if name in self.things else "ADDED"
        meta = {"name": name, "labels": labels, "resourceVersion": str(self.version)}
        self.things[name] = {"metadata": meta | ({"uid": uid} if uid else {})}
        self._tell(line(kind, self.things[name]))

    def delete(self, name: str) -> None:
        self.version += 1
        thing = self.things.pop(name)
        thing["metadata"]["resourceVersion"] = str(self.version)
        self._tell(line("DELETED", thing))

    def bookmark(self, version: int) -> None:
        self.version = max(self.version, version)
        self.send(line("BOOKMARK", {"metadata": {"resourceVersion": str(version)}}))

    def compact(self) -> None:
        """Forget all history, as etcd does after a while."""
        self.oldest = self.version
        self._history.clear()

    def send(self, text: bytes) -> None:
        """Send something to everybody who watches."""
        for watcher in self.watchers:
            watcher.put_nowait(text)

    def end(self) -> None:
        """End all watches in good order."""
        for watcher in self.watchers:
            watcher.put_nowait(None)

    def lists(self) -> int:
        return sum(kind == "list" for kind, _, _ in self.requests)

    def watches(self) -> list[str]:
        """The versions that were watched from."""
        return [params["resourceVersion"] for kind, params, _ in self.requests if kind == "watch"]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        params = dict(request.query)
        watching = params.pop("watch", "") == "true"
        self.requests.append(("watch" if watching else "list", params, request.headers["Accept"]))
        if self.status is not None:
            return _denied(self.status, "Broken")
        if watching:
            return await self._watch(request, int(params["resourceVersion"]))
        return self._list(params)

    def _list(self, params: dict[str, str]) -> web.Response:
        start, version = 0, self.version
        if "continue" in params:
            start, version = map(int, params["continue"].split("/"))
        self.before_page(start)
        if version < self.oldest:
            return _denied(410, "Expired")
        limit = min(int(params["limit"]), self.page or 10_000)
        names = list(self.things)
        meta = {"resourceVersion": str(version)}
        if start + limit < len(names):
            meta["continue"] = f"{start + limit}/{version}"
        return web.json_response(
            {"metadata": meta, "items": [self.things[name] for name in names[start : start + limit]]}
        )

    async def _watch(self, request: web.Request, version: int) -> web.StreamResponse:
        if version < self.oldest:
            return _denied(410, "Expired")
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        for at, text in self._history:
            if at > version:
                queue.put_nowait(text)
        self.watchers.append(queue)
        try:
            while (sent := await queue.get()) is not None:
                if sent == b"ABORT":
                    assert request.transport is not None
                    request.transport.abort()
                    break
                await response.write(sent)
        finally:
            self.watchers.remove(queue)
        return response

    def _tell(self, text: bytes) -> None:
        self._history.append((self.version, text))
        self.send(text)


def _denied(status: int, reason: str) -> web.Response:
    return web.json_response({"kind": "Status", "reason": reason, "message": "no"}, status=status)


@asynccontextmanager
async def serving(
    server: Any, path: str = PATH, may_write: Callable[[], bool] = lambda: True
) -> AsyncIterator[ApiClient]:
    """Serve on loopback; gives a client."""
    app = web.Application()
    app.router.add_route("*", path, server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    client = ApiClient(ApiConfig(host=f"http://{host}:{port}", authorization=None, tls=False), may_write=may_write)
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()
