"""Waiting for a condition on the test's own event loop."""

import asyncio
from collections.abc import Callable

_PAUSE = 0.005


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Return when `condition` returns something true. Raises TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(_PAUSE)
