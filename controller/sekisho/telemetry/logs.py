"""Logs: one JSON object a line on stderr, at a bounded rate for each logger.

A thread writes them, so that a slow reader of stderr does not delay the process.
"""

import logging
import os
import threading
import time
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from sekisho.telemetry.rates import TokenBucket

LEVELS = ("debug", "info", "warning", "error")

BURST, PER_SECOND = 500.0, 100.0
"""Lines that one logger may write at once, and a second in the long run: a storm of denials must not fill a disk."""

MAX_WAITING = 5000
"""Lines that wait to be written; further lines are dropped."""
GATHER_SECONDS = 0.05
"""How long a line waits for others."""
MAX_GATHERED_BYTES = 64 * 1024
FLUSH_SECONDS = 2.0
"""How long waiting lines may still be written when the process ends."""
_STDERR = 2

_KOPF_INTERNALS = ("settings", "k8s_skip", "k8s_ref")
"""Attributes that kopf adds to its records for its own handlers."""


class Throttle(logging.Filter):
    """Drops the lines of a logger that exceed its rate; the next line has their number as `suppressed`.

    Each logger has a rate of its own, so that a storm of denials hides no error. There is one logger for each module.
    """

    def __init__(self) -> None:
        super().__init__()
        self.suppressed = 0
        """Lines dropped so far."""
        self._buckets: dict[str, TokenBucket] = {}
        self._unreported: dict[str, int] = {}

    def admits(self, logger: str) -> bool:
        """Whether a line would be written now; counts it as dropped when not. For lines that are costly to build."""
        if self._bucket(logger).has_one(time.monotonic()):
            return True
        self.drop(logger)
        return False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if not self._bucket(record.name).take(time.monotonic()):
            self.drop(record.name)
            return False
        unreported = self._unreported.pop(record.name, 0)
        if unreported:
            record.suppressed = unreported
        return True

    def drop(self, logger: str) -> None:
        """Count a line that is not written."""
        self.suppressed += 1
        self._unreported[logger] = self._unreported.get(logger, 0) + 1

    def _bucket(self, logger: str) -> TokenBucket:
        bucket = self._buckets.get(logger)
        if bucket is None:
            bucket = self._buckets[logger] = TokenBucket(BURST, PER_SECOND)
        return bucket


throttle = Throttle()
"""The throttle of this process's root logger."""


class _Aside(QueueHandler):
    """Hands records over to another thread, and drops those for which there is no room."""

    queue: Queue[logging.LogRecord]

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # it stays in this process and is formatted by the thread that writes it

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except Full:
            throttle.drop(record.name)

    def flush(self) -> None:
        """Wait until all is written, for FLUSH_SECONDS at most: `logging` calls this when the process ends."""
        done = self.queue.all_tasks_done
        with done:
            done.wait_for(lambda: not self.queue.unfinished_tasks, FLUSH_SECONDS)


class _Writer(QueueListener):
    """Writes records to stderr, without a handler or a file: an ending process would wait for their locks.

    Lines are gathered for a moment and written together. Each time that the thread wakes up, it takes the interpreter
    from the thread that answers reviews, which costs more than to format a line.
    """

    def __init__(self, records: Queue[logging.LogRecord], formatter: logging.Formatter) -> None:
        super().__init__(records)
        self._records = records
        self._formatter = formatter
        self._never = threading.Event()
        self._lines = bytearray()

    def dequeue(self, block: bool) -> logging.LogRecord:
        """The next record; where none waits yet, a moment after it came."""
        was_empty = self._records.empty()
        record = super().dequeue(block)
        if was_empty:
            self._never.wait(GATHER_SECONDS)
        return record

    def handle(self, record: logging.LogRecord) -> None:
        """Write a record together with those before it, unless another follows at once. Never raises."""
        try:
            self._lines += f"{self._formatter.format(record)}\n".encode(errors="backslashreplace")
        except Exception:  # there is nowhere to report it
            throttle.drop(record.name)
        if self._records.empty() or len(self._lines) > MAX_GATHERED_BYTES:
            lines, self._lines = memoryview(bytes(self._lines)), bytearray()
            try:
                while lines:
                    lines = lines[os.write(_STDERR, lines) :]
            except OSError:  # nobody reads them any more
                throttle.drop(record.name)


def configure(level: str) -> None:
    """Write each log record of at least `level` (one of LEVELS) to stderr: time, level, logger, message and `extra`."""
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
        # kopf logs each handled event at info.
        logging.getLogger("kopf").setLevel(logging.WARNING)
