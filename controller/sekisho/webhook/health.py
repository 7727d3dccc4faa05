"""The port for the kubelet and Prometheus, in plain HTTP: /healthz, /readyz and /metrics."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from sekisho.webhook.metrics import Metrics
from sekisho.webhook.replies import RejectedError, rejection, reply


class Health:
    """Answers the probes. `missing` gives what the process still lacks to be ready, empty when it is."""

    def __init__(self, metrics: Metrics, missing: Callable[[], list[str]]) -> None:
        self._metrics = metrics
        self._missing = missing

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path = request.raw_path.partition("?")[0]
        if path not in ("/healthz", "/readyz", "/metrics"):
            return rejection(RejectedError(404, "there is nothing at this path; try /healthz, /readyz or /metrics"))
        if request.method not in ("GET", "HEAD"):
            return rejection(RejectedError(405, f"{request.method} is not allowed here, only GET", {"Allow": "GET"}))
        if path == "/metrics":
            return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})
        if path == "/readyz":
            missing = self._missing()
            return reply(503 if missing else 200, {"ready": not missing, "missing": missing})
        return reply(200, {"healthy": True})
