"""Logs: one JSON object a line, on stderr, and of each logger so many lines a second at most.

A thread writes them, so that nobody who logs waits for whoever reads stderr.
"""

import logging
import os
import time
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from sekisho.telemetry.rates import TokenBucket

LEVELS = ("debug", "info", "warning", "error")

BURST, PER_SECOND = 500.0, 100.0
"""What one logger may write at once, and in the long run: a storm of denials fills no disk."""

MAX_WAITING = 5000
"""Lines that are not written yet; past it, lines are left out."""
FLUSH_SECONDS = 2.0
"""The time that what is left has to be written when the process ends."""
_STDERR = 2

_KOPF_INTERNALS = ("settings", "k8s_skip", "k8s_ref")
"""What kopf hangs on its records for its own handlers; `settings` alone would print as a page."""


class Throttle(logging.Filter):
    """Leaves out what a logger writes beyond its rate; the next line that passes tells how many as `suppressed`.

    Each logger has a rate of its own, so that a storm of denials hides no error. There are as many loggers as modules.
    """

    def __init__(self) -> None:
        super().__init__()
        self.suppressed = 0
        """How many lines were left out so far."""
        self._buckets: dict[str, TokenBucket] = {}
        self._untold: dict[str, int] = {}

    def admits(self, logger: str) -> bool:
        """Whether a line would be written now; counted if not. To ask before a line that is work to put together."""
        if self._bucket(logger).has_one(time.monotonic()):
            return True
        self.leave_out(logger)
        return False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if not self._bucket(record.name).take(time.monotonic()):
            self.leave_out(record.name)
            return False
        untold = self._untold.pop(record.name, 0)
        if untold:
            record.suppressed = untold
        return True

    def leave_out(self, logger: str) -> None:
        """Count a line that is not written."""
        self.suppressed += 1
        self._untold[logger] = self._untold.get(logger, 0) + 1

    def _bucket(self, logger: str) -> TokenBucket:
        bucket = self._buckets.get(logger)
        if bucket is None:
            bucket = self._buckets[logger] = TokenBucket(BURST, PER_SECOND)
        return bucket


throttle = Throttle()
"""The one of this process, as logging is one a process."""


class _Aside(QueueHandler):
    """Hands records over to another thread, and leaves out those for which there is no room."""

    queue: Queue[logging.LogRecord]

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # it stays in this process, and is put into words where it is written

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except Full:
            throttle.leave_out(record.name)

    def flush(self) -> None:
        """Wait until all is written, but not without end: `logging` itself asks for it when the process ends."""
        done = self.queue.all_tasks_done
        with done:
            done.wait_for(lambda: not self.queue.unfinished_tasks, FLUSH_SECONDS)


class _Writer(QueueListener):
    """Writes records to stderr, without a handler or a file: both have locks, which a process that ends waits for."""

    def __init__(self, records: Queue[logging.LogRecord], formatter: logging.Formatter) -> None:
        super().__init__(records)
        self._formatter = formatter

    def handle(self, record: logging.LogRecord) -> None:
        """Write a record. Never raises."""
        try:
            left = memoryview(f"{self._formatter.format(record)}\n".encode(errors="backslashreplace"))
            while left:
                left = left[os.write(_STDERR, left) :]
        except Exception:  # nobody is left to be told
            throttle.leave_out(record.name)


def configure(level: str) -> None:
    """Send every log record from `level` (one of LEVELS) on to stderr: time, level, logger, message and `extra`."""
    formatter = JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "traceback"},
        timestamp="time",
        reserved_attrs=[*RESERVED_ATTRS, *_KOPF_INTERNALS],
    )
    handler = _Aside(Queue(MAX_WAITING))
    handler.addFilter(throttle)
    _Writer(handler.queue, formatter).start()
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    if level != "debug":
        # kopf tells each handled event at info, which is the reader's business only when kopf itself is in doubt.
        logging.getLogger("kopf").setLevel(logging.WARNING)
