"""/validate and /mutate: from the body of a review to its answer.

Whatever fails on the way, a review that has a uid gets a denial, never a pass.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, Protocol

from msgspec import structs

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
)
from sekisho.admission.bounds import MAX_FINDINGS
from sekisho.admission.proof import PROOF_POLICIES, is_proof
from sekisho.cluster.namespaces import Namespaces, UnknownNamespaceError
from sekisho.images.trust import Trust
from sekisho.pods import Pod
from sekisho.policies import PolicySet
from sekisho.webhook.http_shell import Deadline
from sekisho.webhook.policies import Enforced
from sekisho.webhook.questions import LATE, Judge, Question, ReviewThread, TimeLeft
from sekisho.webhook.review_cost import MAX_SMALL_BYTES, is_quick, needs_no_planning
from sekisho.webhook.verification import Verification

logger = logging.getLogger(__name__)

MAX_REVIEWS: Final = 1000
"""Reviews that wait for a namespace's labels, for look-ups of images or, if they are small, for a turn in a thread.
Past it, each is denied unjudged."""
MAX_FINDINGS_ON_LOOP: Final = 1000
"""By all policies together, of a review that is judged on the event loop, about 10 us each. With more it is judged in
a thread."""
MAX_FETCHES_FOR_UNKNOWN_SENDERS: Final = 8
"""Of the labels of namespaces that are not known: most of MAX_FETCHES is left to the API server's reviews."""
_MAX_LARGE_WAIT: Final = 1.0
"""Seconds that a large review may wait for look-ups about its images, as all other large ones wait for it."""


class ReviewMetrics(Protocol):
    """Counts reviews."""

    def count(self, webhook: str, outcome: Outcome, seconds: float, /) -> None:
        """Count one answered review: its outcome, and the seconds that it took."""


class PodReviews:
    """Answers reviews of pods and of pod templates.

    A small review that takes little time is judged on the event loop. Every other one waits for what it needs, in this
    order: a turn in the thread "large-reviews", if its body is large, until it has its verdict; the labels of its
    namespace; a turn in the thread "plans", if it takes a while to select what applies to its pod; a turn in
    "large-reviews", if judging takes long; and look-ups of its images, after which it is judged a second time.

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
        metrics: ReviewMetrics,
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
        self._large = ReviewThread("large-reviews")
        self._planning = ReviewThread("plans")

    def validate(self, body: bytes, deadline: Deadline) -> bytes | Coroutine[Any, Any, bytes]:
        """The answer of the validating webhook, or a coroutine that returns it. Both raise MalformedReviewError."""
        return self._answer("validate", self._validated, body, deadline)

    def mutate(self, body: bytes, deadline: Deadline) -> bytes | Coroutine[Any, Any, bytes]:
        """The answer of the mutating webhook, or a coroutine that returns it. Both raise MalformedReviewError."""
        return self._answer("mutate", self._mutated, body, deadline)

    def for_unknown_senders(self, metrics: ReviewMetrics) -> "PodReviews":
        """What answers reviews that the API server did not send, by the same policies.

        They wait only for each other, and none is reported. metrics: counts them.
        """
        return PodReviews(
            self._enforced,
            self._clock,
            self._namespaces,
            metrics,
            lambda outcome: None,
            frozenset(),
            self._objects_for,
            None if self._verification is None else self._verification.for_unknown_senders(),
            MAX_FETCHES_FOR_UNKNOWN_SENDERS,
        )

    def close(self) -> None:
        """End the threads when they are done with the present reviews."""
        self._large.close()
        self._planning.close()

    def _validated(
        self,
        review: Review,
        policies: PolicySet,
        labels: Mapping[str, str] | None,
        check_time: CheckTime | None,
        trust: Trust | None,
    ) -> Outcome:
        max_findings = MAX_FINDINGS_ON_LOOP if check_time is None else MAX_FINDINGS
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
        max_findings = MAX_FINDINGS_ON_LOOP if check_time is None else MAX_FINDINGS
        return admission.mutate(review, policies, labels, self._clock, trust, check_time, max_findings)

    def _answer(
        self, webhook: str, judge: Judge, body: bytes, deadline: Deadline
    ) -> bytes | Coroutine[Any, Any, bytes]:
        if len(body) > MAX_SMALL_BYTES:
            head = admission.decode_head(body)
            return self._answer_later(webhook, Question(judge, body, deadline, TimeLeft(deadline), None, head))
        review = admission.decode(body)
        has_many = False
        try:
            outcome = self._outcome_without_waiting(judge, review, len(body), deadline)
        except ManyFindingsError:
            outcome, has_many = None, True
        if outcome is not None:
            return self._response(webhook, outcome, deadline)
        head = structs.replace(review, object=None, old_object=None)
        question = Question(judge, body, deadline, TimeLeft(deadline), review, head, has_many)
        return self._answer_later(webhook, question)

    async def _answer_later(self, webhook: str, question: Question) -> bytes:
        """The answer to a review that may have to wait. Raises MalformedReviewError."""
        if question.review is None:
            outcome = await self._outcome_of_large(question)
        else:
            outcome = await self._outcome(question)
        return self._response(webhook, outcome, question.deadline)

    def _response(self, webhook: str, outcome: Outcome, deadline: Deadline) -> bytes:
        """The answer as the API server gets it. Counts and reports the outcome, unless the review is our own."""
        if is_proof(outcome.review):  # our dry run, which shows that policies are enforced: no user's pod
            return outcome.response
        self._metrics.count(webhook, outcome, deadline.elapsed)
        if outcome.decision in self._reported or outcome.waived:
            self._on_outcome(outcome)
        return outcome.response

    def _outcome_without_waiting(self, judge: Judge, review: Review, size: int, deadline: Deadline) -> Outcome | None:
        """The verdict on a small review, on the event loop; None where `_outcome` may have to wait.

        Raises ManyFindingsError, and nothing else.
        """
        try:
            policies = PROOF_POLICIES if is_proof(review) else self._enforced.policies
            if self._waiting >= MAX_REVIEWS:
                return None  # `_outcome` denies it
            if policies.needs_evidence and self._verification is not None:
                return None
            labels = None
            if policies.needs_labels and review.operation in ("CREATE", "UPDATE"):
                labels = self._namespaces.known(review.namespace or "") if self._namespaces is not None else None
                if labels is None:
                    return None
            if not (needs_no_planning(review, policies, labels) and is_quick(review, size, policies, labels)):
                return None
            outcome = judge(review, policies, labels, None, None)
            return outcome if deadline.remaining >= 0 else admission.errored(review, LATE)
        except ManyFindingsError:
            raise
        except Exception:
            return _internal_error(review)

    async def _outcome_of_large(self, question: Question) -> Outcome:
        """The verdict on a large review, in its turn. It is decoded only then, as it takes far more memory afterwards.

        Raises MalformedReviewError.
        """
        question.is_large = True
        try:
            async with self._large.turn(question):
                await self._large.run(question, question.decoded)
                question.head = structs.replace(question.decoded(), object=None, old_object=None)
                return await self._outcome(question)
        except TimeoutError:
            return admission.errored(question.head, LATE)

    async def _outcome(self, question: Question) -> Outcome:
        """The verdict on a review that is small, or large and in its turn. Never raises."""
        self._waiting += 1
        head, deadline = question.head, question.deadline
        try:
            if self._waiting > MAX_REVIEWS:
                return admission.errored(head, "too many reviews are waiting at the same time; try again")
            question.policies = PROOF_POLICIES if is_proof(question.decoded()) else self._enforced.policies
            if question.policies.needs_labels and head.operation in ("CREATE", "UPDATE"):
                question.labels = await self._labels(head.namespace or "", deadline)
            outcome = await self._judge_with_evidence(question)
            return outcome if deadline.remaining >= 0 else admission.errored(head, LATE)
        except TimeoutError:
            return admission.errored(head, LATE)
        except UnknownNamespaceError as error:
            return admission.errored(head, f"the labels of its namespace are not known: {error}")
        except Exception:
            return _internal_error(head)
        finally:
            self._waiting -= 1

    async def _judge_with_evidence(self, question: Question) -> Outcome:
        """Judge, and again after the look-ups of images that the first verdict needs. Raises TimeoutError."""
        policies, deadline = question.policies, question.deadline
        verification = self._verification if policies.needs_evidence else None
        trust = None if verification is None else verification.trust(policies, question.decoded())
        outcome = await self._judge(question, trust)
        if verification is not None and trust is not None:
            until = deadline.at_most(_MAX_LARGE_WAIT) if question.is_large else deadline
            if await verification.look_up(outcome, trust, until):  # more may be known now
                return await self._judge(question, verification.trust(policies, question.decoded()))
        return outcome

    async def _judge(self, question: Question, trust: Trust | None) -> Outcome:
        """Judge by what is known about images now, in a thread where it may take long. Raises TimeoutError."""
        judge_in_thread = partial(question.judge_by, trust, question.time_left.check)
        if question.is_large:  # it has its turn
            return await self._large.run(question, judge_in_thread)
        if question.needs_no_planning():
            outcome = question.judge_if_quick(trust)
        else:
            async with self._planning.turn(question):
                outcome = await self._planning.run(question, partial(question.plan_and_judge_if_quick, trust))
        if outcome is not None:
            return outcome
        async with self._large.turn(question):
            return await self._large.run(question, judge_in_thread)

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
