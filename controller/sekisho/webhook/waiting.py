"""What waits for its client to send the rest: handshakes, heads of requests, bodies.

An honest client sends all of it at once. So where too much waits, what has waited for longest is given up, of the
address that has the most of it waiting: clients at other addresses are not affected.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiting(Generic[T]):
    """Things that wait, by the address of their client, each in the order in which they began."""

    def __init__(self) -> None:
        self._addresses: dict[T, str] = {}
        self._by_address: dict[str, dict[T, None]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._addresses)

    def __iter__(self) -> Iterator[T]:
        """All of them, as they are at this moment."""
        return iter(list(self._addresses))

    def add(self, thing: T, address: str) -> None:
        """Add what begins to wait; it must not wait already."""
        self._addresses[thing] = address
        self._by_address.setdefault(address, {})[thing] = None

    def remove(self, thing: T) -> None:
        """Remove what no longer waits, if it is there."""
        address = self._addresses.pop(thing, None)
        if address is not None:
            waiting = self._by_address[address]
            del waiting[thing]
            if not waiting:
                del self._by_address[address]

    def longest(self, size: Callable[[T], int] | None = None) -> T:
        """What has waited for longest, of the address with the most. Raises ValueError when nothing waits.

        size: how much one counts; None where all count the same.
        """

        def total(waiting: dict[T, None]) -> int:
            return len(waiting) if size is None else sum(map(size, waiting))

        largest: dict[T, None] = max(self._by_address.values(), key=total)
        return next(iter(largest))

    def next_in_turn(self) -> tuple[T, str]:
        """Remove what has waited for longest at the address whose turn it is, and give it with its address.

        Addresses take turns. Raises StopIteration when nothing waits.
        """
        address = next(iter(self._by_address))
        waiting = self._by_address.pop(address)
        thing = next(iter(waiting))
        del waiting[thing], self._addresses[thing]
        if waiting:
            self._by_address[address] = waiting  # now the last
        return thing, address
