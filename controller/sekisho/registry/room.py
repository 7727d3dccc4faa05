"""Room for bytes that are held in memory at the same time."""

import asyncio
from typing import Final

UNIT: Final = 1 << 20
"""Bytes are counted in units of this size."""


class Room:
    """Room for so many bytes, given in the order of the requests."""

    def __init__(self, size: int) -> None:
        self.size = max(size // UNIT, 1)
        self.units = asyncio.Semaphore(self.size)
        self.turn = asyncio.Lock()


class Hold:
    """What one user holds of the room. End it with `release`."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._held = 0

    async def take(self, size: int) -> None:
        """Return when there is room for so many bytes; more than the whole room count as the whole.

        What was held before is given back: two users that hold a part and wait for the rest would never end.
        """
        self.release()
        wanted = min(-(-size // UNIT), self._room.size)
        async with self._room.turn:
            while self._held < wanted:
                await self._room.units.acquire()
                self._held += 1

    def release(self) -> None:
        """Give all back."""
        for _ in range(self._held):
            self._room.units.release()
        self._held = 0
