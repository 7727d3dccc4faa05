"""HTTP on a connection: how long it may be idle, and how long the head of a request may take to come."""

import asyncio
import functools
import logging
from typing import cast

from aiohttp import web

from sekisho.webhook.clients import Handler

IDLE_SECONDS = 180.0
"""An idle connection lives longer than the API server's own 90 seconds, which thus never writes into a closing one."""
HEAD_SECONDS = 10.0
"""The time from the first byte of a request's head to its last; the body has the deadline of the request."""

# What breaks in a handler is answered and logged there; what is left for aiohttp to log are clients without manners.
_logger = logging.getLogger("sekisho.webhook.http")
_logger.setLevel(logging.CRITICAL)


class Connection(web.RequestHandler):
    """One connection, which is closed when a head takes longer than `head_seconds`.

    Without a byte of a request it may stay: the API server keeps connections that it opened and did not need yet.
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
            auto_decompress=False,  # the API server does not compress, and a small body shall stay small
        )
        self._clock = loop
        self._head_seconds = head_seconds
        self._head_since: float | None = None
        self._is_answering = False
        self._watch: asyncio.TimerHandle | None = None  # one at most, whatever the number of requests

    def data_received(self, data: bytes) -> None:
        if self._head_since is None and not self._is_answering:
            self._head_since = self._clock.time()
            if self._watch is None:
                self._watch = self._clock.call_later(self._head_seconds, self._look)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def answering(self, is_answering: bool) -> None:
        """Note that a head is complete and its request is being answered, or that this is done."""
        self._is_answering = is_answering
        self._head_since = None

    def _look(self) -> None:
        self._watch = None
        if self._head_since is None:
            return
        left = self._head_since + self._head_seconds - self._clock.time()
        if left > 0:
            self._watch = self._clock.call_later(left, self._look)
        else:
            self.force_close()


class HttpServer(web.Server):
    """Serves `handler` on connections of the above kind."""

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
