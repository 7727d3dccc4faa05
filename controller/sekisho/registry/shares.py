"""What work at registries shares, such as requests or bytes: a slow registry leaves some to others."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sekisho.turns import Tenants, Turns


class Shares:
    """Slots, and fewer for one registry. Namespaces take turns at them, and so do registries.

    slots: how many there are.
    slots_of_registry: the most that a registry holds; in it, each namespace holds as many as it leaves free.
    """

    def __init__(self, slots: int, slots_of_registry: int) -> None:
        self._slots_of_registry = slots_of_registry
        self._all = Turns(slots, is_shared=True)
        self._registry_turns = Turns(slots, is_shared=True)
        self._namespace_turns: dict[str, Turns] = {}
        self._work: Counter[str] = Counter()
        """How much work waits or has its turn, by registry."""

    @property
    def waiting(self) -> int:
        """How much work waits."""
        return sum(turns.waiting for turns in (*self._namespace_turns.values(), self._registry_turns, self._all))

    @asynccontextmanager
    async def turn(self, registry: str, tenants: Tenants, slots: int = 1) -> AsyncIterator[None]:
        """Wait for the turn of work at a registry, and have it within the context.

        slots: no more than one registry may hold.
        """
        turns = self._namespace_turns.setdefault(registry, Turns(self._slots_of_registry, is_shared=True))
        self._work[registry] += 1
        try:
            async with (
                turns.turn(tenants, slots=slots),
                self._registry_turns.turn(registry, slots=slots),
                self._all.turn(tenants, slots=slots),
            ):
                yield
        finally:
            self._work[registry] -= 1
            if not self._work[registry]:
                del self._work[registry], self._namespace_turns[registry]
