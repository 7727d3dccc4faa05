"""The uses of waivers, as their statuses show them: what replicas report, added to what is stored."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from sekisho.cluster.replicas import Replica
from sekisho.cluster.reported import WaiverUse
from sekisho.operator.records import Record
from sekisho.operator.shown_counts import Paced, having_read
from sekisho.policies.status import MAX_WAIVER_OWNERS, PolicyWaiverStatus, WaiverOwner
from sekisho.timestamps import rfc3339


class Uses(Struct, frozen=True):
    """How often a waiver exempted pods since it was created and in the last hour, and its owners, the latest first."""

    total: int = 0
    last_hour: int = 0
    owners: tuple[WaiverOwner, ...] = ()


_NONE = Uses()


class ShownUses:
    """Adds up the uses of waivers. Those of one change once a minute at most.

    A replica counts since it began. What it had counted when this process began is not added to a stored number, which
    has most of that already: uses while no controller led are lost then.
    """

    def __init__(self) -> None:
        self._shown = Paced(_NONE, stored_uses, self._reported, lambda record: record.is_waiver)
        self._totals: dict[str, int] = {}
        """By uid."""
        self._counted: dict[tuple[str, str, datetime], int] = {}
        """What is in the totals already, by waiver, replica, and the time at which that one began."""
        self._at_start: Mapping[tuple[str, datetime], Mapping[str, WaiverUse]] | None = None
        """What replicas had counted when this process first saw them, by replica and the time at which it began."""

    def of(self, records: Iterable[Record], reports: Sequence[Replica], now: float) -> Mapping[str, Uses]:
        """The uses to show, by the waivers' names; none for those without.

        now: the monotonic time, in seconds.
        """
        processes = {(report.name, report.waivers.began): report.waivers.uses for report in reports}
        if self._at_start is None:
            self._at_start = processes
        shown = self._shown.of(records, reports, {name for report in reports for name in report.waivers.uses}, now)
        self._counted = {key: count for key, count in self._counted.items() if key[1:] in processes}
        return shown

    def forget(self, uid: str) -> None:
        """Forget a waiver that is deleted."""
        self._totals.pop(uid, None)
        self._counted = {key: count for key, count in self._counted.items() if key[0] != uid}

    def _reported(self, record: Record, reports: Sequence[Replica]) -> Uses | None:
        reports = having_read(record, reports)
        if not reports:
            return None
        stored = stored_uses(record)
        total = self._totals.get(record.uid, stored.total)
        owners = {one.owner: one.last_used for one in stored.owners}
        last_hour = 0
        for report in reports:
            use = report.waivers.uses.get(record.title)
            if use is None:
                continue
            total += self._new_uses(record, report, use.total, is_stored=stored.total > 0)
            last_hour += use.last_hour
            for owner, used in use.owners:
                owners[owner] = max(rfc3339(used), owners.get(owner, ""))
        self._totals[record.uid] = total
        latest = sorted(owners.items(), key=lambda item: (item[1], item[0]), reverse=True)[:MAX_WAIVER_OWNERS]
        return Uses(total, last_hour, tuple(WaiverOwner(owner, used) for owner, used in latest))

    def _new_uses(self, record: Record, report: Replica, count: int, *, is_stored: bool) -> int:
        """How many of a replica's uses are not in the total yet."""
        process = report.name, report.waivers.began
        key = record.uid, *process
        known = self._counted.get(key)
        if known is None:
            before = (self._at_start or {}).get(process, {}).get(record.title)
            known = before.total if before is not None and is_stored else 0
        self._counted[key] = count
        return max(0, count - known)


def stored_uses(record: Record) -> Uses:
    """The uses in a waiver's status."""
    status = record.status
    if not isinstance(status, PolicyWaiverStatus):
        return _NONE
    return Uses(status.uses or 0, status.uses_last_hour or 0, status.used_by or ())
