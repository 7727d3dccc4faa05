"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.05


class DeadlineError(Exception):
    """A condition did not come true before its deadline; the message says which."""


def wait_until(condition: Callable[[], T | None], deadline: float, describe: str | Callable[[], str]) -> T:
    """Call `condition` until it returns something true, and return that.

    `deadline` is in seconds from now. `describe` says what is expected, as in "the pod is gone"; a callable is called
    after the deadline, so it can report the progress. Raises DeadlineError; errors of `condition` pass through.
    """
    end = time.monotonic() + deadline
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > end:
            text = describe if isinstance(describe, str) else describe()
            raise DeadlineError(f"not within {deadline:g} s: {text}")
        time.sleep(_PAUSE)
