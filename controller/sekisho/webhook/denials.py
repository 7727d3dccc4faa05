"""What becomes of a verdict beside its answer: one line in the log, and an Event where the user looks."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from sekisho.admission import Outcome, waiver_lines
from sekisho.admission.waivers import moment
from sekisho.cluster.events import Denial, denial_of
from sekisho.cluster.logs import throttle
from sekisho.cluster.owners import controller_of

logger = logging.getLogger(__name__)

LONGEST_MESSAGE = 2048
LONGEST_NAME = 253


def log_denial(outcome: Outcome) -> None:
    """Log one line, as a warning where there was no verdict; in a storm, none.

    Names are cut: a client of the webhook that is not the API server may have made them up.
    """
    if not throttle.admits(logger.name):
        return
    review = outcome.review
    owner = controller_of(review.metadata.owner_references, review.namespace or "")
    denied = [violation for violation in outcome.violations if violation.enforcement == "Deny"]
    logger.log(
        logging.INFO if outcome.decision == "deny" else logging.WARNING,
        "refused",
        extra={
            "uid": review.uid[:LONGEST_NAME],
            "decision": outcome.decision,
            "operation": review.operation[:LONGEST_NAME],
            "kind": review.kind.kind[:LONGEST_NAME],
            "subresource": (review.sub_resource or "")[:LONGEST_NAME],
            "namespace": (review.namespace or "")[:LONGEST_NAME],
            "object": (review.name or review.metadata.name or review.metadata.generate_name or "")[:LONGEST_NAME],
            "owner": f"{owner.kind}/{owner.name}"[:LONGEST_NAME] if owner is not None else "",
            "user": review.user_info.username[:LONGEST_NAME],
            "dry_run": bool(review.dry_run),
            "policies": sorted({policy for violation in denied for policy in violation.policies}),
            "controls": sorted({violation.finding.control for violation in denied}),
            "reason": outcome.message[:LONGEST_MESSAGE],
        },
    )


def log_waivers(outcome: Outcome) -> None:
    """Log one line for a pod that was admitted by waivers."""
    review = outcome.review
    logger.info(
        "admitted by a waiver",
        extra={
            "uid": review.uid[:LONGEST_NAME],
            "operation": review.operation[:LONGEST_NAME],
            "kind": review.kind.kind[:LONGEST_NAME],
            "namespace": (review.namespace or "")[:LONGEST_NAME],
            "object": (review.name or review.metadata.name or review.metadata.generate_name or "")[:LONGEST_NAME],
            "user": review.user_info.username[:LONGEST_NAME],
            "dry_run": bool(review.dry_run),
            "waivers": sorted({each.waiver for each in outcome.waived}),
            "expires": moment(min(each.expires for each in outcome.waived)),
            "policies": sorted({each.policy for each in outcome.waived}),
            "controls": sorted({each.finding.control for each in outcome.waived}),
            "reason": "\n".join(waiver_lines(outcome.waived))[:LONGEST_MESSAGE],
        },
    )


def report_denial(outcome: Outcome, record: Callable[[Denial], None] | None) -> None:
    """Log a denial, and `record` it for an Event where it is a verdict and no dry run. Log a waiver's use."""
    if outcome.waived:
        log_waivers(outcome)
    if not outcome.message:
        return
    log_denial(outcome)
    if record is not None and outcome.decision == "deny":
        denial = denial_of(outcome.review, outcome.message, datetime.now(UTC))
        if denial is not None:
            record(denial)
