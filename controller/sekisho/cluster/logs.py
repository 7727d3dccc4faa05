"""Logs: one JSON object a line, on stderr, and of each logger so many lines a second at most."""

import logging
import sys
import time

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from sekisho.cluster.rates import TokenBucket

LEVELS = ("debug", "info", "warning", "error")

BURST, PER_SECOND = 500.0, 100.0
"""What one logger may write at once, and in the long run: a storm of denials fills no disk."""

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
        self._suppress(logger)
        return False

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if not self._bucket(record.name).take(time.monotonic()):
            self._suppress(record.name)
            return False
        untold = self._untold.pop(record.name, 0)
        if untold:
            record.suppressed = untold
        return True

    def _bucket(self, logger: str) -> TokenBucket:
        bucket = self._buckets.get(logger)
        if bucket is None:
            bucket = self._buckets[logger] = TokenBucket(BURST, PER_SECOND)
        return bucket

    def _suppress(self, logger: str) -> None:
        self.suppressed += 1
        self._untold[logger] = self._untold.get(logger, 0) + 1


throttle = Throttle()
"""The one of this process, as logging is one a process."""


def configure(level: str) -> None:
    """Send every log record from `level` (one of LEVELS) on to stderr: time, level, logger, message and `extra`."""
    formatter = JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "traceback"},
        timestamp="time",
        reserved_attrs=[*RESERVED_ATTRS, *_KOPF_INTERNALS],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(throttle)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    if level != "debug":
        # kopf tells each handled event at info, which is the reader's business only when kopf itself is in doubt.
        logging.getLogger("kopf").setLevel(logging.WARNING)
