"""The HTTP server for reviews: its connections, and the turn that each request waits for."""

import functools
from collections.abc import Callable
from typing import cast

from aiohttp import web

from sekisho.webhook.backlog import Backlog
from sekisho.webhook.clients import Handler
from sekisho.webhook.connections import Connection
from sekisho.webhook.open_connections import OpenConnections
from sekisho.webhook.received import READ_BYTES, AtOnce, Received

HEAD_SECONDS = 10.0
"""From the first byte of a request's head to its last; the body has the deadline of the request."""


class HttpServer(web.Server):
    """Serves `handler` on connections that `OpenConnections` bounds.

    head_seconds: how long a head may take.
    answer: what answers requests with known heads at once, as `AtOnce` says; None to leave all to `handler`.
    is_known: whether a target is one that only the API server knows. Its requests go before those of others.
    """

    def __init__(
        self,
        handler: Handler,
        head_seconds: float = HEAD_SECONDS,
        answer: Callable[[str, bytes, float], bytes | None] | None = None,
        is_known: Callable[[str], bool] = lambda target: False,
    ) -> None:
        super().__init__(functools.partial(_answer, handler))
        self._head_seconds = head_seconds
        self._open = OpenConnections()
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._backlog = Backlog()
        self._at_once = AtOnce(answer, is_known) if answer is not None else None

    def __call__(self) -> Received:  # type: ignore[override]  # an event loop needs no more than a protocol
        connect = functools.partial(Connection, self, self._open, self._head_seconds, self._backlog)
        return Received(connect, self._buffer, self._backlog, self._at_once)


async def _answer(handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
    connection = cast("Connection", request.protocol)
    connection.begin()
    try:
        if not connection.may_answer():
            await connection.turn()
        connection.answering(request.content)
        return await handler(request)
    finally:
        connection.end()
