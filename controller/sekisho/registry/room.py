"""Room for bytes that are held in memory at the same time."""

import asyncio
from typing import Final

from sekisho.turns import Turns, Users

UNIT: Final = 1 << 16
"""Bytes are counted in units of this size."""


class Room:
    """Room for so many bytes. A namespace may hold only as many as it leaves free."""

    def __init__(self, size: int) -> None:
        self.size = max(size // UNIT, 1)
        self.units = Turns(self.size, is_shared=True)


class Hold:
    """What some work holds of the room, for namespaces. End it with `release`."""

    def __init__(self, room: Room, users: Users = "") -> None:
        self._room = room
        self._users = users
        self._holder = ""
        self._size = 0
        self._held = 0
        self._lock = asyncio.Lock()

    async def take(self, size: int) -> None:
        """Return when there is room for so many bytes more; more than the whole room count as the whole.

        What was held before is given back meanwhile: two that hold a part and wait for the rest would never end.
        """
        self._size += size
        async with self._lock:
            self.release()
            wanted = min(-(-self._size // UNIT), self._room.size)
            self._holder = await self._room.units.take(self._users, wanted)
            self._held = wanted

    def release(self) -> None:
        """Give all back."""
        if self._held:
            self._room.units.give_back(self._holder, self._held)
        self._held = 0
