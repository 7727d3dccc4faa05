"""Waiting for a condition on the test's own event loop."""

import asyncio
from collections.abc import Callable

_PAUSE = 0.005


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Return when `condition` returns something true. Raises TimeoutError after pauses of `seconds` in all.

    Pauses are counted, not the time that passes: on a busy machine, a test may not run for seconds.
    """
    for _ in range(round(seconds / _PAUSE)):
        if condition():
            return
        await asyncio.sleep(_PAUSE)
    raise TimeoutError
