"""A queue of keys for several workers, with urgent keys first and delays."""

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Keys to work on. A key may be put only while it is not in the queue, such as after a worker took it."""

    def __init__(self) -> None:
        self._urgent: dict[K, None] = {}
        self._ready: dict[K, None] = {}
        self._later: dict[K, tuple[bool, asyncio.TimerHandle]] = {}
        self._available = asyncio.Semaphore(0)
        self._hurried = False

    def put(self, key: K, delay: float = 0.0, *, urgent: bool = False) -> None:
        """Put a key that workers may take after `delay` seconds; an `urgent` one before all others."""
        if delay > 0.0 and not self._hurried:
            timer = asyncio.get_running_loop().call_later(delay, self._fall_due, key)
            self._later[key] = urgent, timer
        else:
            (self._urgent if urgent else self._ready)[key] = None
            self._available.release()

    async def take(self) -> K:
        """Wait for a key whose delay has passed, and remove it from the queue."""
        await self._available.acquire()
        due = self._urgent or self._ready
        key = next(iter(due))
        del due[key]
        return key

    def hurry(self) -> None:
        """Ignore all delays from now on."""
        self._hurried = True
        for key in list(self._later):
            self._fall_due(key)

    def _fall_due(self, key: K) -> None:
        urgent, timer = self._later.pop(key)
        timer.cancel()
        self.put(key, urgent=urgent)
