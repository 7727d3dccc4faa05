"""HTTP around the handlers of reviews: routes, sizes, deadlines, draining, and answers to requests without a review."""

import re
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from aiohttp import web
from msgspec import Struct

from sekisho.admission import MalformedReviewError
from sekisho.webhook.bodies import Bodies
from sekisho.webhook.metrics import Metrics
from sekisho.webhook.replies import JSON, RejectedError, rejection, reply

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
    def remaining(self) -> float:
        """Seconds until the deadline, negative past it."""
        return self.seconds - self.elapsed

    def at_most(self, seconds: float) -> "Deadline":
        """This deadline, or `seconds` from now if that is earlier."""
        return Deadline(self.started, min(self.seconds, self.elapsed + seconds))


ReviewHandler = Callable[[bytes, Deadline], bytes | Coroutine[Any, Any, bytes]]
"""From the body of a request to that of its answer, or to a coroutine where something must be waited for.

Each raises MalformedReviewError, and nothing else. A coroutine that is never run has counted and reported nothing.
"""


class HttpShell:
    """Hands the body of each request to the handler of its path, and answers requests that are not reviews itself.

    From `drain` on, each answer closes its connection, so that the client sends its next request to another replica.

    routes: the handlers by path.
    unknown_routes: the handlers of the same paths for senders that do not know the secret part, which `know` sets and
        which follows the path. None when everybody is known, without it.
    """

    def __init__(
        self,
        routes: Mapping[str, ReviewHandler],
        metrics: Metrics,
        unknown_routes: Mapping[str, ReviewHandler] | None = None,
    ) -> None:
        self._known = routes
        self._unknown_routes = unknown_routes
        self._routes = dict(routes if unknown_routes is None else unknown_routes)
        self._metrics = metrics
        self._bodies = Bodies()
        self._secret_paths: frozenset[str] = frozenset()
        self._is_draining = False

    def drain(self) -> None:
        """Close each connection with its next answer."""
        self._is_draining = True

    def know(self, secret: str) -> None:
        """Recognize the API server by this secret part of the paths from now on; empty for nobody."""
        known = {f"{path}/{secret}": handler for path, handler in self._known.items()} if secret else {}
        self._routes = {**(self._unknown_routes or self._known), **known}
        self._secret_paths = frozenset(known)

    def is_known(self, target: str) -> bool:
        """Whether only the API server knows this path and query of a request."""
        return target.partition("?")[0] in self._secret_paths

    def _handler(self, path: str) -> ReviewHandler:
        handler = self._routes.get(path)
        if handler is None:
            # A secret part that is not known, or no longer: the API server must still get its verdict.
            above, _, secret = path.rpartition("/")
            handler = (self._unknown_routes or self._known).get(above) if secret else None
        if handler is None:
            raise RejectedError(404, f"there is nothing at this path; try {', '.join(self._known)}")
        return handler

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        started = time.perf_counter()
        path, _, query = request.raw_path.partition("?")
        try:
            handler = self._handler(path)
            _check_head(request)
            deadline = Deadline(started, seconds_of(query))
            body = await self._bodies.receive(request, deadline.seconds)
            try:
                answer = handler(body, deadline)
                if not isinstance(answer, bytes):
                    answer = await answer
            finally:
                self._bodies.release(body)
        except MalformedReviewError as error:
            return self._rejected(RejectedError(400, f"the body is not an AdmissionReview: {error}"))
        except RejectedError as error:
            return self._rejected(error)
        return reply(request, answer, is_last=self._is_draining)

    def answer_at_once(self, target: str, body: bytes, started: float) -> bytes | None:
        """The body of the answer to a review whose request is known to be one. None where `handle` must answer it.

        target: path and query of the request.
        started: when it arrived, a time of `time.perf_counter`.
        """
        path, _, query = target.partition("?")
        handler = self._routes.get(path)
        if handler is None or self._is_draining:
            return None
        try:
            answer = handler(body, Deadline(started, seconds_of(query)))
        except MalformedReviewError:
            return None
        if isinstance(answer, bytes):
            return answer
        answer.close()
        return None

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
