"""The policies whose status is known to be up to date: most need no second computation after a change of one."""

from typing import Any

from sekisho.operator.records import Record
from sekisho.operator.status import View
from sekisho.policies.status import Conflict


class CurrentStatuses:
    """The policies whose status was up to date when it was last computed, with what it depended on.

    Call `compare` with each view before the methods that take it. Waivers, authorities and catalogs are never kept:
    their status also depends on the time.
    """

    def __init__(self) -> None:
        self._by_uid: dict[str, tuple[Record, tuple[Any, ...]]] = {}
        self._common: tuple[Any, ...] = ()

    def compare(self, view: View) -> None:
        """Forget all policies if what their statuses have in common is another in this view."""
        replicas = [(replica.name, replica.problem, replica.unusable) for replica in view.replicas]
        common = (replicas, view.silent, view.proof)
        if common != self._common:
            self._by_uid.clear()
        self._common = common

    def has(self, record: Record, conflicts: tuple[Conflict, ...], view: View) -> bool:
        """Whether the status of a record is known to be up to date in this view."""
        known = self._by_uid.get(record.uid)
        return known is not None and known[0] is record and known[1] == _parts(record, conflicts, view)

    def add(self, record: Record, conflicts: tuple[Conflict, ...], view: View) -> None:
        """Note that the status of a record is up to date in this view."""
        if record.is_policy:
            self._by_uid[record.uid] = record, _parts(record, conflicts, view)

    def forget(self, uid: str) -> None:
        """Forget a policy that is deleted."""
        self._by_uid.pop(uid, None)


def _parts(record: Record, conflicts: tuple[Conflict, ...], view: View) -> tuple[Any, ...]:
    """What the status depends on that is not the same for all policies."""
    plural, since = record.resource.plural, record.since
    reached = [replica.has_reached(plural, since) for replica in view.replicas]
    title = record.title
    shown = view.counts.get(title), view.examples.get(title), view.waivers.get(title), view.impacts.get(record.uid)
    return conflicts, shown, reached
