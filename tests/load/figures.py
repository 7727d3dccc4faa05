"""Figures, and how they are shown."""

import math
from collections.abc import Iterable


class Latencies:
    """Latencies of single requests, taken in seconds, shown in milliseconds."""

    def __init__(self, seconds: Iterable[float]) -> None:
        self._sorted = sorted(seconds)
        if not self._sorted:
            raise ValueError("there is no latency")

    def __len__(self) -> int:
        return len(self._sorted)

    def at(self, percent: float) -> float:
        """The least latency that `percent` of the requests did not exceed, in milliseconds."""
        index = math.ceil(len(self._sorted) * percent / 100)
        return self._sorted[max(index, 1) - 1] * 1e3


def compared(value: float, budget: float, unit: str = "") -> str:
    """A figure beside its budget: "1.31x, budget 1.5x: met"."""
    return f"{value:.2f}{unit}, budget {budget:g}{unit}: {'met' if value <= budget else '**missed**'}"
