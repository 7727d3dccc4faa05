"""Leases over HTTP, as the API server serves them, that can be made to fail."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from sekisho.cluster.api import ApiClient
from sekisho.cluster.config import ApiConfig

Json = dict[str, Any]


class LeaseServer:
    """Leases by name, each write counted by the resourceVersion."""

    def __init__(self) -> None:
        self.leases: dict[str, Json] = {}
        self.version = 100
        self.is_down = False
        self.is_stuck = False
        self.requests: list[str] = []
        self.user: object = None
        self._happened = asyncio.Event()

    def put(self, name: str, lease: Json) -> Json:
        self.version += 1
        lease["metadata"] = {**lease.get("metadata", {}), "name": name, "resourceVersion": str(self.version)}
        self.leases[name] = lease
        return lease

    async def wait_until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait for a condition that some request brings about."""
        deadline = time.monotonic() + seconds
        while not condition():
            self._happened.clear()
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._happened.wait()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.method)
        try:
            if self.is_stuck:
                await asyncio.Event().wait()
            if self.is_down:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            return await self._answer(request)
        finally:
            self._happened.set()

    async def _answer(self, request: web.Request) -> web.Response:
        if request.path.endswith("/selfsubjectreviews"):
            return web.json_response({"status": {"userInfo": self.user}}) if self.user else _denied(404)
        name = request.match_info.get("name", "")
        known = self.leases.get(name)
        if not name and request.method == "GET":
            label, _, value = request.query.get("labelSelector", "").partition("=")
            selected = [
                lease for lease in self.leases.values() if lease["metadata"].get("labels", {}).get(label) == value
            ]
            return web.json_response({"items": selected})
        if request.method == "POST":
            body = await request.json()
            name = body["metadata"]["name"]
            return _denied(409) if name in self.leases else web.json_response(self.put(name, body))
        if request.method == "PATCH":
            body = await request.json()
            if request.content_type == "application/apply-patch+yaml":
                return web.json_response(self.put(name, body))
            if known is None:
                return _denied(404)
            if body["metadata"].pop("resourceVersion") != known["metadata"]["resourceVersion"]:
                return _denied(409)
            return web.json_response(self.put(name, _merged(known, body)))
        if known is None:
            return _denied(404)
        if request.method == "DELETE":
            del self.leases[name]
        return web.json_response(known)


def _denied(status: int) -> web.Response:
    return web.json_response({"kind": "Status", "reason": "Denied", "message": "denied"}, status=status)


def _merged(old: Json, patch: Json) -> Json:
    merged = dict(old)
    for key, value in patch.items():
        if isinstance(value, dict):
            merged[key] = _merged(old.get(key) or {}, value)
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


@asynccontextmanager
async def serving(server: LeaseServer, may_write: Callable[[], bool] = lambda: True) -> AsyncIterator[ApiClient]:
    """Serve on loopback; gives a client."""
    app = web.Application()
    collection = "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
    app.router.add_route("*", collection, server.handle)
    app.router.add_route("*", collection + "/{name}", server.handle)
    app.router.add_post("/apis/authentication.k8s.io/v1/selfsubjectreviews", server.handle)
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
