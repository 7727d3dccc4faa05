"""What has arrived and waits: the loop reads and answers little of it at a time, and clients' addresses take turns.

Requests that arrive together would otherwise be answered one after the other, and others would wait for all of them.
What the API server sent goes before what others sent: a crowd at the same address must not make pods wait.
"""

import asyncio
import time
from typing import Final, Protocol

from sekisho.webhook.waiting import Waiting

MAX_IN_A_TURN: Final = 4
"""Reads in one turn of the event loop, such as of a request's head and body. Each may lead to one review. Where several
requests came in one read, each answer after the first counts like a read."""
MAX_SECONDS: Final = 0.005
"""The time after which nothing further begins in the same turn."""


class InTurn(Protocol):
    """A connection of which something has arrived that is not read or not answered yet."""

    def go_on(self) -> None:
        """Read what has arrived, or answer the request."""


class Backlog:
    """Connections whose reads and answers wait for a later turn of the event loop."""

    def __init__(self) -> None:
        self._known: Waiting[InTurn] = Waiting()
        self._waiting: Waiting[InTurn] = Waiting()
        self._begun = 0
        self._began = 0.0
        self._is_scheduled = False
        self._may_have_waiting = False
        self.turn = 0
        """The number of the present turn."""

    def take(self) -> bool:
        """Whether a connection may read, or answer a further request, in this turn. It must call `add` otherwise."""
        if len(self._waiting) or len(self._known) or not self._has_time():
            return False
        if not self._begun:
            self._began = time.perf_counter()
            self._schedule()
        self._begun += 1
        return True

    @property
    def is_free(self) -> bool:
        """Whether `take` may give true; false where it is known to give false."""
        return self._begun < MAX_IN_A_TURN and not self._may_have_waiting

    def add(self, connection: InTurn, address: str, *, is_known: bool = False) -> None:
        """Have a connection go on in a later turn of the loop, when its address has its turn. It must not wait yet.

        is_known: whether the API server sent what waits.
        """
        (self._known if is_known else self._waiting).add(connection, address)
        self._may_have_waiting = True
        self._schedule()

    def remove(self, connection: InTurn) -> None:
        """Forget a connection that is closed, if it waits."""
        self._known.remove(connection)
        self._waiting.remove(connection)

    def _has_time(self) -> bool:
        return not self._begun or (self._begun < MAX_IN_A_TURN and time.perf_counter() - self._began < MAX_SECONDS)

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._is_scheduled = False
        self.turn += 1
        self._begun = 0
        self._may_have_waiting = bool(len(self._waiting) or len(self._known))
        if not self._may_have_waiting:
            return
        self._began = time.perf_counter()
        self._schedule()
        while len(self._known) and self._has_time():
            self._go_on(self._known)
        # One at least: who the API server is may not be known here yet.
        must_go_on = True
        while len(self._waiting) and (must_go_on or self._has_time()):
            must_go_on = False
            self._go_on(self._waiting)

    def _go_on(self, waiting: Waiting[InTurn]) -> None:
        connection, _ = waiting.next_in_turn()
        self._begun += 1
        connection.go_on()
