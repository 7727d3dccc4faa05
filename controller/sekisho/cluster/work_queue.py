"""A queue of keys for several workers, in lanes that take turns, with urgent keys and delays.

A lane holds the keys of one namespace. A long lane does not delay the others: each lane with a due key gives one key in
turn.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from msgspec import Struct, field

K = TypeVar("K", bound=Hashable)


class _Lane(Struct, Generic[K]):
    """The keys of a lane. Ordered dicts, as taking the first key of a plain one costs more with each key taken."""

    urgent: OrderedDict[K, None] = field(default_factory=OrderedDict)
    ready: OrderedDict[K, None] = field(default_factory=OrderedDict)
    later: OrderedDict[K, tuple[bool, asyncio.TimerHandle]] = field(default_factory=OrderedDict)

    @property
    def is_due(self) -> bool:
        return bool(self.urgent or self.ready)


class WorkQueue(Generic[K]):
    """Keys to work on. A key may be put only while it is not in the queue, such as after a worker took it."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane[K]] = {}
        self._turns: OrderedDict[str, None] = OrderedDict()
        """The lanes with due keys; the first one gives the next key."""
        self._available = asyncio.Event()
        self._hurried = False

    def put(self, key: K, lane: str, delay: float = 0.0, *, urgent: bool = False) -> None:
        """Put a key that workers may take after `delay` seconds; an `urgent` one before all others of its lane."""
        keys = self._lanes.get(lane)
        if keys is None:
            keys = self._lanes[lane] = _Lane()
        if delay > 0.0 and not self._hurried:
            timer = asyncio.get_running_loop().call_later(delay, self._fall_due, key, lane)
            keys.later[key] = urgent, timer
            return
        (keys.urgent if urgent else keys.ready)[key] = None
        self._turns.setdefault(lane)
        self._available.set()

    async def take(self) -> K:
        """Wait for a key whose delay has passed, and remove it from the queue."""
        while not self._turns:
            self._available.clear()
            await self._available.wait()
        lane, _ = self._turns.popitem(last=False)
        keys = self._lanes[lane]
        key, _ = (keys.urgent or keys.ready).popitem(last=False)
        if keys.is_due:
            self._turns[lane] = None
        self._tidy(lane)
        return key

    def remove_last(self, lane: str) -> K | None:
        """Remove the key of a lane that can wait longest; None when the lane is empty."""
        keys = self._lanes.get(lane)
        if keys is None:
            return None
        if not keys.ready and keys.later:
            key, (_, timer) = keys.later.popitem()
            timer.cancel()
        else:
            key, _ = (keys.ready or keys.urgent).popitem()
        if not keys.is_due:
            self._turns.pop(lane, None)
        self._tidy(lane)
        return key

    def hurry(self) -> None:
        """Ignore all delays from now on."""
        self._hurried = True
        for lane, keys in list(self._lanes.items()):
            for key in list(keys.later):
                self._fall_due(key, lane)

    def _fall_due(self, key: K, lane: str) -> None:
        urgent, timer = self._lanes[lane].later.pop(key)
        timer.cancel()
        self.put(key, lane, urgent=urgent)

    def _tidy(self, lane: str) -> None:
        keys = self._lanes[lane]
        if not keys.is_due and not keys.later:
            del self._lanes[lane]
