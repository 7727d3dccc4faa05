"""The denials and warnings of policies, as their statuses show them."""

from collections.abc import Iterable, Sequence
from typing import Final

from sekisho.cluster.replicas import Counts, Recent, Replica
from sekisho.operator.records import Record
from sekisho.policies.status import PolicyStatus

COUNT_SECONDS: Final = 60.0
"""The counts of one policy change in its status at most this often."""
_NONE: Final = Recent(0, 0)


class ShownCounts:
    """Denials and warnings as statuses show them: those of one policy change once in COUNT_SECONDS at most."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[Recent, float]] = {}

    def of(self, records: Iterable[Record], reports: Sequence[Replica], now: float) -> Counts:
        """The counts to show, by the policies' titles; zero for those without."""
        shown: dict[str, tuple[Recent, float]] = {}
        counts: dict[str, Recent] = {}
        reported = {title for report in reports for title in report.counts}
        for record in records:
            if not record.is_policy:
                continue
            before, at = self._shown.get(record.uid) or (_stored_counts(record), now - COUNT_SECONDS)
            if before == _NONE and now - at >= COUNT_SECONDS and record.title not in reported:
                continue  # as for most of thousands of policies
            present = _reported_counts(record, reports)
            is_due = present is not None and present != before and now - at >= COUNT_SECONDS
            shown[record.uid] = (present, now) if is_due and present is not None else (before, at)
            counts[record.title] = shown[record.uid][0]
        self._shown = shown
        return counts


def _stored_counts(record: Record) -> Recent:
    status = record.status
    if not isinstance(status, PolicyStatus):
        return _NONE
    return Recent(status.denials or 0, status.warnings or 0, status.without_event or 0, status.audited or 0)


def _reported_counts(record: Record, reports: Sequence[Replica]) -> Recent | None:
    """The counts of a policy by the replicas that have read it; None when none has."""
    plural = record.resource.plural
    counts = [r.counts.get(record.title, _NONE) for r in reports if r.has_reached(plural, record.created)]
    if not counts:
        return None
    return Recent(
        sum(count.denials for count in counts),
        sum(count.warnings for count in counts),
        sum(count.without_event for count in counts),
        sum(count.audited for count in counts),
    )
