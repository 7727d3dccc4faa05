"""/validate and /mutate: from the body of a review to its answer.

Whatever fails on the way, a review that has a uid gets a denial, never a pass.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct, structs

from sekisho import admission
from sekisho.admission import (
    DENIALS,
    NO_OBJECTS,
    CheckTime,
    Clock,
    Decision,
    ManyFindingsError,
    NamespaceObjects,
    Outcome,
    Review,
    UnjudgedError,
)
from sekisho.admission.bounds import MAX_FINDINGS
from sekisho.admission.proof import PROOF_POLICIES, is_proof
from sekisho.cluster.namespaces import Namespaces, UnknownNamespaceError
from sekisho.images.trust import Trust
from sekisho.pods import Pod
from sekisho.policies import PolicySet
from sekisho.turns import Turns
from sekisho.webhook.http_shell import Deadline
from sekisho.webhook.policies import Enforced
from sekisho.webhook.review_cost import MAX_SMALL_BYTES, is_planned, is_quick
from sekisho.webhook.verification import Verification

logger = logging.getLogger(__name__)

MAX_REVIEWS: Final = 1000
"""Reviews that wait for a namespace's labels or for look-ups of images; past it, each is denied unjudged."""
MAX_FINDINGS_AT_ONCE: Final = 1000
"""By all policies together, of a review that is judged at once, about 10 us each. With more it is judged apart."""
MAX_FETCHES_FOR_UNKNOWN_SENDERS: Final = 8
"""Of the labels of namespaces that are not known: most of MAX_FETCHES is left to the API server's reviews."""
_MAX_LARGE_WAIT: Final = 1.0
"""Seconds that a large review may wait for look-ups about its images, as all other large ones wait for it."""
_LATE: Final = "judging took longer than the API server waits"
MAX_CPU_SECONDS: Final = 0.5
"""CPU of decoding and judging one review apart. A comparison or an answer that has begun then comes to its end."""
_TOO_MUCH: Final = (
    f"judging takes more than {MAX_CPU_SECONDS} s of CPU; give the pod fewer containers, volumes and other entries, or "
    "fewer entries to the lists of its policies"
)

T = TypeVar("T")
Answer = Callable[[Review, PolicySet, Mapping[str, str] | None, CheckTime | None, Trust | None], Outcome]
"""Called with the time checks of a review that is judged apart; None for one that is judged at once. The trust is None
where no policy needs evidence about images, and where images are not verified."""


class _TimeApart(Struct):
    """The time of a review that is decoded and judged apart: until the deadline, and so many more seconds of CPU."""

    deadline: Deadline
    seconds: float = MAX_CPU_SECONDS
    began: float = 0.0

    def run(self, call: Callable[[], T]) -> T:
        """Call, in the thread for large reviews, and count the CPU that it takes."""
        self.began = time.thread_time()
        try:
            return call()
        finally:
            self.seconds -= time.thread_time() - self.began

    def check(self) -> None:
        """Raises UnjudgedError where the time is over; called on the way of what runs."""
        if self.deadline.remaining < 0:
            raise UnjudgedError(_LATE)
        if time.thread_time() - self.began > self.seconds:
            raise UnjudgedError(_TOO_MUCH)


class Question(Struct):
    """A review that may have to wait, and what answers it.

    review: None while it waits for its turn, and of a large one before: in memory, what a body is decoded to is up to
        30 times as large, and many may wait.
    head: the review without its objects.
    is_large: whether it is decoded in its turn, which it then has already.
    has_many: whether it is known to have more findings than are made at once.
    """

    answer: Answer
    body: bytes
    deadline: Deadline
    apart: _TimeApart
    review: Review | None
    head: Review
    has_many: bool = False
    is_large: bool = False
    policies: PolicySet = PolicySet()
    labels: Mapping[str, str] | None = None

    def decoded(self) -> Review:
        """The review. Raises MalformedReviewError."""
        if self.review is None:
            self.review = admission.decode(self.body)
        return self.review

    def with_trust(self, trust: Trust | None, check_time: CheckTime | None) -> Outcome:
        """The answer, by what is known about images; the time is checked on the way, unless `check_time` is None."""
        return self.answer(self.decoded(), self.policies, self.labels, check_time, trust)

    def is_planned(self) -> bool:
        """Whether what applies to the pod is known, or takes so little time that all others can wait for it."""
        return is_planned(self.decoded(), self.policies, self.labels)

    def quick_answer(self, trust: Trust | None) -> Outcome | None:
        """The answer of a review that is planned; None where it takes so long that others cannot wait for it."""
        with suppress(ManyFindingsError):
            if not self.has_many and is_quick(self.decoded(), len(self.body), self.policies, self.labels):
                return self.with_trust(trust, None)
        return None

    def planned_answer(self, trust: Trust | None) -> Outcome | None:
        """The same for one that is not planned yet, which takes a while."""
        self.policies.waivers_in(self.head.namespace or "")
        return self.quick_answer(trust)


class _Apart:
    """A thread for reviews that others cannot wait for; namespaces take turns at it."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._turns = Turns()

    def turn(self, question: Question) -> AbstractAsyncContextManager[None]:
        """A turn of the review's namespace. Raises TimeoutError where it takes too long to come."""
        if not self._turns.is_free:
            question.review = None
        return self._turns.turn(question.head.namespace or "", question.deadline.remaining)

    async def run(self, question: Question, call: Callable[[], T]) -> T:
        """Call in the thread, so that small reviews and probes are answered; within a turn."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: question.apart.run(call))

    def close(self) -> None:
        """End the thread when it is done with the present call."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class Counter(Protocol):
    """What counts reviews."""

    def count(self, webhook: str, outcome: Outcome, seconds: float, /) -> None:
        """Count one answered review: its outcome, and the seconds that it took."""


class PodReviews:
    """Answers reviews of pods and of pod templates.

    enforced: the policies in effect, which may be replaced at any time; a review is judged by one set throughout.
    clock: the time that waivers expire by.
    namespaces: None without a cluster; then policies that select labels cannot be judged.
    objects_for: the objects of a namespace that will change a template's pod; none are known without a cluster.
    verification: of images, for policies with rules on signatures; with None these deny what they apply to.
    max_fetches: reviews that wait at the same time for the labels of a namespace that is not known.
    on_outcome: called with each outcome whose decision is in `reported`, and each in which a waiver was used.
    """

    def __init__(
        self,
        enforced: Enforced,
        clock: Clock,
        namespaces: Namespaces | None,
        metrics: Counter,
        on_outcome: Callable[[Outcome], None],
        reported: frozenset[Decision] = DENIALS,
        objects_for: Callable[[str, Pod], NamespaceObjects] = lambda namespace, pod: NO_OBJECTS,
        verification: Verification | None = None,
        max_fetches: int = MAX_REVIEWS,
    ) -> None:
        self._enforced = enforced
        self._clock = clock
        self._namespaces = namespaces
        self._metrics = metrics
        self._on_outcome = on_outcome
        self._reported = reported
        self._objects_for = objects_for
        self._verification = verification
        self._max_fetches = max_fetches
        self._fetching = 0
        self._waiting = 0
        self._large = _Apart("large-reviews")
        self._planned = _Apart("plans")

    def validate(self, body: bytes, deadline: Deadline) -> bytes | Coroutine[Any, Any, bytes]:
        """The answer of the validating webhook, or what it can be awaited with. Each raises MalformedReviewError."""
        return self._answer("validate", self._validated, body, deadline)

    def mutate(self, body: bytes, deadline: Deadline) -> bytes | Coroutine[Any, Any, bytes]:
        """The answer of the mutating webhook, or what it can be awaited with. Each raises MalformedReviewError."""
        return self._answer("mutate", self._mutated, body, deadline)

    def for_unknown_senders(self, count: Counter) -> "PodReviews":
        """The same for reviews that the API server did not send: nothing is reported, and they wait for each other."""
        return PodReviews(
            self._enforced,
            self._clock,
            self._namespaces,
            count,
            lambda outcome: None,
            frozenset(),
            self._objects_for,
            None if self._verification is None else self._verification.for_unknown_senders(),
            MAX_FETCHES_FOR_UNKNOWN_SENDERS,
        )

    def close(self) -> None:
        """End the threads when they are done with the present reviews."""
        self._large.close()
        self._planned.close()

    def _validated(
        self,
        review: Review,
        policies: PolicySet,
        labels: Mapping[str, str] | None,
        check_time: CheckTime | None,
        trust: Trust | None,
    ) -> Outcome:
        max_findings = MAX_FINDINGS_AT_ONCE if check_time is None else MAX_FINDINGS
        return admission.validate(
            review, policies, labels, self._clock, check_time, self._objects_for, trust, max_findings
        )

    def _mutated(
        self,
        review: Review,
        policies: PolicySet,
        labels: Mapping[str, str] | None,
        check_time: CheckTime | None,
        trust: Trust | None,
    ) -> Outcome:
        return admission.mutate(review, policies, labels, self._clock, trust, check_time)

    def _answer(
        self, webhook: str, answer: Answer, body: bytes, deadline: Deadline
    ) -> bytes | Coroutine[Any, Any, bytes]:
        if len(body) > MAX_SMALL_BYTES:
            head = admission.decode_head(body)
            return self._answer_later(webhook, Question(answer, body, deadline, _TimeApart(deadline), None, head))
        review = admission.decode(body)
        has_many = False
        try:
            outcome = self._outcome_at_once(answer, review, len(body), deadline)
        except ManyFindingsError:
            outcome, has_many = None, True
        if outcome is not None:
            return self._counted(webhook, outcome, deadline)
        head = structs.replace(review, object=None, old_object=None)
        question = Question(answer, body, deadline, _TimeApart(deadline), review, head, has_many)
        return self._answer_later(webhook, question)

    async def _answer_later(self, webhook: str, question: Question) -> bytes:
        """The same, after whatever must be waited for; without a review the body is large, and decoded in its turn."""
        outcome = await (self._outcome_of_large if question.review is None else self._outcome)(question)
        return self._counted(webhook, outcome, question.deadline)

    def _counted(self, webhook: str, outcome: Outcome, deadline: Deadline) -> bytes:
        if is_proof(outcome.review):  # not a user's pod: nobody wants to read of it
            return outcome.response
        self._metrics.count(webhook, outcome, deadline.elapsed)
        if outcome.decision in self._reported or outcome.waived:
            self._on_outcome(outcome)
        return outcome.response

    def _outcome_at_once(self, answer: Answer, review: Review, size: int, deadline: Deadline) -> Outcome | None:
        """The verdict on a small review, the usual way; None where `_outcome` may have to wait.

        Raises ManyFindingsError, and nothing else.
        """
        try:
            policies = PROOF_POLICIES if is_proof(review) else self._enforced.policies
            if self._waiting >= MAX_REVIEWS or (policies.needs_evidence and self._verification is not None):
                return None
            labels = None
            if policies.needs_labels and review.operation in ("CREATE", "UPDATE"):
                labels = self._namespaces.known(review.namespace or "") if self._namespaces is not None else None
                if labels is None:
                    return None
            if not (is_planned(review, policies, labels) and is_quick(review, size, policies, labels)):
                return None
            outcome = answer(review, policies, labels, None, None)
            return outcome if deadline.remaining >= 0 else admission.errored(review, _LATE)
        except ManyFindingsError:
            raise
        except Exception:
            return _internal_error(review)

    async def _outcome_of_large(self, question: Question) -> Outcome:
        """The verdict on a large review, in its turn. It is decoded then, as it takes far more memory afterwards.

        Raises MalformedReviewError.
        """
        question.is_large = True
        try:
            async with self._large.turn(question):
                await self._large.run(question, question.decoded)
                question.head = structs.replace(question.decoded(), object=None, old_object=None)
                return await self._outcome(question)
        except TimeoutError:
            return admission.errored(question.head, _LATE)

    async def _outcome(self, question: Question) -> Outcome:
        """The verdict; a large review has its turn already. Never raises."""
        self._waiting += 1
        head, deadline = question.head, question.deadline
        try:
            if self._waiting > MAX_REVIEWS:
                return admission.errored(head, "too many reviews are waiting at the same time; try again")
            question.policies = PROOF_POLICIES if is_proof(question.decoded()) else self._enforced.policies
            if question.policies.needs_labels and head.operation in ("CREATE", "UPDATE"):
                question.labels = await self._labels(head.namespace or "", deadline)
            outcome = await self._judged(question)
            return outcome if deadline.remaining >= 0 else admission.errored(head, _LATE)
        except TimeoutError:
            return admission.errored(head, _LATE)
        except UnknownNamespaceError as error:
            return admission.errored(head, f"the labels of its namespace are not known: {error}")
        except Exception:
            return _internal_error(head)
        finally:
            self._waiting -= 1

    async def _judged(self, question: Question) -> Outcome:
        """The verdict, for which evidence about images is waited for where it is needed. Raises TimeoutError."""
        policies, deadline = question.policies, question.deadline
        verification = self._verification if policies.needs_evidence else None
        trust = None if verification is None else verification.trust(policies, question.decoded())
        outcome = await self._answered(question, trust)
        if verification is not None and trust is not None:
            until = deadline.at_most(_MAX_LARGE_WAIT) if question.is_large else deadline
            if await verification.settled(outcome, trust, until):
                return await self._answered(question, verification.trust(policies, question.decoded()))
        return outcome

    async def _answered(self, question: Question, trust: Trust | None) -> Outcome:
        """The verdict by what is known about images now; apart where it may take long. Raises TimeoutError."""
        judge = partial(question.with_trust, trust, question.apart.check)
        if question.is_large:
            return await self._large.run(question, judge)
        if question.is_planned():
            outcome = question.quick_answer(trust)
        else:
            async with self._planned.turn(question):
                outcome = await self._planned.run(question, partial(question.planned_answer, trust))
        if outcome is not None:
            return outcome
        async with self._large.turn(question):
            return await self._large.run(question, judge)

    async def _labels(self, namespace: str, deadline: Deadline) -> Mapping[str, str]:
        if not namespace:
            raise UnknownNamespaceError("the request names none")
        if self._namespaces is None:
            raise UnknownNamespaceError("there is no cluster to ask")
        labels = self._namespaces.known(namespace)
        if labels is not None:
            return labels
        if self._fetching >= self._max_fetches:
            raise UnknownNamespaceError("too many namespaces are being looked up at the same time")
        self._fetching += 1
        try:
            async with asyncio.timeout(deadline.remaining):
                return await self._namespaces.fetch(namespace)
        except TimeoutError:
            raise UnknownNamespaceError("the cluster did not answer in time") from None
        finally:
            self._fetching -= 1


def _internal_error(review: Review) -> Outcome:
    """The denial for the exception that is being handled, which is logged."""
    incident = secrets.token_hex(4)
    logger.exception("internal error %s", incident, extra={"incident": incident, "uid": review.uid[:64]})
    return admission.errored(review, f"internal error {incident}; Sekisho's log says more under this id")
