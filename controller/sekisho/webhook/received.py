"""What arrives on a connection: read in turns, and answered without aiohttp where nothing must be waited for."""

import asyncio
import time
from collections.abc import Callable
from typing import cast

from aiohttp import web

from sekisho.webhook.backlog import Backlog
from sekisho.webhook.connections import Connection
from sekisho.webhook.known_heads import MAX_HEAD_BYTES, Arriving, KnownHeads, target_of
from sekisho.webhook.replies import kept_alive

ARRIVE_SECONDS = 1.0
"""How long to wait for the rest of a body whose head is known; then aiohttp reads it, with its own bounds."""
MAX_ARRIVING = 64
"""Such bodies at the same time; the others go to aiohttp without waiting."""

READ_BYTES = 256 * 1024
"""Handed over together, as many as event loops read in one call by themselves."""
PIECE_BYTES = 32 * 1024
"""What aiohttp parses of it in one call. Where each byte comes in a chunk of its own, that takes it 5 ms."""
UNREAD_BYTES = 16 * 1024
"""What is decrypted of a connection whose read has to wait, and what TLS then holds at which nothing more is received.
A record of TLS is no longer, and most reviews are shorter."""
UNSENT_BYTES = 16 * 1024
"""What TLS holds of answers that a client does not read before it counts as one that does not; uvloop's own 512 KiB on
each of many connections would fill the memory."""


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
        else:  # a client may close a thousand together, and aiohttp takes up to 0.1 ms for each
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
        """Read what waits for a turn, or note that the connection is lost."""
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
