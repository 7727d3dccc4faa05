"""Room for bytes that are held in memory at the same time."""

import asyncio
from contextlib import AsyncExitStack
from typing import Final

from sekisho.registry.shares import Shares
from sekisho.turns import Tenants

UNIT: Final = 1 << 16
"""Bytes are counted in units of this size."""


class Room:
    """Room for `size` bytes. A registry may hold half of them; there, a namespace as many as it leaves free."""

    def __init__(self, size: int) -> None:
        self.units_of_registry = max(size // UNIT // 2, 1)
        self.units = Shares(2 * self.units_of_registry, self.units_of_registry)


class Hold:
    """What some work at a registry holds of the room, for namespaces. End it with `release`."""

    def __init__(self, room: Room, registry: str = "", tenants: Tenants = "") -> None:
        self._room = room
        self._registry = registry
        self._tenants = tenants
        self._size = 0
        self._held = AsyncExitStack()
        self._lock = asyncio.Lock()

    async def take(self, size: int) -> None:
        """Return when there is room for `size` bytes more; more than a registry may hold count as that.

        What was held before is given back meanwhile: two that hold a part and wait for the rest would never end.
        """
        self._size += size
        async with self._lock:
            await self.release()
            units = min(-(-self._size // UNIT), self._room.units_of_registry)
            await self._held.enter_async_context(self._room.units.turn(self._registry, self._tenants, units))

    async def release(self) -> None:
        """Give back all that is held."""
        await self._held.aclose()
