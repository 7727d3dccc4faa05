"""POST /validate-policies: policies and waivers, when they are applied. Whatever goes wrong, the answer is no."""

import logging
import secrets
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from aiohttp import web
from prometheus_client.core import Metric

from sekisho.admission import MalformedReviewError
from sekisho.admission.policy_review import (
    PolicyOutcome,
    PolicyReview,
    decode_policy_review,
    deny_policy,
    review_policy,
)
from sekisho.policies import Problem
from sekisho.policies.crd import RESOURCES
from sekisho.telemetry.families import counters
from sekisho.webhook.metrics import Metrics
from sekisho.webhook.pod_reviews import Reviews, check_head, seconds_of
from sekisho.webhook.replies import JSON, RejectedError, rejection

logger = logging.getLogger(__name__)

PATH: Final = "/validate-policies"
MAX_LOGGED_LENGTH: Final = 2048


class PolicyReviews:
    """Answers reviews of policies, with the body's bounds, the policies in force and the clock of `reviews`."""

    def __init__(self, reviews: Reviews, metrics: Metrics, longest_waiver: timedelta) -> None:
        self._reviews = reviews
        self._metrics = metrics
        self._longest = longest_waiver
        self._counts: Counter[tuple[str, ...]] = Counter()
        metrics.add_source(self.families)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path, _, query = request.raw_path.partition("?")
        try:
            if path != PATH:
                raise RejectedError(404, f"there is nothing at this path; try /validate, /mutate or {PATH}")
            check_head(request)
            body = await self._reviews.body(request.content, seconds_of(query))
            review = decode_policy_review(body)
        except MalformedReviewError as error:
            return self._rejected(RejectedError(400, f"the body is no AdmissionReview: {error}"))
        except RejectedError as error:
            return self._rejected(error)
        outcome = self._decide(review)
        kind = review.kind.kind if review.kind.kind in RESOURCES else "other"
        self._counts[(kind, "deny" if outcome.problems else "allow")] += 1
        if outcome.problems:
            _log(outcome)
        response = web.Response(body=outcome.response, content_type=JSON)
        if self._reviews.is_draining:
            response.force_close()
        return response

    def families(self) -> Iterable[Metric]:
        """Its metrics."""
        text = "Policies and waivers reviewed when they were applied, by what was decided."
        yield counters("sekisho_policy_reviews", text, ("kind", "decision"), self._counts)

    def _decide(self, review: PolicyReview) -> PolicyOutcome:
        try:
            return review_policy(review, self._reviews.policies, self._reviews.clock(), self._longest)
        except Exception:
            incident = secrets.token_hex(4)
            logger.exception("internal error %s", incident, extra={"incident": incident, "uid": review.uid[:64]})
            problem = Problem("", f"internal error {incident}; Sekisho's log says more under this id")
            return deny_policy(review, problem)

    def _rejected(self, error: RejectedError) -> web.Response:
        self._metrics.count_http_error(error.status)
        return rejection(error)


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
