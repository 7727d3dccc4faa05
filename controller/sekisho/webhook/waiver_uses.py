"""How often waivers exempted pods, when they last did, and which owners' pods: for the status of waivers."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct, field

from sekisho.admission import Outcome
from sekisho.cluster.owners import apparent_owner
from sekisho.cluster.reported import WaiverUse
from sekisho.policies.status import MAX_WAIVER_OWNERS

HOUR: Final = 3600.0
SLICE: Final = 300.0
"""An hour is counted in slices, and the oldest is dropped whole."""
MAX_WAIVERS: Final = 2000
"""Further ones are not counted."""


class _Uses(Struct):
    """The uses of one waiver since the process began: how many, and when its last owners used it, the last one last."""

    total: int = 0
    owners: dict[str, datetime] = field(default_factory=dict)


class WaiverUses:
    """Counts the pods that waivers exempted; dry runs and pod templates do not count.

    clock: the monotonic time, in seconds.
    wall_clock: the time for people.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._uses: dict[str, _Uses] = {}
        self._slices: deque[tuple[float, Counter[str]]] = deque()
        self.began = wall_clock()
        """Tells the counts of this process from those of another one under its name."""

    def count(self, outcome: Outcome) -> None:
        """Count one answered review in which waivers exempted something."""
        if outcome.review.dry_run or not outcome.review.is_pod:
            return
        owner, now = apparent_owner(outcome.review), self._wall_clock()
        present = self._present()
        for waiver in dict.fromkeys(waived.waiver for waived in outcome.waived):
            uses = self._uses.get(waiver)
            if uses is None:
                if len(self._uses) >= MAX_WAIVERS:
                    continue
                uses = self._uses[waiver] = _Uses()
            uses.total += 1
            present[waiver] += 1
            uses.owners.pop(owner, None)
            uses.owners[owner] = now
            if len(uses.owners) > MAX_WAIVER_OWNERS:
                del uses.owners[next(iter(uses.owners))]

    def forget(self, waiver: str) -> None:
        """Drop the counts of a deleted waiver: another of its name starts at zero."""
        self._uses.pop(waiver, None)
        for _, counts in self._slices:
            del counts[waiver]

    def by_waiver(self) -> Mapping[str, WaiverUse]:
        """The uses since the process began, of the waiver that was used last first."""
        self._drop_old(self._clock())
        last_hour: Counter[str] = Counter()
        for _, counts in self._slices:
            last_hour.update(counts)
        latest = sorted(self._uses.items(), key=lambda item: (max(item[1].owners.values()), item[0]), reverse=True)
        return {
            waiver: WaiverUse(uses.total, last_hour[waiver], tuple(reversed(uses.owners.items())))
            for waiver, uses in latest
        }

    def _present(self) -> Counter[str]:
        now = self._clock()
        if not self._slices or now - self._slices[-1][0] >= SLICE:
            self._drop_old(now)
            self._slices.append((now, Counter()))
        return self._slices[-1][1]

    def _drop_old(self, now: float) -> None:
        while self._slices and now - self._slices[0][0] >= HOUR:
            self._slices.popleft()
