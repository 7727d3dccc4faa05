"""The controller's port for the kubelet and Prometheus."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from sekisho.errors import SekishoError
from sekisho.telemetry.health import Health


class BindError(SekishoError):
    """The address to listen on is not available; the message says why."""


@asynccontextmanager
async def serve_probes(host: str, port: int, health: Health) -> AsyncIterator[None]:
    """Serve /healthz, /readyz and /metrics for as long as the context lasts. Raises BindError."""
    runner = web.ServerRunner(web.Server(health.handle, access_log=None), shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise BindError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        yield
    finally:
        await runner.cleanup()
