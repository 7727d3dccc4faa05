"""How long to wait after failures: one rule for the API server, registries and Events."""

import random

FIRST_SECONDS = 0.25
MAX_SECONDS = 15.0
_MAX_DOUBLINGS = 64
"""A float overflows after 1,024 of them, which an outage of a day can reach."""


def backoff(failures: int, longest: float | None = None) -> float:
    """Seconds to wait after `failures` consecutive failures; 0 counts as 1.

    The wait doubles with each failure, up to `longest` seconds (None: MAX_SECONDS). A random part of it, up to half, is
    left out, so that clients that failed at the same time do not all try again at the same time.
    """
    return with_jitter(doubling_delay(2 * FIRST_SECONDS, failures, longest or MAX_SECONDS), 0.5)


def doubling_delay(first: float, times: int, longest: float) -> float:
    """`first` after one failure or write, doubled by each further consecutive one, up to `longest`; 0 counts as 1.

    In the unit of `first`.
    """
    return min(first * 2.0 ** min(max(times - 1, 0), _MAX_DOUBLINGS), longest)


def with_jitter(seconds: float, share: float) -> float:
    """`seconds`, less a random part of at most `share` of it (0 to 1)."""
    return seconds * random.uniform(1.0 - share, 1.0)  # noqa: S311 - not for security
