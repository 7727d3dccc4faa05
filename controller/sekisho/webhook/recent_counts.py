"""How many requests each policy denied, warned about or audited in the last hour here, and what no Event shows."""

import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Final

from msgspec import Struct, field

from sekisho.admission import Outcome, policies_of, with_enforcement
from sekisho.cluster.events import Reason, Statement
from sekisho.cluster.reported import Recent
from sekisho.policies import Enforcement

HOUR: Final = 3600.0
SLICE: Final = 300.0
"""An hour is counted in slices, and the oldest is dropped whole: the counts may cover up to one slice less."""
MAX_POLICIES: Final = 5000
"""In a slice; further policies are not counted."""
MAX_REPORTED: Final = 200
MAX_SHARED: Final = 16
"""Combinations of policies and enforcement that are counted together before they are counted by policy."""

_DENY, _WARN = Enforcement.DENY, Enforcement.WARN  # slow to look up in Python 3.11
_NONE: Final[tuple[tuple[str, ...], int]] = ((), 0)


class _Slice(Struct):
    """The counts of a few minutes by policy.

    shared: what is not counted by policy yet: how many requests violated exactly the same policies, which a plan holds,
        by their id; the reference keeps the id from being used again.
    """

    began: float
    denials: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    audited: Counter[str] = field(default_factory=Counter)
    without_event: Counter[str] = field(default_factory=Counter)
    shared: dict[tuple[int, Enforcement], tuple[tuple[str, ...], int]] = field(default_factory=dict)

    def by_policy(self) -> None:
        """Add what is in `shared` to the counts of each policy."""
        for (_, enforcement), (names, count) in self.shared.items():
            self.add(enforcement, names, count)
        self.shared.clear()

    def add(self, enforcement: Enforcement, names: Collection[str], count: int = 1) -> None:
        """Count requests that these policies denied, warned about or audited."""
        counts = self.denials if enforcement is _DENY else self.warnings if enforcement is _WARN else self.audited
        if count == 1 and len(counts) + len(names) <= MAX_POLICIES:
            counts.update(names)
            return
        for name in names:
            _add(counts, name, count)


class RecentCounts:
    """Counts requests that violated policies, each once for every policy; dry runs are not counted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slices: deque[_Slice] = deque()

    def count(self, outcome: Outcome) -> None:
        """Count one answered review with violations."""
        if outcome.review.dry_run:
            return
        present = self._present()
        distinct = {
            (id(violation.policies), violation.enforcement): violation.policies for violation in outcome.violations
        }
        if len(distinct) > 1:
            for enforcement in {enforcement for _, enforcement in distinct}:
                present.add(enforcement, policies_of(with_enforcement(outcome.violations, enforcement)))
            return
        # The usual case: a thousand policies may share the violations of each of many requests.
        for key, policies in distinct.items():
            present.shared[key] = (policies, present.shared.get(key, _NONE)[1] + 1)
        if len(present.shared) > MAX_SHARED:
            present.by_policy()

    def count_without_event(self, content: Statement, count: int) -> None:
        """Count requests that violated policies and that no Event shows."""
        if content.reason in (Reason.POD_DENIED, Reason.POD_WARNED, Reason.POD_AUDITED):
            for name in content.policies:
                _add(self._present().without_event, name, count)

    def forget(self, policy: str) -> None:
        """Drop the counts of a deleted policy: another of its name starts at zero."""
        for slice_ in self._slices:
            slice_.by_policy()
            del slice_.denials[policy]
            del slice_.warnings[policy]
            del slice_.audited[policy]
            del slice_.without_event[policy]

    def last_hour(self) -> dict[str, Recent]:
        """The counts by policy, of the policies with most of such requests."""
        self._drop_old(self._clock())
        total = _Slice(0.0)
        for slice_ in self._slices:
            slice_.by_policy()
            total.denials.update(slice_.denials)
            total.warnings.update(slice_.warnings)
            total.audited.update(slice_.audited)
            total.without_event.update(slice_.without_event)
        most_counted = (total.denials + total.warnings + total.audited).most_common(MAX_REPORTED)
        return {
            name: Recent(total.denials[name], total.warnings[name], total.without_event[name], total.audited[name])
            for name, _ in sorted(most_counted)
        }

    def _present(self) -> _Slice:
        now = self._clock()
        if not self._slices or now - self._slices[-1].began >= SLICE:
            self._drop_old(now)
            self._slices.append(_Slice(now))
        return self._slices[-1]

    def _drop_old(self, now: float) -> None:
        while self._slices and now - self._slices[0].began >= HOUR:
            self._slices.popleft()


def _add(counts: Counter[str], name: str, count: int) -> None:
    if name in counts or len(counts) < MAX_POLICIES:
        counts[name] += count
