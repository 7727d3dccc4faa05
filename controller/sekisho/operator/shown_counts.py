"""What replicas have counted of policies in the last hour, as the policies' statuses show it."""

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Final, Generic, TypeVar

from sekisho.cluster.replicas import Replica
from sekisho.cluster.reported import Counts, Examples, Recent
from sekisho.operator.records import Record
from sekisho.policies.status import MAX_EXAMPLES, AuditedExample, PolicyStatus

T = TypeVar("T")

COUNT_SECONDS: Final = 60.0
"""The counts of one policy change in its status at most this often."""
_NONE: Final = Recent(0, 0)
_NO_EXAMPLES: Final[tuple[AuditedExample, ...]] = ()


class Paced(Generic[T]):
    """Values of policies, or of waivers, as statuses show them: that of one changes once in COUNT_SECONDS at most.

    nothing: that of a policy of which nothing is reported.
    stored: the one that a policy's status has.
    present: the one that replicas report; None where none of them has read the policy.
    concerns: whether an object has such a value.
    """

    def __init__(
        self,
        nothing: T,
        stored: Callable[[Record], T],
        present: Callable[[Record, Sequence[Replica]], T | None],
        concerns: Callable[[Record], bool] = lambda record: record.is_policy,
    ) -> None:
        self._nothing = nothing
        self._stored = stored
        self._present = present
        self._concerns = concerns
        self._shown: dict[str, tuple[T, float]] = {}

    def of(
        self, records: Iterable[Record], reports: Sequence[Replica], reported: Container[str], now: float
    ) -> dict[str, T]:
        """The values to show, by the policies' titles.

        reported: the titles of the policies that the reports are about.
        now: the monotonic time, in seconds.
        """
        shown: dict[str, tuple[T, float]] = {}
        values: dict[str, T] = {}
        for record in records:
            if not self._concerns(record):
                continue
            before, at = self._shown.get(record.uid) or (self._stored(record), now - COUNT_SECONDS)
            if before == self._nothing and now - at >= COUNT_SECONDS and record.title not in reported:
                continue  # as for most of thousands of policies
            present = self._present(record, reports)
            is_due = present is not None and present != before and now - at >= COUNT_SECONDS
            shown[record.uid] = (present, now) if is_due and present is not None else (before, at)
            values[record.title] = shown[record.uid][0]
        self._shown = shown
        return values


class ShownCounts:
    """Denials, warnings, and what was only audited."""

    def __init__(self) -> None:
        self._counts = Paced(_NONE, _stored_counts, _reported_counts)

    def of(self, records: Iterable[Record], reports: Sequence[Replica], now: float) -> Counts:
        """The counts to show, by the policies' titles; zero for those without."""
        return self._counts.of(records, reports, {title for report in reports for title in report.counts}, now)


class ShownExamples:
    """Owners of what policies only audited."""

    def __init__(self) -> None:
        self._examples = Paced(_NO_EXAMPLES, _stored_examples, _reported_examples)

    def of(self, records: Iterable[Record], reports: Sequence[Replica], now: float) -> Examples:
        """The examples to show, by the policies' titles; none for those without."""
        return self._examples.of(records, reports, {title for report in reports for title in report.examples}, now)


def _stored_counts(record: Record) -> Recent:
    status = record.status
    if not isinstance(status, PolicyStatus):
        return _NONE
    return Recent(status.denials or 0, status.warnings or 0, status.without_event or 0, status.audited or 0)


def _reported_counts(record: Record, reports: Sequence[Replica]) -> Recent | None:
    """The counts of a policy by the replicas that have read it; None when none has."""
    reports = having_read(record, reports)
    if not reports:
        return None
    counts = [report.counts.get(record.title, _NONE) for report in reports]
    return Recent(
        sum(count.denials for count in counts),
        sum(count.warnings for count in counts),
        sum(count.without_event for count in counts),
        sum(count.audited for count in counts),
    )


def _stored_examples(record: Record) -> tuple[AuditedExample, ...]:
    status = record.status
    return (status.audited_examples if isinstance(status, PolicyStatus) else None) or ()


def _reported_examples(record: Record, reports: Sequence[Replica]) -> tuple[AuditedExample, ...] | None:
    """Those of each owner by the first replica that has one, sorted; None when no replica has read the policy."""
    reports = having_read(record, reports)
    if not reports:
        return None
    by_owner: dict[str, AuditedExample] = {}
    for report in reports:
        for example in report.examples.get(record.title, ()):
            by_owner.setdefault(example.owner, example)
    return tuple(by_owner[owner] for owner in sorted(by_owner)[:MAX_EXAMPLES])


def having_read(record: Record, reports: Sequence[Replica]) -> list[Replica]:
    """The reports of the replicas that have read this policy, not another one that had its name before."""
    return [report for report in reports if report.has_reached(record.resource.plural, record.created)]
