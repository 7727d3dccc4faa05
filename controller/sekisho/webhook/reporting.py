"""Reports of outcomes beside the answer: a line in the log, and an Event on the object that the user made."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from sekisho.admission import (
    Decision,
    Outcome,
    Review,
    Violation,
    denying,
    policies_of,
    waiver_lines,
    warning_lines,
    with_enforcement,
    written_at,
)
from sekisho.cluster.events import Occurrence, Reason, Statement, occurrence_of, statement
from sekisho.cluster.owners import controller_in
from sekisho.findings import FieldPath, render_path
from sekisho.policies import Enforcement
from sekisho.telemetry.logs import throttle
from sekisho.timestamps import rfc3339

logger = logging.getLogger(__name__)

REASONS: Final = (
    Reason.POD_DENIED,
    Reason.POD_WARNED,
    Reason.POD_AUDITED,
    Reason.POD_DEFAULTED,
    Reason.WAIVER_USED,
    Reason.IMAGE_NO_LONGER_TRUSTED,
)
"""The reasons of Events on the owners of pods."""

_LENIENT: Final = {
    Decision.WARN: (Reason.POD_WARNED, Enforcement.WARN),
    Decision.AUDIT: (Reason.POD_AUDITED, Enforcement.AUDIT),
}
"""What an Event says of an admitted pod that violates policies."""
MAX_MESSAGE_LENGTH = 2048
MAX_NAME_LENGTH = 253
MAX_FIXES_READ = 100
"""Violations whose fixes an Event may name; it names a few of them."""


def log_denial(outcome: Outcome) -> None:
    """Log one line, as a warning where the pod could not be judged; lines over the log's rate are dropped.

    Names are cut: a client that is not the API server can send anything.
    """
    level = logging.WARNING if outcome.decision is Decision.ERROR else logging.INFO
    if not logger.isEnabledFor(level) or not throttle.admits(logger.name):
        return
    review = outcome.review
    owner = controller_in(review.namespace or "", review.metadata.owner_references)
    denied = denying(outcome.violations)
    logger.log(
        level,
        "denied",
        extra={
            "uid": review.uid[:MAX_NAME_LENGTH],
            "decision": outcome.decision,
            "operation": review.operation[:MAX_NAME_LENGTH],
            "kind": review.kind.kind[:MAX_NAME_LENGTH],
            "subresource": (review.sub_resource or "")[:MAX_NAME_LENGTH],
            "namespace": (review.namespace or "")[:MAX_NAME_LENGTH],
            "object": (review.name or review.metadata.name or review.metadata.generate_name or "")[:MAX_NAME_LENGTH],
            "owner": f"{owner.kind}/{owner.name}"[:MAX_NAME_LENGTH] if owner is not None else "",
            "user": review.user_info.username[:MAX_NAME_LENGTH],
            "dry_run": bool(review.dry_run),
            "policies": sorted(policies_of(denied)),
            "controls": sorted({violation.finding.control for violation in denied}),
            "reason": outcome.message[:MAX_MESSAGE_LENGTH],
        },
    )


def log_waivers(outcome: Outcome) -> None:
    """Log one line for a pod that waivers exempted; lines over the log's rate are dropped."""
    if not logger.isEnabledFor(logging.INFO) or not throttle.admits(logger.name):
        return
    review = outcome.review
    logger.info(
        "admitted by a waiver",
        extra={
            "uid": review.uid[:MAX_NAME_LENGTH],
            "operation": review.operation[:MAX_NAME_LENGTH],
            "kind": review.kind.kind[:MAX_NAME_LENGTH],
            "namespace": (review.namespace or "")[:MAX_NAME_LENGTH],
            "object": (review.name or review.metadata.name or review.metadata.generate_name or "")[:MAX_NAME_LENGTH],
            "user": review.user_info.username[:MAX_NAME_LENGTH],
            "dry_run": bool(review.dry_run),
            "waivers": sorted({waived.waiver for waived in outcome.waived}),
            "expires": rfc3339(min(waived.expires for waived in outcome.waived)),
            "policies": sorted({waived.policy for waived in outcome.waived}),
            "controls": sorted({waived.finding.control for waived in outcome.waived}),
            "reason": "\n".join(waiver_lines(outcome.waived))[:MAX_MESSAGE_LENGTH],
        },
    )


def report(
    outcome: Outcome, record: Callable[[Occurrence], None] | None = None, reasons: Collection[Reason] = ()
) -> None:
    """Log a denial and the use of a waiver, and `record` Events for those of the `reasons`, unless it is a dry run.

    record: None where no Events are written.
    """
    if outcome.waived:
        log_waivers(outcome)
    if outcome.message:
        log_denial(outcome)
    if record is None:
        return
    for stated in statements_of(outcome):
        occurrence = occurrence_of(outcome.review, stated, datetime.now(UTC)) if stated.reason in reasons else None
        if occurrence is not None:
            record(occurrence)


def statements_of(outcome: Outcome) -> Iterator[Statement]:
    """The statements of an outcome's Events. A pod template has none: its user gets warnings as the answer."""
    if outcome.decision is Decision.DENY:
        yield _stated(outcome.review, Reason.POD_DENIED, outcome.message, denying(outcome.violations))
    lenient = _LENIENT.get(outcome.decision)
    if lenient is not None and outcome.review.is_pod:
        reason, enforcement = lenient
        violations = with_enforcement(outcome.violations, enforcement)
        if violations:
            yield _stated(outcome.review, reason, "\n".join(warning_lines(violations)), violations)
    if outcome.decision is Decision.PATCH and outcome.filled:  # not only the annotation of a waiver
        lines = tuple(f'policy "{policy}" set {", ".join(fields)}' for policy, fields in outcome.filled)
        yield statement(Reason.POD_DEFAULTED, "\n".join(lines), [policy for policy, _ in outcome.filled])
    if outcome.waived and outcome.review.is_pod:
        yield statement(
            Reason.WAIVER_USED,
            "\n".join(waiver_lines(outcome.waived)),
            (waived.policy for waived in outcome.waived),
            (waived.finding.control for waived in outcome.waived),
        )


def stated(above: FieldPath, reason: Reason, message: str, violations: Sequence[Violation]) -> Statement:
    """The statement of an Event about violations.

    above: where the pod's template is in the object that its user writes; empty for the pod itself.
    """
    return statement(
        reason,
        message,
        policies_of(violations),
        (violation.finding.control for violation in violations),
        (
            f"{render_path(above + violation.finding.path)}: {violation.finding.fix}"
            for violation in violations[:MAX_FIXES_READ]
        ),
    )


def _stated(review: Review, reason: Reason, message: str, violations: Sequence[Violation]) -> Statement:
    above = written_at(review) if review.is_pod else ()  # a template's findings have the whole path already
    return stated(above, reason, message, violations)
