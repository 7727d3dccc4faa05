"""HTTP on connections: how many there may be, how long they may be idle, and how long a head may take to arrive."""

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from typing import cast

from aiohttp import StreamReader, web
from msgspec import Struct, field

from sekisho.webhook.backlog import Backlog
from sekisho.webhook.clients import Handler
from sekisho.webhook.known_heads import MAX_HEAD_BYTES, Arriving, KnownHeads, target_of
from sekisho.webhook.replies import kept_alive
from sekisho.webhook.waiting import Waiting

IDLE_SECONDS = 180.0
"""Longer than the API server's own 90 seconds, so that it never writes into a connection that we are closing."""
MAX_CONNECTIONS = 1024
"""Open at the same time; past it, one without a request is closed for a new one: of the address that has the most
connections, the one that has waited for a request for longest. All may be closed at once, which takes the event loop
30 us each; the rest of what it takes waits for its turn."""
MAX_UNKNOWN = 384
"""The same for connections on which nothing has come that only the API server knows: the others are left to it. While
a body arrives, one takes up to 240 KiB, most of it the buffers of TLS."""
MAX_UNREAD = 64
"""Connections whose client does not read its answers, at the same time; past it, one of them is closed."""
HEAD_SECONDS = 10.0
"""From the first byte of a request's head to its last; the body has the deadline of the request."""

ARRIVE_SECONDS = 1.0
"""How long to wait for the rest of a body whose head is known; then aiohttp reads it, with its own bounds."""
MAX_ARRIVING = 64
"""Such bodies at the same time; the others go to aiohttp at once."""

READ_BYTES = 256 * 1024
"""Handed over at once, as many as event loops read at once by themselves."""
PIECE_BYTES = 32 * 1024
"""What aiohttp parses of it at once. Where each byte comes in a chunk of its own, that takes it 5 ms."""
UNREAD_BYTES = 16 * 1024
"""What is decrypted of a connection whose read has to wait, and what TLS then holds at which nothing more is received.
A record of TLS is no longer, and most reviews are shorter."""
UNSENT_BYTES = 16 * 1024
"""What TLS holds of answers that a client does not read before it counts as one that does not; uvloop's own 512 KiB on
each of many connections would fill the memory."""

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
        open_connections: "OpenConnections",
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
        self._waiting: dict[Connection, None] | None = None
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
        """Answer the request that waits for it."""
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


class AtOnce:
    """Answers requests whose head is known without aiohttp: what the connections of a server share for it.

    answer: from a request's target, its body, and when it began to arrive, to the body of a 200. Gives None where
        something must be waited for, or the answer is not a 200; then aiohttp gets the request.
    is_known: whether a target is one that only the API server knows.
    """

    def __init__(self, answer: Callable[[str, bytes, float], bytes | None], is_known: Callable[[str], bool]) -> None:
        self.answer = answer
        self.is_known = is_known
        self.heads = KnownHeads()
        self.arriving = 0
        """Requests of which a part is missing."""


Connect = Callable[[Callable[[], None], Callable[[web.BaseRequest], None] | None], Connection]


class Received(asyncio.BufferedProtocol):
    """Hands what arrives over to a connection, through one buffer for all connections.

    Without it, uvloop would read TLS into a new block of 256 KiB each time. The system would map each block and unmap
    it again, which takes longer than to judge a pod.

    A request with a known head is answered here where nothing must be waited for. aiohttp's way for a request, with
    a task, streams and headers, takes about as long as to decode and judge a pod. With None for `at_once`, aiohttp
    answers all of them.

    connect: makes the connection, from what it calls: when it wants to read on, and when a review is answered; None
        for no such call.
    """

    def __init__(self, connect: Connect, buffer: memoryview, backlog: Backlog, at_once: AtOnce | None) -> None:
        self._connection = connect(self._resume, None if at_once is None else self._answered)
        self._buffer = buffer
        self._little = buffer[:UNREAD_BYTES]
        self._backlog = backlog
        self._unread: list[bytes] = []
        self._is_stalled = False  # that waits until aiohttp wants to read on
        self._turn = -2  # the last turn in which it went on
        self._has_read = False
        self._at_once = at_once
        self._transport: asyncio.Transport | None = None
        self._lost: BaseException | None = None  # why the connection is closed
        self._is_between = False  # aiohttp has answered a request of this connection, and has nothing of another one
        self._first = b""  # the beginning of what aiohttp has got since it was so
        self._received = 0  # bytes of that
        self._target = ""  # of a request of this connection, of the API server if one of it is known
        self._is_unread = False
        self._arriving: Arriving | None = None
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        limit_unread = getattr(transport, "set_read_buffer_limits", None)  # only TLS has it
        if limit_unread is not None:
            limit_unread(UNREAD_BYTES)
            self._transport.set_write_buffer_limits(UNSENT_BYTES)
        self._connection.connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._backlog.remove(self)
        self._backlog.remove(self._connection)
        self._unread.clear()
        self._is_stalled = False
        self._stop_arriving()
        self._transport = None
        if self._backlog.take():
            self._connection.connection_lost(exc)
        else:  # a client may close a thousand at once, and aiohttp takes up to 0.1 ms for each
            self._lost = exc
            self._connection.release_transport()
            self._backlog.add(self, self._connection.address)

    def pause_writing(self) -> None:
        self._is_unread = True
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._is_unread = False
        self._connection.resume_writing()

    def eof_received(self) -> None:
        self._connection.eof_received()

    def get_buffer(self, sizehint: int) -> memoryview:
        # What is received of a connection that has to wait is not decrypted as well, apart from what its turn needs.
        return self._buffer if self._backlog.is_free or self._is_in_turn else self._little

    def buffer_updated(self, nbytes: int) -> None:
        # Event loops call this before they read for another connection.
        data = bytes(self._buffer[:nbytes])
        if not self._has_read:
            self._has_read = True
            self._is_of_known(data)
        if not self._is_between and not self._connection.wants_more:
            self._stall(data)
        elif not self._unread and (self._is_in_turn or self._backlog.take()):
            self._read(data)
        else:
            self._wait([*self._unread, data], is_known=self._is_of_known(data))

    def go_on(self) -> None:
        """Read what waits for it, or note that the connection is lost."""
        if self._transport is None:
            self._connection.connection_lost(self._lost)
            return
        if not self._may_read:
            self._is_stalled = True
            return
        data = b"".join(self._unread)
        self._unread.clear()
        try:
            self._read(data)
        except Exception:
            self._connection.abort()
            raise
        if not self._connection.is_paused:
            self._turn = self._backlog.turn
            self._resume()

    @property
    def _may_read(self) -> bool:
        return not self._connection.is_paused and (self._is_between or self._connection.wants_more)

    @property
    def _is_in_turn(self) -> bool:
        """Whether it went on just now. What event loops have of it is read in the next round, which is a turn, too."""
        return self._backlog.turn <= self._turn + 1

    def _stall(self, data: bytes) -> None:
        """Read this when aiohttp wants to read on."""
        if self._transport is not None:
            self._is_stalled = self._is_stalled or not self._unread  # otherwise it waits for its turn, which notes it
            self._unread.append(data)
            self._transport.pause_reading()

    def _resume(self) -> None:
        """Read on: first what waits for it, then what the transport has."""
        if self._is_stalled and self._may_read:
            self._is_stalled = False
            self._backlog.add(self, self._connection.address, is_known=self._is_of_known(b""))
        transport = self._transport
        if not self._unread and transport is not None and not transport.is_closing():
            transport.resume_reading()

    def _wait(self, unread: list[bytes], *, is_known: bool) -> None:
        """Read this in a later turn of the loop. `unread` has all that waits already."""
        if self._transport is None:
            return
        if not self._unread:
            self._backlog.add(self, self._connection.address, is_known=is_known)
        self._unread = unread
        self._transport.pause_reading()

    def _is_of_known(self, data: bytes) -> bool:
        """Whether the API server sent this: a request that only it knows, or what follows on the same connection."""
        if self._at_once is None:
            return False
        target = target_of(data)
        if self._at_once.is_known(target):
            self._target = target
            self._connection.note_known()
        return self._at_once.is_known(self._target)

    def _read(self, data: bytes) -> None:
        if self._is_between and self._at_once is not None:
            self._receive(data, self._at_once)
        else:
            self._give(data)

    def _receive(self, data: bytes, at_once: AtOnce) -> None:
        """Answer the request that `data` completes, or wait for its rest, or give aiohttp all that is there."""
        arriving = self._arriving
        if arriving is None:
            arriving = at_once.heads.recognize(data, time.perf_counter())
            if arriving is None:
                self._give(data)
                return
            if arriving.missing > 0 and at_once.arriving < MAX_ARRIVING:
                at_once.arriving += 1
                self._arriving = arriving
                self._watch = asyncio.get_running_loop().call_later(ARRIVE_SECONDS, self._give_arriving)
                return
        else:
            arriving.add(data)
            if arriving.missing > 0:
                return
            self._stop_arriving()
        data = arriving.data()
        answer = None
        if not arriving.missing and not self._is_unread:
            answer = at_once.answer(arriving.target, data[arriving.start :], arriving.started)
        if answer is None or self._transport is None:
            self._give(data)
        else:
            self._connection.answered_at_once()
            self._transport.write(kept_alive(answer))

    def _give(self, data: bytes) -> None:
        """Give aiohttp a piece, and the rest in later turns: it may be a body in very many chunks."""
        if len(data) > PIECE_BYTES:
            self._wait([data[PIECE_BYTES:], *self._unread], is_known=self._is_of_known(data))
            data = data[:PIECE_BYTES]
        if not self._received:
            self._first = data[:MAX_HEAD_BYTES]
            self._is_between = False
        self._received += len(data)
        self._connection.data_received(data)

    def _give_arriving(self) -> None:
        arriving = self._arriving
        self._stop_arriving()
        if arriving is not None:
            self._give(arriving.data())

    def _stop_arriving(self) -> None:
        if self._arriving is not None and self._watch is not None and self._at_once is not None:
            self._watch.cancel()
            self._arriving = None
            self._at_once.arriving -= 1

    def _answered(self, request: web.BaseRequest) -> None:
        """aiohttp has answered a review."""
        self._target = request.raw_path
        self._is_of_known(b"")
        end = self._first.find(b"\r\n\r\n") + 4
        # Otherwise aiohttp has bytes of another request, or the length is not that of the body.
        if self._at_once is not None and end >= 4 and end + (request.content_length or 0) == self._received:
            self._at_once.heads.learn(self._first[:end], request)
            self._is_between, self._first, self._received = True, b"", 0


class _Client(Struct):
    """The connections of one address: how many are open, and those that wait for a request, in the order of waiting.

    unknown: all that the API server did not open, in the order of opening.
    known: those that it opened, and that wait.
    """

    open: int = 0
    unknown: dict[Connection, None] = field(default_factory=dict)
    waiting: dict[Connection, None] = field(default_factory=dict)
    known: dict[Connection, None] = field(default_factory=dict)


class OpenConnections:
    """The connections of a server, by the addresses of their clients."""

    def __init__(self) -> None:
        self._count = 0
        self._known = 0  # of them
        self._clients: dict[str, _Client] = {}
        self.unread: Waiting[Connection] = Waiting()
        """Connections whose client does not read its answers."""

    def add(self, connection: Connection, address: str) -> dict[Connection, None] | None:
        """Add a new connection, and close another where there are too many; None where all others have a request.

        Gives the connections of its address that wait for a request, to which it adds and from which it removes itself.
        """
        has_too_many = self._count >= MAX_CONNECTIONS
        is_full = has_too_many or self._count - self._known >= MAX_UNKNOWN
        if is_full and not self._close_one(address, may_be_known=has_too_many):
            return None
        self._count += 1
        client = self._clients.setdefault(address, _Client())
        client.open += 1
        client.unknown[connection] = client.waiting[connection] = None
        return client.waiting

    def add_known(self, connection: Connection, address: str) -> dict[Connection, None]:
        """Note that the API server has opened one of the connections that were added.

        Gives what `add` gives, for connections of the API server.
        """
        self._known += 1
        client = self._clients[address]
        del client.unknown[connection]
        return client.known

    def remove(self, connection: Connection, address: str, *, is_known: bool) -> None:
        """Remove a connection that was added, and is closed.

        is_known: whether `add_known` was called for it.
        """
        self._count -= 1
        self._known -= is_known
        client = self._clients[address]
        client.open -= 1
        for connections in (client.unknown, client.waiting, client.known):
            connections.pop(connection, None)
        if not client.open:
            del self._clients[address]

    def add_unread(self, connection: Connection, address: str) -> None:
        """Note that the client does not read its answers, and close a connection where there are too many of these."""
        self.unread.add(connection, address)
        if len(self.unread) > MAX_UNREAD:
            self.unread.longest().abort()

    def _close_one(self, address: str, *, may_be_known: bool) -> bool:
        """Close a connection for a new one of an address; one that waits for a request, if there is one.

        Only addresses with as many connections, or more, lose one.

        of_known: whether it may be one that the API server has opened, if no other one waits.
        """
        own = self._clients.get(address, _Client()).open
        larger = (client for client in self._clients.values() if client.open >= own)
        clients = sorted(larger, key=lambda client: client.open, reverse=True)
        waiting = [client.waiting for client in clients] + [client.known for client in clients if may_be_known]
        if clients[0].open > own + 1:
            waiting.append(clients[0].unknown)  # an address cannot keep others out by requests that take long
        longest = next((next(iter(connections)) for connections in waiting if connections), None)
        if longest is None:
            return False
        longest.abort()
        return True


class HttpServer(web.Server):
    """Serves `handler` on such connections.

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
