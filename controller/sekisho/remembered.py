"""Caches of computed values, bounded in bytes: they keep only what was computed for admitted pods.

Users who create pods decide what is computed about them. So what is computed during a trial, as every review is, is
only noted. It is kept when the pod is admitted, and forgotten when the pod is denied or this is a dry run. So nobody
can fill the memory with pods that never exist, or crowd out what others need. Outside of a trial, such as offline,
everything is kept.
"""

import threading
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_NOTED: Final = 1024
"""Values of one trial; others are computed each time that they are needed."""


class _Trial(threading.local):
    """The trial of this thread: values by the number of their store and their key, and how each is kept."""

    noted: dict[tuple[int, Hashable], tuple[object, Callable[[], None]]] | None = None


_trial: Final = _Trial()


def begin_trial() -> None:
    """Only note what this thread computes from now on. Always followed by `end_trial`."""
    _trial.noted = {}


def end_trial(*, keep: bool) -> None:
    """End the trial of this thread: keep or forget what was noted."""
    noted, _trial.noted = _trial.noted, None
    if keep and noted:
        for _, keep_it in noted.values():
            keep_it()


def noted(store: object, key: Hashable) -> object | None:
    """What this thread's trial has noted for a key of a store; None if there is nothing, or no trial."""
    values = _trial.noted
    known = values.get((id(store), key)) if values else None
    return None if known is None else known[0]


def note(store: object, key: Hashable, value: object, keep: Callable[[], None]) -> None:
    """Have `keep` called when the trial of this thread ends with an admitted pod; at once where there is no trial."""
    values = _trial.noted
    if values is None:
        keep()
    elif len(values) < MAX_NOTED:
        values[id(store), key] = (value, keep)


class Remembered(Generic[K, V]):
    """Values by their keys, within a number of bytes; past it, everything is forgotten.

    size_of: the estimated bytes of a key and its value.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[K, V], int]) -> None:
        self._max_bytes = max_bytes
        self._size_of = size_of
        self.known: dict[K, V] = {}
        """Look up here first; not to be changed."""
        self.bytes = 0
        """An estimate of what it holds."""

    def get(self, key: K, compute: Callable[[K], V]) -> V:
        """The value of a key, computed if it is not known. What `compute` raises is not remembered."""
        value = self.known.get(key)
        if value is None and _trial.noted:
            value = noted(self, key)  # type: ignore[assignment]
        if value is None:
            value = compute(key)
            self.add(key, value)
        return value

    def add(self, key: K, value: V) -> None:
        """Remember the value of a key: now, or when the trial of this thread ends with an admitted pod."""
        note(self, key, value, lambda: self._keep(key, value))

    def _keep(self, key: K, value: V) -> None:
        size = self._size_of(key, value)
        if size > self._max_bytes or key in self.known:
            return
        if self.bytes + size > self._max_bytes:
            self.known.clear()
            self.bytes = 0
        self.known[key] = value
        self.bytes += size
