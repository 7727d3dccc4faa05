"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_MIN_PAUSE, _MAX_PAUSE = 0.02, 0.5
_PAUSE_SHARE = 0.1  # of the time waited so far: long waits would take much CPU time from what is waited for


class DeadlineError(Exception):
    """A condition did not come true before its deadline; the message says which."""


def wait_until(condition: Callable[[], T | None], deadline: float, describe: str | Callable[[], str]) -> T:
    """Call `condition` until it returns something true, and return that.

    `deadline` is in seconds from now. `describe` says what is expected, as in "the pod is gone"; a callable is called
    after the deadline, so it can report the progress. Raises DeadlineError; errors of `condition` pass through.
    """
    start = time.monotonic()
    while True:
        if answer := condition():
            return answer
        waited = time.monotonic() - start
        if waited > deadline:
            text = describe if isinstance(describe, str) else describe()
            raise DeadlineError(f"not within {deadline:g} s: {text}")
        time.sleep(min(max(waited * _PAUSE_SHARE, _MIN_PAUSE), _MAX_PAUSE))
