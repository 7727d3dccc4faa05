"""Turns: large reviews are decoded and judged one at a time, and namespaces take turns."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """One holder at a time. The next one is the first that waits in the namespace that had its turn longest ago.

    So however many large reviews one namespace has waiting, those of another wait for few of them.
    """

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, namespace: str, seconds: float) -> AsyncIterator[None]:
        """Have the turn within the context. Raises TimeoutError where that takes more than so many seconds."""
        async with asyncio.timeout(max(seconds, 0.0)):
            await self._take(namespace)
        try:
            yield
        finally:
            self._pass_on()

    async def _take(self, namespace: str) -> None:
        if not self._is_taken:
            self._is_taken = True
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
        self._is_taken = False
