"""Checking on several cores: in batches, with the results in order."""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from sekisho.errors import SekishoError
from sekisho.manifests import Checker, Checks, Source

BATCH: Final = 64
SMALLEST_SHARED: Final = 512 * 1024
"""Characters of input from which more processes save more time than their start costs."""

Batch = list[Checks]


class ProcessDiedError(SekishoError):
    """A process that checked manifests ended before it had results."""


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def without_collecting() -> Iterator[None]:
    """Switch off garbage collection: a large document has many nodes and no cycles, and searching them is slow."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def check_all(sources: Sequence[Source], checker: Checker, processes: int) -> Iterator[Batch]:
    """The results for all sources in their order, in batches. Raises ProcessDiedError."""

    def work(batch: range) -> Batch:
        return [checker.check(sources[index]) for index in batch]

    batches = [range(start, min(start + BATCH, len(sources))) for start in range(0, len(sources), BATCH)]
    is_large = sum(len(source.text) for source in sources) >= SMALLEST_SHARED
    if min(processes, len(batches)) < 2 or not is_large:
        return map(work, batches)
    from sekisho.cli import forks  # loads multiprocessing, which takes a tenth of a small check

    return forks.shared(work, batches, min(processes, len(batches)))
