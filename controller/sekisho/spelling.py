"""Suggestions for misspelt names."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

MAX_LENGTH: Final = 128
"""Characters of a name that gets a suggestion."""
MAX_CANDIDATES: Final = 256
"""Known names that are compared: about 5 ms of work."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`; did you mean …?` where the name is close to a known one, else an empty string."""
    if not isinstance(name, str):
        return ""
    if len(name) > MAX_LENGTH:
        return ""
    by_lower = {candidate.lower(): candidate for candidate in islice(_of_similar_length(name, known), MAX_CANDIDATES)}
    import difflib  # takes as long to load as a control, and is needed for errors only

    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]}?" if close else ""


def _of_similar_length(name: str, known: Iterable[str]) -> Iterator[str]:
    """The known names that may be close: of two texts, at most a third of the letters may be without a partner."""
    return (candidate for candidate in known if len(name) <= 2 * len(candidate) and len(candidate) <= 2 * len(name))
