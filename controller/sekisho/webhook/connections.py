"""HTTP on a connection: how long it may be idle, and how long the head of a request may take to arrive."""

import asyncio
import functools
import logging
from typing import cast

from aiohttp import web

from sekisho.webhook.clients import Handler

IDLE_SECONDS = 180.0
"""Longer than the API server's own 90 seconds, so that it never writes into a connection that we are closing."""
HEAD_SECONDS = 10.0
"""From the first byte of a request's head to its last; the body has the deadline of the request."""

# Errors in a handler are answered and logged there; aiohttp would only log misbehaving clients.
_logger = logging.getLogger("sekisho.webhook.http")
_logger.setLevel(logging.CRITICAL)


class Connection(web.RequestHandler):
    """One connection, which is closed when the head of a request takes longer than `head_seconds`.

    A connection without any byte of a request stays: the API server opens connections before it needs them.
    """

    __slots__ = ("_clock", "_head_seconds", "_head_since", "_is_answering", "_watch")

    def __init__(self, server: web.Server, head_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            access_log=_logger,
            logger=_logger,
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=2.0,
            auto_decompress=False,  # the API server does not compress, and a small body must not become a large one
        )
        self._clock = loop
        self._head_seconds = head_seconds
        self._head_since: float | None = None
        self._is_answering = False
        self._watch: asyncio.TimerHandle | None = None  # one at most, for any number of requests

    def data_received(self, data: bytes) -> None:
        if self._head_since is None and not self._is_answering:
            self._head_since = self._clock.time()
            if self._watch is None:
                self._watch = self._clock.call_later(self._head_seconds, self._check_head)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def answering(self, is_answering: bool) -> None:
        """Note that a request's head is complete and the request is being answered, or that it is answered."""
        self._is_answering = is_answering
        self._head_since = None

    def _check_head(self) -> None:
        self._watch = None
        if self._head_since is None:
            return
        left = self._head_since + self._head_seconds - self._clock.time()
        if left > 0:
            self._watch = self._clock.call_later(left, self._check_head)
        else:
            self.force_close()


class HttpServer(web.Server):
    """Serves `handler` on such connections; `head_seconds` is how long a head may take."""

    def __init__(self, handler: Handler, head_seconds: float = HEAD_SECONDS) -> None:
        super().__init__(functools.partial(_answer, handler))
        self._head_seconds = head_seconds

    def __call__(self) -> web.RequestHandler:
        return Connection(self, self._head_seconds)


async def _answer(handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
    connection = cast("Connection", request.protocol)
    connection.answering(True)
    try:
        return await handler(request)
    finally:
        connection.answering(False)
