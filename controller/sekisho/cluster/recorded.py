"""What the recorder of Events holds: entries, which wait for their top owner, and series; and their bytes."""

from collections import Counter, OrderedDict
from datetime import datetime
from enum import StrEnum
from sys import getsizeof
from typing import Final, Generic, TypeVar

from msgspec import Struct

from sekisho.backoff import doubling_delay
from sekisho.cluster.events import Event, Occurrence, Statement
from sekisho.cluster.owners import ObjectReference

WRITE_SECONDS = (15.0, 120.0)
"""The shortest time between two writes of a series: at first, and at most; it doubles with each write."""
_ENTRY_BYTES: Final = 300
_SERIES_BYTES: Final = 1000
"""Estimates of what an entry and a series take without the texts of the statement and of references."""


class DropReason(StrEnum):
    """Why no Event shows an occurrence."""

    QUEUE = "queue"
    """Too many entries or series."""
    OWNER_RATE = "owner_rate"
    """Too many different Events about one owner."""
    REJECTED = "rejected"
    """The API server rejected it."""
    STOPPED = "stopped"
    """The process stopped first."""
    ERROR = "error"
    """A defect."""


class HeldEntry(Struct, gc=False):
    """An occurrence whose top owner is not known yet, and how often it has happened."""

    first: Occurrence
    observed: datetime
    count: int = 1
    failures: int = 0

    @property
    def unwritten(self) -> int:
        """How many occurrences no Event shows."""
        return self.count

    @property
    def size(self) -> int:
        """An estimate of its bytes, with its key."""
        return _ENTRY_BYTES + text_bytes(self.first.statement, self.first.regarding, self.first.related)


class HeldSeries(Struct, gc=False):
    """An Event, how often it has happened, and the part of that count that is written."""

    event: Event
    text_bytes: int
    observed: datetime
    seen: float
    written_at: float = 0.0
    writes: int = 0
    count: int = 0
    written_count: int = 0
    failures: int = 0

    @property
    def unwritten(self) -> int:
        """How many occurrences the written Event does not show."""
        return self.count - self.written_count

    @property
    def size(self) -> int:
        """An estimate of its bytes, with its key. The Event has the texts of the statement in its annotations again."""
        return _SERIES_BYTES + 2 * self.text_bytes

    @property
    def due(self) -> float:
        """The monotonic time at which its count may be written next."""
        first, longest = WRITE_SECONDS
        return self.written_at + doubling_delay(first, self.writes, longest)


Key = tuple[ObjectReference, Statement]
H = TypeVar("H", HeldEntry, HeldSeries)


class Held(Generic[H]):
    """Entries or series by key, the oldest first, and their bytes by namespace."""

    def __init__(self) -> None:
        self._items: OrderedDict[Key, H] = OrderedDict()
        self._bytes: Counter[str] = Counter()
        self.bytes = 0
        """An estimate of what they take, all together."""

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Key) -> H | None:
        """The item with this key; None if there is none."""
        return self._items.get(key)

    def add(self, key: Key, item: H) -> None:
        """Hold an item as the newest; its key must be new."""
        self._items[key] = item
        self._count(key, item.size)

    def pop(self, key: Key) -> H | None:
        """Remove and return the item with this key; None if there is none."""
        item = self._items.pop(key, None)
        if item is not None:
            self._count(key, -item.size)
        return item

    def pop_oldest(self) -> None:
        """Remove the oldest item; there must be one."""
        self.pop(next(iter(self._items)))

    def largest_namespace(self) -> str:
        """The namespace with the most bytes; there must be one."""
        return max(self._bytes, key=self._bytes.__getitem__)

    @property
    def unwritten(self) -> int:
        """How many occurrences no written Event shows."""
        return sum(item.unwritten for item in self._items.values())

    def _count(self, key: Key, size: int) -> None:
        namespace = key[0].namespace
        self.bytes += size
        self._bytes[namespace] += size
        if not self._bytes[namespace]:
            del self._bytes[namespace]


def text_bytes(content: Statement, *references: ObjectReference | None) -> int:
    """The bytes of the texts of a statement and of references."""
    texts = [content.note, *content.policies, *content.controls, *content.fixes]
    for reference in references:
        if reference is not None:
            texts += (reference.api_version, reference.kind, reference.name, reference.namespace, reference.uid)
    return sum(map(getsizeof, texts))
