"""Logs: one JSON object a line on stderr, at a bounded rate for each logger.

A thread writes them, so that a slow reader of stderr does not delay the process.
"""

import json
import logging
import os
import threading
import time
from datetime import UTC, datetime
from queue import SimpleQueue

from sekisho.telemetry.rates import TokenBucket
from sekisho.timestamps import micro_time

LEVELS = ("debug", "info", "warning", "error")

BURST, PER_SECOND = 500.0, 100.0
"""Lines that one logger may write in a burst, and a second in the long run: many denials must not fill a disk."""

MAX_WAITING = 5000
"""Lines that wait to be written; further lines are dropped."""
GATHER_SECONDS = 0.05
"""How long a line waits for others."""
MAX_GATHERED_BYTES = 64 * 1024
FLUSH_SECONDS = 2.0
"""How long waiting lines may still be written when the process ends."""
_STDERR = 2

_NOT_EXTRA = frozenset(
    {
        *logging.makeLogRecord({}).__dict__,
        *("message", "asctime"),
        *("settings", "k8s_skip", "k8s_ref"),  # kopf adds these to its records for its own handlers
    }
)
"""Attributes of a record that are not written as they are."""


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


class _Aside(logging.Handler):
    """Hands records over to another thread, and drops those for which there is no room."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
        self._handed_over = 0
        self._writer = _Writer(self.queue)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record over; it is formatted by the thread that writes it."""
        if self.queue.qsize() >= MAX_WAITING:
            throttle.drop(record.name)
        else:
            self._handed_over += 1
            self.queue.put(record)

    def flush(self) -> None:
        """Wait until all is written, for FLUSH_SECONDS at most: `logging` calls this when the process ends."""
        self._writer.wait_for(self._handed_over, FLUSH_SECONDS)


class _Writer(threading.Thread):
    """Writes records to stderr, without a file: an ending process would wait for its lock.

    Lines are gathered for a moment and written together. Each time that the thread wakes up, it takes the interpreter
    from the thread that answers reviews, which costs more than to format a line.
    """

    def __init__(self, records: SimpleQueue[logging.LogRecord]) -> None:
        super().__init__(name="log", daemon=True)
        self._records = records
        self._never = threading.Event()
        self._written = 0
        self._progress = threading.Condition()

    def wait_for(self, number: int, seconds: float) -> None:
        """Wait until `number` records have been written, for `seconds` at most."""
        with self._progress:
            self._progress.wait_for(lambda: self._written >= number, seconds)

    def run(self) -> None:
        """Write until the process ends."""
        while True:
            first = self._records.get()
            self._never.wait(GATHER_SECONDS)
            self._write(first)

    def _write(self, record: logging.LogRecord) -> None:
        """Write a record together with those that wait already. Never raises."""
        lines, count = bytearray(_line(record)), 1
        while len(lines) < MAX_GATHERED_BYTES and not self._records.empty():
            lines += _line(self._records.get())
            count += 1
        unwritten = memoryview(bytes(lines))
        try:
            while unwritten:
                unwritten = unwritten[os.write(_STDERR, unwritten) :]
        except OSError:  # nobody reads them any more
            throttle.drop(record.name)
        with self._progress:
            self._written += count
            self._progress.notify_all()


def _line(record: logging.LogRecord) -> bytes:
    """A record as a line of JSON, with nothing that a terminal acts upon. Never raises; a defective record is empty."""
    try:
        fields = {"level": record.levelname, "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["traceback"] = _formatter.formatException(record.exc_info)
        if record.stack_info:
            fields["stack_info"] = record.stack_info
        fields |= {
            key: value
            for key, value in record.__dict__.items()
            if key not in _NOT_EXTRA and not key.startswith("_") and key not in fields
        }
        fields["time"] = micro_time(datetime.fromtimestamp(record.created, UTC))
        return _to_json(fields).encode() + b"\n"
    except Exception:  # there is nowhere to report it
        throttle.drop(record.name)
        return b""


_formatter = logging.Formatter()
_to_json = json.JSONEncoder(default=str).encode
"""In ASCII. json.dumps would make such an encoder for each line."""


def configure(level: str) -> None:
    """Write each log record of at least `level` (one of LEVELS) to stderr: time, level, logger, message and `extra`."""
    handler = _Aside()
    handler.addFilter(throttle)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # What no line shows need not be found out for each: that takes a third of the time until a line is handed over.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - the documented way
    if level != "debug":
        # kopf logs each handled event at info.
        logging.getLogger("kopf").setLevel(logging.WARNING)
