"""POST /validate and POST /mutate: from a request to a verdict.

Whatever goes wrong on the way, a review that has a uid gets a denial, and never a pass.
"""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from aiohttp import ClientError, StreamReader, web
from aiohttp.web_protocol import RequestPayloadError
from msgspec import Struct

from sekisho import admission
from sekisho.admission import DENIALS, Clock, Decision, MalformedReviewError, Outcome, Review
from sekisho.policies import PolicySet
from sekisho.webhook.metrics import Metrics
from sekisho.webhook.namespaces import Namespaces, UnknownNamespaceError
from sekisho.webhook.replies import JSON, RejectedError, rejection

logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 8 << 20
"""Bytes. The API server takes objects of up to 3 MiB, and an update sends two."""
MAX_INCOMING: Final = 64 << 20
"""Bytes of unfinished bodies in memory; past it, a request that goes on sending is turned away."""
MAX_REVIEWS: Final = 1000
"""Reviews in hand, which wait for a namespace's labels; past it, each is a denial that was not judged."""
DEFAULT_SECONDS: Final = 10.0
"""The API server's own default; it tells its timeout as a parameter of the request."""
MAX_SECONDS: Final = 30.0
MARGIN: Final = 0.9
"""The share of the timeout that is ours; the rest is the network's."""

Judge = Callable[[Review, PolicySet, Mapping[str, str] | None, Clock], Outcome]


def _mutate(review: Review, policies: PolicySet, labels: Mapping[str, str] | None, _clock: Clock) -> Outcome:
    return admission.mutate(review, policies, labels)


_JUDGES: Final[Mapping[str, Judge]] = {"/validate": admission.validate, "/mutate": _mutate}
_TIMEOUT: Final = re.compile(r"(?:^|&)timeout=([0-9]{1,4})s(?:&|$)")


class Endpoint(Struct, frozen=True):
    """Where a request goes, and how many seconds it has."""

    name: str
    judge: Judge
    seconds: float


@lru_cache(maxsize=64)
def endpoint_of(target: str) -> Endpoint | None:
    """The endpoint of a request target such as /validate?timeout=3s, None for an unknown path."""
    path, _, query = target.partition("?")
    judge = _JUDGES.get(path)
    return None if judge is None else Endpoint(path[1:], judge, seconds_of(query))


def seconds_of(query: str) -> float:
    """How long an answer may take, from the query that the API server sends, such as timeout=3s."""
    timeout = _TIMEOUT.search(query)
    seconds = float(timeout[1]) if timeout else DEFAULT_SECONDS
    return min(seconds, MAX_SECONDS) * MARGIN


class Reviews:
    """Answers reviews by the policy set in `policies`, which may be replaced at any time.

    `namespaces` is None without a cluster. `on_outcome` gets each outcome whose decision is one of `reported`, and each
    in which a waiver was used.
    """

    def __init__(
        self,
        policies: PolicySet,
        namespaces: Namespaces | None,
        metrics: Metrics,
        on_outcome: Callable[[Outcome], None],
        reported: frozenset[Decision] = DENIALS,
    ) -> None:
        self.policies = policies
        self.is_draining = False
        """Whether clients are told to take their next request elsewhere."""
        self.clock: Clock = lambda: datetime.now(UTC)
        """What waivers expire by."""
        self.elsewhere: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | None = None
        """What answers requests to other paths."""
        self._namespaces = namespaces
        self._metrics = metrics
        self._on_outcome = on_outcome
        self._reported = reported
        self._incoming = 0
        self._in_hand = 0

    def enforce(self, policies: PolicySet) -> None:
        """Judge by this set from the next review on."""
        self.policies = policies

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        started = time.perf_counter()
        endpoint = endpoint_of(request.raw_path)
        if endpoint is None and self.elsewhere is not None:
            return await self.elsewhere(request)
        try:
            if endpoint is None:
                raise RejectedError(404, "there is nothing at this path; reviews go to /validate and /mutate")
            check_head(request)
            review = _decode(await self.body(request.content, endpoint.seconds))
        except RejectedError as error:
            self._metrics.count_http_error(error.status)
            return rejection(error)
        outcome = await self._decide(endpoint, review, started)
        self._metrics.count(endpoint.name, outcome, time.perf_counter() - started)
        if outcome.decision in self._reported or outcome.waived:
            self._on_outcome(outcome)
        response = web.Response(body=outcome.response, content_type=JSON)
        if self.is_draining:
            response.force_close()
        return response

    async def body(self, content: StreamReader, seconds: float) -> bytes:
        """The whole body. Raises RejectedError."""
        try:
            if content.is_eof():  # the usual case: it came with the headers
                return content.read_nowait()
            async with asyncio.timeout(seconds):
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
                self._incoming += len(chunk)
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
                if self._incoming > MAX_INCOMING:
                    raise RejectedError(503, "too much is being received at the same time", {"Retry-After": "1"})
            return bytes(body)
        finally:
            self._incoming -= len(body)

    async def _decide(self, endpoint: Endpoint, review: Review, started: float) -> Outcome:
        """The verdict. Never raises."""
        self._in_hand += 1
        try:
            if self._in_hand > MAX_REVIEWS:
                return admission.errored(review, "too many reviews are in hand at the same time; try again")
            policies = self.policies  # one set from beginning to end
            labels = None
            if policies.needs_labels and review.operation in ("CREATE", "UPDATE"):
                left = endpoint.seconds - (time.perf_counter() - started)
                labels = await self._labels(review.namespace or "", left)
            outcome = endpoint.judge(review, policies, labels, self.clock)
            if time.perf_counter() - started > endpoint.seconds:
                return admission.errored(review, "judging took longer than the API server waits")
            return outcome
        except UnknownNamespaceError as error:
            return admission.errored(review, f"the labels of its namespace are not known: {error}")
        except Exception:
            incident = secrets.token_hex(4)
            logger.exception("internal error %s", incident, extra={"incident": incident, "uid": review.uid[:64]})
            return admission.errored(review, f"internal error {incident}; Sekisho's log says more under this id")
        finally:
            self._in_hand -= 1

    async def _labels(self, namespace: str, seconds: float) -> Mapping[str, str]:
        if not namespace:
            raise UnknownNamespaceError("the request names none")
        if self._namespaces is None:
            raise UnknownNamespaceError("there is no cluster to ask")
        labels = self._namespaces.known(namespace)
        if labels is not None:
            return labels
        try:
            async with asyncio.timeout(seconds):
                return await self._namespaces.fetch(namespace)
        except TimeoutError:
            raise UnknownNamespaceError("the cluster did not answer in time") from None


def check_head(request: web.BaseRequest) -> None:
    """Raise RejectedError for a request whose head tells already that it is no review."""
    if request.method != "POST":
        raise RejectedError(405, f"{request.method} is not allowed here, only POST", {"Allow": "POST"})
    if request.content_type != JSON:
        raise RejectedError(415, f"the body must be {JSON}")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()


def _decode(body: bytes) -> Review:
    try:
        return admission.decode(body)
    except MalformedReviewError as error:
        raise RejectedError(400, f"the body is no AdmissionReview: {error}") from None


def _too_large() -> RejectedError:
    return RejectedError(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
