"""Scrapes of /metrics: rendered in a thread, one at a time, and none at the expense of reviews."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client.core import Metric

from sekisho.telemetry.families import Family, rendered

_REST: Final = 10
"""A text is given for this many times as long as it took, so that scrapes take at most a tenth of a core."""
_MIN_SECONDS: Final = 0.02
"""Of CPU: a text that took less is rendered again for each scrape."""


class Scrapes:
    """The text of all metrics for all who scrape it, however often.

    collect: the metrics as they are now, in little time.
    clock: seconds.
    """

    def __init__(
        self, collect: Callable[[], Iterable[Metric | Family]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._collect = collect
        self._clock = clock
        self._one = asyncio.Lock()
        self._text = b""
        self._fresh_until = 0.0

    async def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        async with self._one:
            if self._clock() >= self._fresh_until:
                self._text, seconds = await asyncio.to_thread(_timed, self._collect())
                self._fresh_until = self._clock() + (_REST * seconds if seconds > _MIN_SECONDS else 0.0)
            return self._text


def _timed(families: Iterable[Metric | Family]) -> tuple[bytes, float]:
    """The text, and the seconds of CPU that it took."""
    began = time.thread_time()
    return rendered(families), time.thread_time() - began
