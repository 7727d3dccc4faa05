"""How long to wait after failures: one rule for the API server, registries and Events."""

import random

FIRST_SECONDS = 0.25
MAX_SECONDS = 15.0
_MAX_DOUBLINGS = 64
"""A float overflows after 1,024 of them, which an outage of a day can reach."""


def backoff(failures: int, most: float | None = None) -> float:
    """Seconds to wait after so many failures in a row, at least one.

    The wait doubles with each failure, up to `most` (None: MAX_SECONDS). Up to half of it is left out by chance, so
    that clients that failed at the same time do not all try again at the same time.
    """
    return spread(doubled(2 * FIRST_SECONDS, failures, most or MAX_SECONDS), 0.5)


def doubled(first: float, times: int, most: float) -> float:
    """The time after so many failures or writes in a row: `first` after one, doubled by each further one up to `most`.

    None at all counts as one. In the unit of `first`.
    """
    return min(first * 2.0 ** min(max(times - 1, 0), _MAX_DOUBLINGS), most)


def spread(seconds: float, share: float) -> float:
    """A time by chance, shorter than `seconds` by at most that `share` of it (0 to 1)."""
    return seconds * random.uniform(1.0 - share, 1.0)  # noqa: S311 - not for security
