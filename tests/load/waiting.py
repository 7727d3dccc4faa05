"""Waiting for a condition, on an event loop."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.controlplane.waiting import DeadlineError


async def until(condition: Callable[[], Awaitable[bool]], deadline: float, describe: str, pause: float) -> None:
    """Ask for `condition` every `pause` seconds until it is true. Raises DeadlineError after `deadline` seconds."""
    try:
        async with asyncio.timeout(deadline):
            while True:
                if await condition():
                    return
                await asyncio.sleep(pause)
    except TimeoutError:
        raise DeadlineError(f"not within {deadline:g} s: {describe}") from None
