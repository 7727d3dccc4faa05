"""HTTP on one connection: how long it may be idle, and how long a head may take to arrive."""

import asyncio
import logging
from collections.abc import Callable

from aiohttp import StreamReader, web

from sekisho.webhook.backlog import Backlog
from sekisho.webhook.open_connections import Open, OpenConnections

IDLE_SECONDS = 180.0
"""Longer than the API server's own 90 seconds, so that it never writes into a connection that we are closing."""
# Errors in a handler are answered and logged there; aiohttp would only log misbehaving clients.
_logger = logging.getLogger("sekisho.webhook.http")
_logger.setLevel(logging.CRITICAL)


class Connection(web.RequestHandler):
    """One connection, which is closed when the head of a request takes longer than `head_seconds`.

    A connection without any byte of a request stays: the API server opens connections before it needs them.

    on_resumed: called in place of the transport when aiohttp wants to read on.
    on_answered: called when a review's answer is written, and the connection stays open; None for nothing.
    """

    __slots__ = (
        *("_address", "_backlog", "_clock", "_content", "_has_paused", "_has_turn", "_head_seconds", "_head_since"),
        *("_is_answering", "_is_busy", "_is_known", "_is_paused", "_on_answered", "_on_resumed", "_open", "_turn"),
        *("_waiting", "_watch"),
        "received",
    )

    def __init__(
        self,
        server: web.Server,
        open_connections: OpenConnections,
        head_seconds: float,
        backlog: Backlog,
        on_resumed: Callable[[], None],
        on_answered: Callable[[web.BaseRequest], None] | None,
    ) -> None:
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
        self._open = open_connections
        self._address = ""
        self._waiting: dict[Open, None] | None = None
        self._clock = loop
        self._head_seconds = head_seconds
        self._head_since: float | None = None
        self._is_answering = False
        self._is_busy = False  # with a request of which no more is read than its body
        self._content: StreamReader | None = None  # that body
        self._is_known = False
        self._is_paused = False
        self._has_paused = False
        self._backlog = backlog
        self._has_turn = False  # it has read since it last answered, and reads have their turn
        self._turn: asyncio.Future[None] | None = None
        self.received = 0
        """Bytes of the request that is being answered, with what frames them; those that came with another one are not
        counted."""
        self._watch: asyncio.TimerHandle | None = None  # one at most, for any number of requests
        self._on_answered = on_answered
        self._on_resumed: Callable[[], None] | None = on_resumed  # None once the connection is lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._address = str((transport.get_extra_info("peername") or ("",))[0])
        self._waiting = self._open.add(self, self._address)
        if self._waiting is None:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once, without the end of TLS, for which a client could make it wait."""
        self._leave()
        if self.transport is not None:
            self.transport.abort()

    def release_transport(self) -> None:
        """Release the buffers of TLS, up to 200 KiB, of a connection that is closed. `connection_lost` must follow."""
        self.transport = None

    def data_received(self, data: bytes) -> None:
        if data:  # aiohttp calls this without any to parse what it has kept
            self._has_turn = True
            self.received += len(data)
            if self._head_since is None and not self._is_answering:
                self._head_since = self._clock.time()
                if self._watch is None:
                    self._watch = self._clock.call_later(self._head_seconds, self._check_head)
        super().data_received(data)

    @property
    def is_paused(self) -> bool:
        """Whether aiohttp does not want to read on now."""
        return self._is_paused

    @property
    def wants_more(self) -> bool:
        """Whether what comes next is needed: all of it belongs to the body that is received, or no request waits.

        What a client sends behind a request waits until that is answered, and nearly all of it with the client.
        """
        if self._messages:
            return False
        return not self._is_busy or (self._content is not None and not self._content.is_eof())

    @property
    def address(self) -> str:
        """The client's address; empty before `connection_made`."""
        return self._address

    def resume_reading(self, resume_parser: bool = True) -> None:
        # A body calls this after each read. Where nothing was paused, aiohttp would call the parser for nothing.
        if self._has_paused:
            super().resume_reading(resume_parser)

    def _pause_transport_reading(self) -> None:
        self._is_paused = self._has_paused = True
        super()._pause_transport_reading()

    def _resume_transport_reading(self) -> None:
        self._is_paused = False
        if self._on_resumed is not None:
            self._on_resumed()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._open.add_unread(self, self._address)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._open.unread.remove(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._leave()
        if self._watch is not None:
            self._watch.cancel()
        if self._turn is not None:
            self._turn.cancel()
        self._on_answered = self._on_resumed = None
        super().connection_lost(exc)

    def may_answer(self) -> bool:
        """Whether a request may be answered in this turn of the loop. Otherwise `turn` must be awaited first.

        The first request of a read shares its turn. Of further ones in the same read, each needs a turn of its own.
        """
        if self._has_turn:
            self._has_turn = False
            return True
        return self._backlog.take()

    async def turn(self) -> None:
        """Wait for a turn of the loop in which a request may be answered. Cancelled when the connection is lost."""
        self._turn = asyncio.get_running_loop().create_future()
        self._backlog.add(self, self._address)
        try:
            await self._turn
        finally:
            self._backlog.remove(self)
            self._turn = None

    def go_on(self) -> None:
        """Answer the request that waits for a turn."""
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def begin(self) -> None:
        """Note that a request's head is complete."""
        self._is_busy = True

    def answering(self, content: StreamReader) -> None:
        """Note that a request is being answered, of which this is the body."""
        self._is_answering = True
        self._content = content
        self._head_since = None
        if self._waiting is not None:
            self._waiting.pop(self, None)
        self._read_on()

    def end(self) -> None:
        """Note that a request is answered, or that nobody waits for its answer."""
        self._is_answering = self._is_busy = False
        self._content = None
        self._head_since = None
        self.received = 0
        if self._waiting is not None:
            self._waiting[self] = None
        self._read_on()

    def note_known(self) -> None:
        """Note that the API server has opened this connection."""
        if not self._is_known and self._waiting is not None:
            self._is_known = True
            is_waiting = self in self._waiting
            self._waiting.pop(self, None)
            self._waiting = self._open.add_known(self, self._address)
            if is_waiting:
                self._waiting[self] = None

    def answered(self, request: web.BaseRequest) -> None:
        """Note that the answer to a review is written, and the connection stays open."""
        if self._on_answered is not None:
            self._on_answered(request)

    def answered_at_once(self) -> None:
        """Note that a request was answered without aiohttp: the wait for the next one begins."""
        if self._waiting is not None:
            self._waiting.pop(self, None)
            self._waiting[self] = None
        self._next_keepalive_close_time = self._clock.time() + IDLE_SECONDS  # as after the requests that aiohttp sees

    def _read_on(self) -> None:
        if self._on_resumed is not None and not self._is_paused and self.wants_more:
            self._on_resumed()

    def _leave(self) -> None:
        if self._waiting is not None:
            self._waiting = None
            self._open.remove(self, self._address, is_known=self._is_known)
        self._open.unread.remove(self)

    def _check_head(self) -> None:
        self._watch = None
        if self._head_since is None:
            return
        remaining = self._head_since + self._head_seconds - self._clock.time()
        if remaining > 0:
            self._watch = self._clock.call_later(remaining, self._check_head)
        else:
            self.force_close()
