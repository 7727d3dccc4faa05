"""HTTP answers: to reviews, and to requests that are not reviews."""

import time
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import msgspec
from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter

from sekisho.errors import SekishoError

if TYPE_CHECKING:
    from sekisho.webhook.connections import Connection

JSON = "application/json"


class _KeptAlive(web.StreamResponse):
    """A 200 with JSON, after which the connection stays open.

    It writes head and body together. To build the same head from headers takes as long as to judge a pod.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._json = body

    @property
    def keep_alive(self) -> bool:
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        await request.writer.write(kept_alive(self._json))
        await request.writer.drain()  # otherwise further requests are answered although the client reads no answer
        cast("Connection", request.protocol).answered(request)
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: `prepare` has written the answer."""


def kept_alive(body: bytes) -> bytes:
    """The whole of a 200 with JSON, after which the connection stays open."""
    return _head(int(time.time())) % len(body) + body


@lru_cache(maxsize=1)
def _head(second: int) -> bytes:
    """The head of an answer in this second of the epoch, with a place for the body's length."""
    date = formatdate(second, usegmt=True)
    return f"HTTP/1.1 200 OK\r\nContent-Type: {JSON}\r\nContent-Length: %d\r\nDate: {date}\r\n\r\n".encode()


def reply(request: web.BaseRequest, body: bytes, *, is_last: bool) -> web.StreamResponse:
    """The answer to a review, with its JSON; the connection closes after it if it is the last one."""
    if request.version == HttpVersion11 and request.keep_alive and not is_last:
        return _KeptAlive(body)
    response = web.Response(body=body, content_type=JSON)
    if is_last:
        response.force_close()
    return response


class RejectedError(SekishoError):
    """A request that is not a review; it is answered with `status` and {"error": message}.

    headers: more headers of the answer; None for none.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


def rejection(error: RejectedError) -> web.Response:
    """The answer to a rejected request. The connection closes: the rest of the request is not worth reading."""
    body = msgspec.json.encode({"error": str(error)}) + b"\n"
    response = web.Response(status=error.status, body=body, content_type=JSON, headers=error.headers)
    response.force_close()
    return response
