"""Single flight: those who ask the same thing at the same time share one answer."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Runs one call a key at a time; whoever asks for the key meanwhile gets the same result or exception.

    A caller that is cancelled does not take the call away from the others.
    """

    def __init__(self) -> None:
        self._calls: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    async def run(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The result of `call`, or of the call for `key` that is under way."""
        task = self._calls.get(key)
        if task is None:
            task = self._calls[key] = asyncio.create_task(call())
            task.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(task)

    def _land(self, key: K, done: asyncio.Task[V]) -> None:
        del self._calls[key]
        if not done.cancelled():
            done.exception()  # every caller may be gone; asyncio would complain that nobody looked at it
