"""A queue of keys for several workers: the urgent come first, and each comes when it is due."""

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Keys to work on. A key is in it once at most; whoever took it may put it back, to try again later."""

    def __init__(self) -> None:
        self._urgent: dict[K, None] = {}
        self._ready: dict[K, None] = {}
        self._later: dict[K, tuple[bool, asyncio.TimerHandle]] = {}
        self._available = asyncio.Semaphore(0)
        self._hurried = False

    def put(self, key: K, delay: float = 0.0, *, urgent: bool = False) -> None:
        """Have `key` taken in `delay` seconds, before others that are due then where it is `urgent`."""
        if delay > 0.0 and not self._hurried:
            timer = asyncio.get_running_loop().call_later(delay, self._fall_due, key)
            self._later[key] = urgent, timer
        else:
            (self._urgent if urgent else self._ready)[key] = None
            self._available.release()

    async def take(self) -> K:
        """Wait for a key that is due, and take it out."""
        await self._available.acquire()
        due = self._urgent or self._ready
        key = next(iter(due))
        del due[key]
        return key

    def hurry(self) -> None:
        """From now on every key is due at once."""
        self._hurried = True
        for key in list(self._later):
            self._fall_due(key)

    def _fall_due(self, key: K) -> None:
        urgent, timer = self._later.pop(key)
        timer.cancel()
        self.put(key, urgent=urgent)
