"""Lists that check the time before each entry of a loop over them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

CheckTime = Callable[[], None]
"""Called between checks, and between the containers, volumes and other entries that a check goes through. Raises an
error where judging must end."""


class _Timed(list[Any]):
    """A list, as pods have it, that checks the time before each entry of a loop over it."""

    def __init__(self, entries: Iterable[Any], check_time: CheckTime) -> None:
        super().__init__(entries)
        self.check_time = check_time

    def __iter__(self) -> Iterator[Any]:
        for entry in super().__iter__():
            self.check_time()
            yield entry


def timed(entries: list[T], check_time: CheckTime | None) -> list[T]:
    """A list with these entries that checks the time before each one in a loop; this list if `check_time` is None."""
    return entries if check_time is None else _Timed(entries, check_time)


def timed_like(other: Sequence[Any], entries: Sequence[T]) -> Sequence[T]:
    """A list with these entries that checks the time as the other list does; this list if that one does not."""
    return _Timed(entries, other.check_time) if isinstance(other, _Timed) else entries
