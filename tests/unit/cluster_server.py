"""The lists of a cluster's API over HTTP, in pages, and watches of them; some can be made to fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

Json = dict[str, Any]
PAGE = 3
"""The longest page, whatever the client requests."""


class ClusterServer:
    """Lists by path. Other paths do not exist."""

    def __init__(self) -> None:
        self.lists: dict[str, list[Json]] = {}
        self.statuses: dict[str, int] = {}
        """By path, the status to answer with."""
        self.expired = 0
        """How many lists of pods are expired when their second page is requested."""
        self.before_second_page: Callable[[], None] = lambda: None
        """Called when the second page of pods is requested."""
        self.requests: list[str] = []
        """The lists that were requested, page by page."""
        self.created: list[Json] = []
        """The objects that were created, at paths without a status."""
        self._watchers: list[asyncio.Queue[bytes]] = []

    def put(self, path: str, objects: Iterable[Json]) -> None:
        """Add objects to a list."""
        self.lists.setdefault(path, []).extend(objects)

    def tell(self, kind: str, body: Json) -> None:
        """Send an event to everybody who watches anything."""
        for watcher in self._watchers:
            watcher.put_nowait(json.dumps({"type": kind, "object": body}).encode() + b"\n")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if "watch" in request.query:
            return await self._watch(request)
        self.requests.append(path)
        if path in self.statuses or path not in self.lists:
            return _failure(self.statuses.get(path, 404))
        start = int(request.query.get("continue", "0"))
        if start and path == "/api/v1/pods":
            self.before_second_page()
        if start and path == "/api/v1/pods" and self.expired:
            self.expired -= 1
            return _failure(410)
        items = self.lists[path]
        remaining = len(items) - start - PAGE
        meta = {"continue": str(start + PAGE), "remainingItemCount": remaining} if remaining > 0 else {}
        return web.json_response({"metadata": meta, "items": items[start : start + PAGE]})

    async def create(self, request: web.Request) -> web.Response:
        status = self.statuses.get(request.path)
        if status is not None:
            return _failure(status)
        self.created.append(await request.json())
        return web.json_response(self.created[-1], status=201)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        events: asyncio.Queue[bytes] = asyncio.Queue()
        self._watchers.append(events)
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(await events.get())

    @asynccontextmanager
    async def serve(self, folder: Path) -> AsyncIterator[str]:
        """Serve, and give a kubeconfig."""
        application = web.Application()
        application.router.add_get("/{path:.*}", self.handle)
        application.router.add_post("/{path:.*}", self.create)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        file = folder / "kubeconfig"
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        user = {"name": "u", "user": {}}
        config = {"current-context": "c", "clusters": [cluster], "contexts": [context], "users": [user]}
        file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **config}))
        try:
            yield str(file)
        finally:
            await runner.cleanup()


def _failure(status: int) -> web.Response:
    body = {"kind": "Status", "message": f"answered with {status}", "reason": "Test"}
    return web.Response(status=status, text=json.dumps(body), content_type="application/json")
