"""Checking on several cores: in batches, with the results in order."""

import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Final

from sekisho.manifests import Checker, Checks, Source

BATCH: Final = 64
SMALLEST_SHARED: Final = 512 * 1024
"""Characters of input from which more processes save more time than their start costs."""

Batch = list[Checks]
Work = Callable[[range], Batch]


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
    """The results for all sources in their order, in batches."""

    def work(batch: range) -> Batch:
        return [checker.check(sources[index]) for index in batch]

    batches = [range(start, min(start + BATCH, len(sources))) for start in range(0, len(sources), BATCH)]
    is_large = sum(len(source.text) for source in sources) >= SMALLEST_SHARED
    if min(processes, len(batches)) < 2 or not is_large or "fork" not in multiprocessing.get_all_start_methods():
        return map(work, batches)
    return _shared(work, batches, min(processes, len(batches)))


def _shared(work: Work, batches: Sequence[range], processes: int) -> Iterator[Batch]:
    """Forked processes already have the sources and the compiled policies: only ranges and results are sent."""
    executor = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _start, (work,))
    pending: deque[Future[Batch]] = deque()
    try:
        for batch in batches:
            pending.append(executor.submit(_run, batch))
            if len(pending) >= 4 * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


_work: list[Work] = []


def _start(work: Work) -> None:
    """Initialize a forked process. It ignores interrupts, because its parent handles them and stops it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work[:] = [work]


def _end_with_parent() -> None:
    """Exit when the parent is killed; the process would otherwise wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(batch: range) -> Batch:
    return _work[0](batch)
