"""Logs: one JSON object a line, on stderr."""

import logging
import sys

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

LEVELS = ("debug", "info", "warning", "error")

_KOPF_INTERNALS = ("settings", "k8s_skip", "k8s_ref")
"""What kopf hangs on its records for its own handlers; `settings` alone would print as a page."""


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
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    if level != "debug":
        # kopf tells each handled event at info, which is the reader's business only when kopf itself is in doubt.
        logging.getLogger("kopf").setLevel(logging.WARNING)
