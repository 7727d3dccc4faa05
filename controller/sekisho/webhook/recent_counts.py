"""How many requests each policy denied or warned about in the last hour, on this replica."""

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct, field

from sekisho.admission import Outcome, policies_of, with_enforcement
from sekisho.policies import Enforcement

HOUR: Final = 3600.0
SLICE: Final = 300.0
"""An hour is counted in slices, and the oldest is dropped whole: the counts may cover up to one slice less."""
MAX_POLICIES: Final = 5000
"""In a slice; further policies are not counted."""
MAX_REPORTED: Final = 200


class _Slice(Struct):
    began: float
    denials: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)


class Tally:
    """Counts requests that policies denied or warned about, each once for every policy; dry runs are not counted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slices: deque[_Slice] = deque()

    def count(self, outcome: Outcome) -> None:
        """Count one answered review with violations."""
        if outcome.review.dry_run:
            return
        now = self._clock()
        if not self._slices or now - self._slices[-1].began >= SLICE:
            self._drop_old(now)
            self._slices.append(_Slice(now))
        for counts, enforcement in (
            (self._slices[-1].denials, Enforcement.DENY),
            (self._slices[-1].warnings, Enforcement.WARN),
        ):
            for name in policies_of(with_enforcement(outcome.violations, enforcement)):
                if name in counts or len(counts) < MAX_POLICIES:
                    counts[name] += 1

    def forget(self, policy: str) -> None:
        """Drop the counts of a deleted policy: another of its name starts at zero."""
        for slice_ in self._slices:
            del slice_.denials[policy]
            del slice_.warnings[policy]

    def last_hour(self) -> dict[str, tuple[int, int]]:
        """Denials and warnings by policy, of the policies with the most."""
        self._drop_old(self._clock())
        denials: Counter[str] = Counter()
        warnings: Counter[str] = Counter()
        for slice_ in self._slices:
            denials.update(slice_.denials)
            warnings.update(slice_.warnings)
        most = (denials + warnings).most_common(MAX_REPORTED)
        return {name: (denials[name], warnings[name]) for name, _ in sorted(most)}

    def _drop_old(self, now: float) -> None:
        while self._slices and now - self._slices[0].began >= HOUR:
            self._slices.popleft()
