"""Which clients may send reviews, by the names in their certificates."""

from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from sekisho.webhook.metrics import Metrics
from sekisho.webhook.replies import RejectedError, rejection

Handler = Callable[[web.BaseRequest], Coroutine[Any, Any, web.StreamResponse]]


def only_named(names: tuple[str, ...], handler: Handler, metrics: Metrics) -> Handler:
    """A handler for clients whose certificate has one of `names`; others get a 403."""
    allowed = frozenset(names)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if allowed.isdisjoint(names_in(request.get_extra_info("peercert") or {})):
            metrics.count_http_error(403)
            return rejection(RejectedError(403, "the client's certificate has none of the names that may send reviews"))
        return await handler(request)

    return handle


def names_in(certificate: dict[str, Any]) -> set[str]:
    """The common name and the alternative names of a verified certificate, in the form of `ssl.getpeercert`."""
    common = {value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"}
    return common | {value for _, value in certificate.get("subjectAltName", ())}
