"""Work that forked processes share."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from sekisho.cli.cores import Batch, ProcessDiedError

Work = Callable[[range], Batch]


def shared(work: Work, batches: Sequence[range], processes: int) -> Iterator[Batch]:
    """The results of all batches in their order. Raises ProcessDiedError.

    Forked processes already have the sources and the compiled policies: only ranges and results are sent. Where an
    operating system has no fork, this process does all the work.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        yield from map(work, batches)
        return
    executor = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _start, (work,))
    pending: deque[Future[Batch]] = deque()
    try:
        for batch in batches:
            pending.append(executor.submit(_run, batch))
            if len(pending) >= 4 * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise ProcessDiedError(str(error)) from None
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
