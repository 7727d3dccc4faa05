"""/validate and /mutate: from the body of a review to its answer.

Whatever fails on the way, a review that has a uid gets a denial, never a pass.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Final

from sekisho import admission
from sekisho.admission import DENIALS, Clock, Decision, Outcome, Review
from sekisho.policies import PolicySet
from sekisho.webhook.http_shell import Deadline
from sekisho.webhook.metrics import Metrics
from sekisho.webhook.namespaces import Namespaces, UnknownNamespaceError
from sekisho.webhook.policies import Enforced

logger = logging.getLogger(__name__)

MAX_REVIEWS: Final = 1000
"""Reviews that wait for a namespace's labels; past it, each is denied unjudged."""

Answer = Callable[[Review, PolicySet, Mapping[str, str] | None], Outcome]


class PodReviews:
    """Answers reviews of pods and of pod templates.

    enforced: the policies in force, which may be replaced at any time; a review is judged by one set throughout.
    clock: the time that waivers expire by.
    namespaces: None without a cluster; then policies that select labels cannot be judged.
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
    ) -> None:
        self._enforced = enforced
        self._clock = clock
        self._namespaces = namespaces
        self._metrics = metrics
        self._on_outcome = on_outcome
        self._reported = reported
        self._waiting = 0

    async def validate(self, body: bytes, deadline: Deadline) -> bytes:
        """The answer of the validating webhook. Raises MalformedReviewError."""
        return await self._answer("validate", self._validated, body, deadline)

    async def mutate(self, body: bytes, deadline: Deadline) -> bytes:
        """The answer of the mutating webhook. Raises MalformedReviewError."""
        return await self._answer("mutate", admission.mutate, body, deadline)

    def _validated(self, review: Review, policies: PolicySet, labels: Mapping[str, str] | None) -> Outcome:
        return admission.validate(review, policies, labels, self._clock)

    async def _answer(self, webhook: str, answer: Answer, body: bytes, deadline: Deadline) -> bytes:
        outcome = await self._outcome(answer, admission.decode(body), deadline)
        self._metrics.count(webhook, outcome, deadline.elapsed)
        if outcome.decision in self._reported or outcome.waived:
            self._on_outcome(outcome)
        return outcome.response

    async def _outcome(self, answer: Answer, review: Review, deadline: Deadline) -> Outcome:
        """The verdict. Never raises."""
        self._waiting += 1
        try:
            if self._waiting > MAX_REVIEWS:
                return admission.errored(review, "too many reviews are waiting at the same time; try again")
            policies = self._enforced.policies
            labels = None
            if policies.needs_labels and review.operation in ("CREATE", "UPDATE"):
                labels = await self._labels(review.namespace or "", deadline)
            outcome = answer(review, policies, labels)
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
