"""How long to wait after failures: one rule for all that talks to the API server."""

import random

FIRST_SECONDS = 0.25
MAX_SECONDS = 15.0


def backoff(failures: int, most: float | None = None) -> float:
    """Seconds to wait after so many failures in a row, at least one.

    The wait doubles with each failure, up to `most` (None: MAX_SECONDS). Up to half of it is left out by chance, so
    that clients that failed at the same time do not all try again at the same time.
    """
    return spread(min(FIRST_SECONDS * 2.0 ** min(failures, 20), most or MAX_SECONDS), 0.5)


def spread(seconds: float, share: float) -> float:
    """A time by chance, shorter than `seconds` by at most that `share` of it (0 to 1)."""
    return seconds * random.uniform(1.0 - share, 1.0)  # noqa: S311 - not for security
