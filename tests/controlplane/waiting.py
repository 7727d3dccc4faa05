"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.05


class DeadlineError(Exception):
    """A condition did not come true before its deadline; the message says which."""


def wait_until(condition: Callable[[], T], deadline: float, describe: str | Callable[[], str]) -> T:
    """Call `condition` until it answers something true, and give that answer.

    `deadline` is in seconds from now. `describe` says what is waited for, as in "the pod is gone"; a callable is asked
    when it is too late, so it can say how far things got. Raises DeadlineError; what `condition` raises passes through.
    """
    end = time.monotonic() + deadline
    while not (answer := condition()):
        if time.monotonic() > end:
            text = describe if isinstance(describe, str) else describe()
            raise DeadlineError(f"not within {deadline:g} s: {text}")
        time.sleep(_PAUSE)
    return answer
