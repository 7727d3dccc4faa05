"""The bodies of requests: what is held of all of them is bounded, from their first byte to their answer."""

import asyncio
from typing import Final, cast

from aiohttp import ClientError, StreamReader, web
from aiohttp.web_protocol import RequestPayloadError

from sekisho.webhook.connections import Connection
from sekisho.webhook.replies import RejectedError
from sekisho.webhook.waiting import Waiting

MAX_BODY_BYTES: Final = 8 << 20
"""The API server accepts objects of up to 3 MiB, and an update sends two."""
MAX_HELD_BYTES: Final = 32 << 20
"""The size of all bodies together, from their first byte to their answer. Above it, one of which a part is missing gets
a 503: of the address that has sent most of what is unfinished, the one that has waited for longest."""
MAX_FREE_BYTES: Final = 64 * 1024
"""A body up to this size counts as small: large ones cannot keep small ones out."""
MAX_FRAMING: Final = 2
"""How many times the bytes of a body may arrive, beyond FRAMING_BYTES: it may come in chunks, each with its length. To
parse one takes the event loop 1 us, so that a body in chunks of one byte each would take it for seconds."""
FRAMING_BYTES: Final = 64 * 1024
MAX_UNFINISHED: Final = 512
"""Bodies of which a part is missing, at the same time; past it, one that has waited for long gets a 503."""


class _Unfinished:
    """A body of which a part is missing; `give_up` ends the wait for it."""

    def __init__(self, scope: asyncio.Timeout) -> None:
        self.body = bytearray()
        self.is_abandoned = False
        self._scope = scope

    def give_up(self) -> None:
        self.is_abandoned = True
        self._scope.reschedule(0.0)


class Bodies:
    """Receives bodies. The caller releases each when it is answered."""

    def __init__(self) -> None:
        self.held = 0
        """Bytes of all bodies that were not released yet."""
        self._unfinished: Waiting[_Unfinished] = Waiting()

    async def receive(self, request: web.BaseRequest, seconds: float) -> bytes:
        """The whole body of a request. Raises RejectedError, also if it is not there within `seconds`."""
        if (request.content_length or 0) > MAX_BODY_BYTES:
            raise _too_large()
        content = request.content
        if content.is_eof():  # the usual case: it came with the headers
            body = content.read_nowait()
            self.held += len(body)
            return body
        unfinished: _Unfinished | None = None
        try:
            async with asyncio.timeout(seconds) as scope:
                unfinished = _Unfinished(scope)
                self._unfinished.add(unfinished, request.remote or "")
                if len(self._unfinished) > MAX_UNFINISHED:
                    self._give_up(self._unfinished.longest())
                return await self._rest(content, unfinished, request)
        except TimeoutError:
            if unfinished is not None and unfinished.is_abandoned:
                raise _too_much() from None
            raise RejectedError(408, "the body did not arrive in time") from None
        except (RequestPayloadError, ClientError, OSError) as error:
            error.__traceback__ = None  # aiohttp keeps the error, which would keep the body until the next collection
            raise RejectedError(400, "the body broke off") from None
        finally:
            if unfinished is not None:
                self._unfinished.remove(unfinished)

    def release(self, body: bytes) -> None:
        """Note that a body is answered."""
        self.held -= len(body)

    def _give_up(self, unfinished: _Unfinished) -> None:
        self._unfinished.remove(unfinished)
        unfinished.give_up()

    def _make_room(self, size: int) -> None:
        """Give one up for a body of this size, unless both are small: their number bounds what small ones take."""
        if len(self._unfinished):
            longest = self._unfinished.longest(_size)
            if max(size, _size(longest)) > MAX_FREE_BYTES:
                self._give_up(longest)

    async def _rest(self, content: StreamReader, unfinished: _Unfinished, request: web.BaseRequest) -> bytes:
        body = unfinished.body
        connection = cast("Connection", request.protocol)
        try:
            while chunk := await content.readany():
                body += chunk
                self.held += len(chunk)
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
                if connection.received > MAX_FRAMING * len(body) + FRAMING_BYTES:
                    raise RejectedError(400, "the body comes in chunks that are too small")
                if self.held > MAX_HELD_BYTES:
                    self._make_room(len(body))
            return bytes(body)
        except BaseException:
            self.held -= len(body)
            body.clear()
            raise


def _size(unfinished: _Unfinished) -> int:
    return len(unfinished.body)


def _too_large() -> RejectedError:
    return RejectedError(413, f"the body is larger than {MAX_BODY_BYTES} bytes")


def _too_much() -> RejectedError:
    return RejectedError(503, "too much is being received at the same time", {"Retry-After": "1"})
