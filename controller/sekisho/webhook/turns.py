"""Turns at work of which only so much is done at a time, such as large reviews: namespaces take turns."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """So many holders at a time. The next one is the first that waits in the namespace that had its turn longest ago.

    So however much one namespace has waiting, the work of another waits for little of it.
    """

    def __init__(self, holders: int = 1) -> None:
        self._free = holders
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, namespace: str, seconds: float | None = None) -> AsyncIterator[None]:
        """Have a turn within the context. Raises TimeoutError where it takes more than so many seconds to come.

        seconds: None to wait as long as it takes.
        """
        async with asyncio.timeout(None if seconds is None else max(seconds, 0.0)):
            await self._take(namespace)
        try:
            yield
        finally:
            self._pass_on()

    async def _take(self, namespace: str) -> None:
        if self._free:
            self._free -= 1
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(namespace, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():  # it was given the turn in the meantime
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            namespace = next(iter(self._waiting))
            waiting = self._waiting.pop(namespace)
            first = waiting.popleft()
            if waiting:
                self._waiting[namespace] = waiting  # now the last
            if not first.done():  # it still waits
                first.set_result(None)
                return
        self._free += 1
