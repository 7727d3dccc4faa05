"""HTTP around the handlers of reviews: routes, sizes, deadlines, draining, and answers to requests without a review."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import ClientError, StreamReader, web
from aiohttp.web_protocol import RequestPayloadError
from msgspec import Struct

from sekisho.admission import MalformedReviewError
from sekisho.webhook.metrics import Metrics
from sekisho.webhook.replies import JSON, RejectedError, rejection, reply

MAX_BODY_BYTES: Final = 8 << 20
"""The API server accepts objects of up to 3 MiB, and an update sends two."""
MAX_HELD_BYTES: Final = 32 << 20
"""Of all bodies together, from their first byte to their answer; past it, a large body gets a 503."""
MAX_FREE_BYTES: Final = 64 * 1024
"""Of a body that is always accepted, so that large ones cannot keep ordinary pods out."""
DEFAULT_SECONDS: Final = 10.0
"""The API server's own default; it sends its timeout as a parameter of the request."""
MAX_SECONDS: Final = 30.0
MARGIN: Final = 0.9
"""The share of the timeout that is ours; the rest is for the network."""

_TIMEOUT: Final = re.compile(r"(?:^|&)timeout=([0-9]{1,4})s(?:&|$)")


class Deadline(Struct, frozen=True, gc=False):
    """How long an answer may take: `seconds` from `started`, a time of `time.perf_counter`."""

    started: float
    seconds: float

    @property
    def elapsed(self) -> float:
        """Seconds since the request arrived."""
        return time.perf_counter() - self.started

    @property
    def left(self) -> float:
        """Seconds until the deadline, negative past it."""
        return self.seconds - self.elapsed


ReviewHandler = Callable[[bytes, Deadline], Awaitable[bytes]]
"""From the body of a request to that of its answer. Raises MalformedReviewError, and nothing else."""


class HttpShell:
    """Hands the body of each request to the handler of its path, and answers requests that are no review itself.

    While `is_draining`, each answer closes its connection, so that the client sends its next request to another
    replica.
    """

    def __init__(self, routes: Mapping[str, ReviewHandler], metrics: Metrics) -> None:
        self._routes = routes
        self._metrics = metrics
        self._held = 0
        self.is_draining = False

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        started = time.perf_counter()
        path, _, query = request.raw_path.partition("?")
        try:
            handler = self._routes.get(path)
            if handler is None:
                raise RejectedError(404, f"there is nothing at this path; try {', '.join(self._routes)}")
            _check_head(request)
            deadline = Deadline(started, seconds_of(query))
            body = await self._body(request.content, deadline)
            try:
                answer = await handler(body, deadline)
            finally:
                self._held -= len(body)
        except MalformedReviewError as error:
            return self._rejected(RejectedError(400, f"the body is not an AdmissionReview: {error}"))
        except RejectedError as error:
            return self._rejected(error)
        return reply(request, answer, is_last=self.is_draining)

    async def _body(self, content: StreamReader, deadline: Deadline) -> bytes:
        """The whole body, whose bytes are held from then on. Raises RejectedError."""
        try:
            if content.is_eof():  # the usual case: it came with the headers
                body = content.read_nowait()
                self._held += len(body)
                return body
            async with asyncio.timeout(deadline.seconds):
                return await self._receive(content)
        except TimeoutError:
            raise RejectedError(408, "the body did not arrive in time") from None
        except (RequestPayloadError, ClientError, OSError):
            raise RejectedError(400, "the body broke off") from None

    async def _receive(self, content: StreamReader) -> bytes:
        body = bytearray()
        try:
            while chunk := await content.readany():
                body += chunk
                self._held += len(chunk)
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
                if self._held > MAX_HELD_BYTES and len(body) > MAX_FREE_BYTES:
                    raise RejectedError(503, "too much is being received at the same time", {"Retry-After": "1"})
            return bytes(body)
        except BaseException:
            self._held -= len(body)
            raise

    def _rejected(self, error: RejectedError) -> web.Response:
        self._metrics.count_http_error(error.status)
        return rejection(error)


def seconds_of(query: str) -> float:
    """How long an answer may take, from the query that the API server sends, such as timeout=3s."""
    timeout = _TIMEOUT.search(query)
    seconds = float(timeout[1]) if timeout else DEFAULT_SECONDS
    return min(seconds, MAX_SECONDS) * MARGIN


def _check_head(request: web.BaseRequest) -> None:
    """Raise RejectedError for a request whose head already shows that it is not a review."""
    if request.method != "POST":
        raise RejectedError(405, f"{request.method} is not allowed here, only POST", {"Allow": "POST"})
    if request.content_type != JSON:
        raise RejectedError(415, f"the body must be {JSON}")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()


def _too_large() -> RejectedError:
    return RejectedError(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
