"""/validate and /mutate: from the body of a review to its answer.

Whatever fails on the way, a review that has a uid gets a denial, never a pass.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from sekisho import admission
from sekisho.admission import DENIALS, NO_OBJECTS, Clock, Decision, NamespaceObjects, Outcome, Review
from sekisho.admission.proof import PROOF_POLICIES, is_proof
from sekisho.images.trust import Trust
from sekisho.pods import Pod
from sekisho.policies import PolicySet
from sekisho.webhook.http_shell import Deadline
from sekisho.webhook.metrics import Metrics
from sekisho.webhook.namespaces import Namespaces, UnknownNamespaceError
from sekisho.webhook.policies import Enforced
from sekisho.webhook.verification import Verification

logger = logging.getLogger(__name__)

MAX_REVIEWS: Final = 1000
"""Reviews that wait for a namespace's labels; past it, each is denied unjudged."""

MAX_SMALL_BYTES: Final = 64 * 1024
"""Of a body that is decoded and judged at once; larger ones take their turn in a thread of their own."""
MAX_SMALL_WORK: Final = 5000
"""Containers times policies of a review that is judged at once."""

T = TypeVar("T")
Answer = Callable[[Review, PolicySet, Mapping[str, str] | None, Deadline | None, Trust | None], Outcome]
"""Called with the deadline of a large review, which is checked on the way; None for a small one. The trust is None
where no policy needs evidence about images."""


class PodReviews:
    """Answers reviews of pods and of pod templates.

    enforced: the policies in force, which may be replaced at any time; a review is judged by one set throughout.
    clock: the time that waivers expire by.
    namespaces: None without a cluster; then policies that select labels cannot be judged.
    objects_for: the objects of a namespace that will change a template's pod; none are known without a cluster.
    verification: of images, for policies with rules on signatures; with None these deny what they apply to.
    on_outcome: called with each outcome whose decision is in `reported`, and each in which a waiver was used.
    """

    def __init__(
        self,
        enforced: Enforced,
        clock: Clock,
        namespaces: Namespaces | None,
        metrics: Metrics,
        on_outcome: Callable[[Outcome], None],
        reported: frozenset[Decision] = DENIALS,
        objects_for: Callable[[str, Pod], NamespaceObjects] = lambda namespace, pod: NO_OBJECTS,
        verification: Verification | None = None,
    ) -> None:
        self._enforced = enforced
        self._clock = clock
        self._namespaces = namespaces
        self._metrics = metrics
        self._on_outcome = on_outcome
        self._reported = reported
        self._objects_for = objects_for
        self._verification = verification
        self._waiting = 0
        self._apart = ThreadPoolExecutor(1, thread_name_prefix="large-reviews")

    async def validate(self, body: bytes, deadline: Deadline) -> bytes:
        """The answer of the validating webhook. Raises MalformedReviewError."""
        return await self._answer("validate", self._validated, body, deadline)

    async def mutate(self, body: bytes, deadline: Deadline) -> bytes:
        """The answer of the mutating webhook. Raises MalformedReviewError."""
        return await self._answer("mutate", self._mutated, body, deadline)

    def close(self) -> None:
        """End the thread for large reviews when it is done with the present one."""
        self._apart.shutdown(wait=False, cancel_futures=True)

    def _validated(
        self,
        review: Review,
        policies: PolicySet,
        labels: Mapping[str, str] | None,
        deadline: Deadline | None,
        trust: Trust | None,
    ) -> Outcome:
        is_late = None if deadline is None else lambda: deadline.left < 0
        return admission.validate(review, policies, labels, self._clock, is_late, self._objects_for, trust)

    def _mutated(
        self,
        review: Review,
        policies: PolicySet,
        labels: Mapping[str, str] | None,
        deadline: Deadline | None,
        trust: Trust | None,
    ) -> Outcome:
        if deadline is not None and deadline.left < 0:  # it waited for other large reviews
            return admission.errored(review, "judging took longer than the API server waits")
        return admission.mutate(review, policies, labels, self._clock, trust)

    async def _answer(self, webhook: str, answer: Answer, body: bytes, deadline: Deadline) -> bytes:
        if len(body) <= MAX_SMALL_BYTES:
            review = admission.decode(body)
        else:
            review = await self._run_apart(lambda: admission.decode(body))
        outcome = await self._outcome(answer, review, len(body), deadline)
        if is_proof(review):  # not a user's pod: nobody wants to read of it
            return outcome.response
        self._metrics.count(webhook, outcome, deadline.elapsed)
        if outcome.decision in self._reported or outcome.waived:
            self._on_outcome(outcome)
        return outcome.response

    async def _outcome(self, answer: Answer, review: Review, size: int, deadline: Deadline) -> Outcome:
        """The verdict. Never raises."""
        self._waiting += 1
        try:
            if self._waiting > MAX_REVIEWS:
                return admission.errored(review, "too many reviews are waiting at the same time; try again")
            policies = PROOF_POLICIES if is_proof(review) else self._enforced.policies
            labels = None
            if policies.needs_labels and review.operation in ("CREATE", "UPDATE"):
                labels = await self._labels(review.namespace or "", deadline)
            is_small = size <= MAX_SMALL_BYTES and review.containers * len(policies) <= MAX_SMALL_WORK
            verification = self._verification if policies.needs_evidence else None
            trust = None if verification is None else verification.trust(policies)
            if is_small:
                outcome = answer(review, policies, labels, None, trust)
            else:
                outcome = await self._run_apart(lambda: answer(review, policies, labels, deadline, trust))
            if verification is not None and trust is not None and await verification.settled(outcome, trust, deadline):
                later = verification.trust(policies)
                if is_small:
                    outcome = answer(review, policies, labels, None, later)
                else:
                    outcome = await self._run_apart(lambda: answer(review, policies, labels, deadline, later))
            if deadline.left < 0:
                return admission.errored(review, "judging took longer than the API server waits")
            return outcome
        except UnknownNamespaceError as error:
            return admission.errored(review, f"the labels of its namespace are not known: {error}")
        except Exception:
            incident = secrets.token_hex(4)
            logger.exception("internal error %s", incident, extra={"incident": incident, "uid": review.uid[:64]})
            return admission.errored(review, f"internal error {incident}; Sekisho's log says more under this id")
        finally:
            self._waiting -= 1

    async def _run_apart(self, call: Callable[[], T]) -> T:
        """Call in the thread for large reviews, one after the other, so that small ones and probes are answered."""
        return await asyncio.get_running_loop().run_in_executor(self._apart, call)

    async def _labels(self, namespace: str, deadline: Deadline) -> Mapping[str, str]:
        if not namespace:
            raise UnknownNamespaceError("the request names none")
        if self._namespaces is None:
            raise UnknownNamespaceError("there is no cluster to ask")
        labels = self._namespaces.known(namespace)
        if labels is not None:
            return labels
        try:
            async with asyncio.timeout(deadline.left):
                return await self._namespaces.fetch(namespace)
        except TimeoutError:
            raise UnknownNamespaceError("the cluster did not answer in time") from None
