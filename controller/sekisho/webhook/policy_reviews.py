"""/validate-policies: reviews of policies and waivers when they are applied. Whatever fails, the answer denies."""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

from sekisho.admission import Clock
from sekisho.admission.policy_review import (
    PolicyOutcome,
    PolicyReview,
    decode_policy_review,
    denied_policy,
    review_policy,
)
from sekisho.admission.proof import PROOF_NAME
from sekisho.policies import Problem
from sekisho.policies.crd import RESOURCES
from sekisho.policies.idle import EXEMPT_NAMESPACES
from sekisho.remembered import begin_trial, end_trial
from sekisho.telemetry.families import Family, counters
from sekisho.turns import Turns
from sekisho.webhook.http_shell import Deadline
from sekisho.webhook.policies import Enforced

logger = logging.getLogger(__name__)

MAX_LOGGED_LENGTH: Final = 2048
MAX_SMALL_BYTES: Final = 8 * 1024
"""A body up to this size is judged on the event loop; larger ones take their turn in a thread of their own."""
_LATE: Final = Problem("", "other policies took longer to review than the API server waits")


class PolicyReviews:
    """Answers reviews of policies and waivers.

    enforced: the policies in effect, which warnings compare the new policy with.
    clock: the time after which a waiver must expire.
    longest_waiver: how far in the future a waiver may expire.
    exempt: the namespaces whose pods the API server does not send to the webhook.
    verifies_images: whether this installation verifies images; warnings say where it does not.
    is_logged: whether denials are logged.
    """

    def __init__(
        self,
        enforced: Enforced,
        clock: Clock,
        longest_waiver: timedelta,
        exempt: Collection[str] = EXEMPT_NAMESPACES,
        *,
        verifies_images: bool = True,
        is_logged: bool = True,
    ) -> None:
        self._verifies_images = verifies_images
        self._is_logged = is_logged
        self._enforced = enforced
        self._clock = clock
        self._longest = longest_waiver
        self._exempt = exempt
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="large-policies")
        self._turns = Turns()

    async def validate(self, body: bytes, deadline: Deadline) -> bytes:
        """The answer to one review. Raises MalformedReviewError."""
        review = decode_policy_review(body)
        is_small = len(body) <= MAX_SMALL_BYTES
        outcome = self._outcome(review) if is_small else await self._outcome_of_large(review, deadline)
        if review.dry_run and review.name == PROOF_NAME:  # the dry run of the controller: no user's policy
            return outcome.response
        kind = review.kind.kind if review.kind.kind in RESOURCES else "other"
        self._counts[(kind, "deny" if outcome.problems else "allow")] += 1
        if outcome.problems and self._is_logged:
            _log(outcome)
        return outcome.response

    def families(self) -> Iterable[Family]:
        """Its metrics."""
        text = "Policies and waivers reviewed when they were applied, by what was decided."
        yield counters("sekisho_policy_reviews", text, ("kind", "decision"), self._counts)

    def close(self) -> None:
        """End the thread for large policies when it is done with the present one."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _outcome_of_large(self, review: PolicyReview, deadline: Deadline) -> PolicyOutcome:
        """The verdict on a large policy, in its turn. Namespaces take turns, and the cluster's kinds count as one."""
        try:
            async with self._turns.turn(review.namespace or "", deadline.remaining):
                if deadline.remaining < 0:
                    return denied_policy(review, _LATE)
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._outcome, review)
        except TimeoutError:
            return denied_policy(review, _LATE)

    def _outcome(self, review: PolicyReview) -> PolicyOutcome:
        """The verdict."""
        begin_trial()  # what is stored is compiled again when it is enforced
        try:
            return review_policy(
                review,
                self._enforced.policies,
                self._clock(),
                self._longest,
                self._exempt,
                verifies_images=self._verifies_images,
            )
        except Exception:
            incident = secrets.token_hex(4)
            logger.exception("internal error %s", incident, extra={"incident": incident, "uid": review.uid[:64]})
            problem = Problem("", f"internal error {incident}; Sekisho's log says more under this id")
            return denied_policy(review, problem)
        finally:
            end_trial(keep=False)


def _log(outcome: PolicyOutcome) -> None:
    review = outcome.review
    logger.info(
        "denied a policy",
        extra={
            "uid": review.uid[:64],
            "kind": review.kind.kind[:64],
            "namespace": (review.namespace or "")[:64],
            "object": (review.name or "")[:253],
            "user": review.user_info.username[:253],
            "dry_run": bool(review.dry_run),
            "reason": "; ".join(map(str, outcome.problems))[:MAX_LOGGED_LENGTH],
        },
    )
