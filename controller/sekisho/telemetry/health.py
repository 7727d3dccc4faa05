"""The port for the kubelet and Prometheus, in plain HTTP: /healthz, /readyz and /metrics."""

from collections.abc import Callable, Iterable

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.core import Metric

from sekisho.telemetry.families import Family
from sekisho.telemetry.scrapes import Scrapes

PATHS = ("/healthz", "/readyz", "/metrics")


class Health:
    """Answers the requests to that port.

    collect: the metrics as they are now, in little time.
    missing: what the process lacks to be ready, a clause each; empty when it is ready.
    stalled: why the process does not do its work any more and must be started again; empty while it does.
    """

    def __init__(
        self,
        collect: Callable[[], Iterable[Metric | Family]],
        missing: Callable[[], list[str]] = list,
        stalled: Callable[[], str] = str,
    ) -> None:
        self._scrapes = Scrapes(collect)
        self._missing = missing
        self._stalled = stalled

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. Never raises."""
        path = request.raw_path.partition("?")[0]
        if path not in PATHS:
            return _error(404, "there is nothing at this path; try /healthz, /readyz or /metrics")
        if request.method not in ("GET", "HEAD"):
            return _error(405, f"{request.method} is not allowed here, only GET", {"Allow": "GET"})
        if path == "/metrics":
            return web.Response(body=await self._scrapes.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})
        if path == "/readyz":
            missing = self._missing()
            return _json(503 if missing else 200, {"ready": not missing, "missing": missing})
        stalled = self._stalled()
        return _json(503, {"healthy": False, "reason": stalled}) if stalled else _json(200, {"healthy": True})


def _json(status: int, body: object, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(body) + b"\n", content_type="application/json", headers=headers or {}
    )


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """The connection closes: the rest of the request is not worth reading."""
    response = _json(status, {"error": message}, headers)
    response.force_close()
    return response
