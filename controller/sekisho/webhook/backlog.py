"""What has arrived and waits to be read: the loop reads little of it at a time, and clients' addresses take turns.

Requests that arrive together would otherwise be answered one after the other, and others would wait for all of them.
"""

import asyncio
import time
from typing import Final, Protocol

from sekisho.webhook.waiting import Waiting

MAX_AT_ONCE: Final = 4
"""Reads in one turn of the event loop, such as of a request's head and body. Each may lead to one review."""
MAX_SECONDS: Final = 0.005
"""The time after which no further read begins in the same turn."""


class Unread(Protocol):
    """A connection of which something has arrived that is not read yet."""

    def read_on(self) -> None:
        """Read it."""


class Backlog:
    """Connections whose reads wait for a later turn of the event loop."""

    def __init__(self) -> None:
        self._waiting: Waiting[Unread] = Waiting()
        self._reads = 0
        self._began = 0.0

    def take(self) -> bool:
        """Whether a connection may read at once. It must call `add` otherwise."""
        if len(self._waiting) or not self._has_time():
            return False
        if not self._reads:
            self._began = time.perf_counter()
            asyncio.get_running_loop().call_soon(self._next_turn)
        self._reads += 1
        return True

    def add(self, connection: Unread, address: str) -> None:
        """Have a connection read in a later turn of the loop, when its address has its turn. It must not wait yet."""
        self._waiting.add(connection, address)

    def remove(self, connection: Unread) -> None:
        """Forget a connection that is closed, if it waits."""
        self._waiting.remove(connection)

    def _has_time(self) -> bool:
        return not self._reads or (self._reads < MAX_AT_ONCE and time.perf_counter() - self._began < MAX_SECONDS)

    def _next_turn(self) -> None:
        self._reads = 0
        if not len(self._waiting):
            return
        self._began = time.perf_counter()
        asyncio.get_running_loop().call_soon(self._next_turn)
        while len(self._waiting) and self._has_time():
            connection, _ = self._waiting.next_in_turn()
            self._reads += 1
            connection.read_on()
