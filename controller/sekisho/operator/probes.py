"""/healthz, /readyz and /metrics of the controller."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from sekisho.errors import SekishoError
from sekisho.operator.metrics import Metrics


class BindError(SekishoError):
    """The address to listen on can't be had; the message says why."""


@asynccontextmanager
async def serve_probes(host: str, port: int, metrics: Metrics) -> AsyncIterator[None]:
    """Serve them for as long as the context lasts. Raises BindError.

    A process is ready when it stands by as well as when it leads: it would take over at once.
    """

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", alive)
    app.router.add_get("/metrics", exposition)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise BindError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        yield
    finally:
        await runner.cleanup()
