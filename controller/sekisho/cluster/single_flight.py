"""Single flight: concurrent calls for the same key share one result."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Runs one call for each key at a time; other callers for the key get the same result or exception.

    When one caller is cancelled, the call goes on for the others.
    """

    def __init__(self) -> None:
        self._calls: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, key: object) -> bool:
        """Whether a call for the key is running."""
        return key in self._calls

    async def run(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The result of `call`, or of the running call for `key`."""
        task = self._calls.get(key)
        if task is None:
            task = self._calls[key] = asyncio.create_task(call())
            task.add_done_callback(lambda done: self._end(key, done))
        return await asyncio.shield(task)

    def _end(self, key: K, done: asyncio.Task[V]) -> None:
        del self._calls[key]
        if not done.cancelled():
            done.exception()  # when all callers were cancelled, asyncio would log that nobody read it
