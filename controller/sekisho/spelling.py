"""Suggestions for misspelt names."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

MAX_LENGTH: Final = 64
"""Characters of a name that gets a suggestion."""
MAX_CANDIDATES: Final = 256
"""Known names that are compared by their letters: about 5 ms of work."""
MAX_PAIRS: Final = 32 * 1024
"""Pairs of letters, one of the name and one of a candidate, that are compared in order: another 5 ms at most."""
MAX_HINTS: Final = 8
"""Suggestions for the misspelt names of one object, where there are few names to compare them with."""
_CLOSE: Final = 0.6
"""The share of letters that must be the same, in the same order."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`; did you mean …?` where the name is close to a known one, else an empty string."""
    if not isinstance(name, str) or len(name) > MAX_LENGTH:
        return ""
    closest = max(_close(name, known), default=None)
    return f"; did you mean {closest[1]}?" if closest is not None else ""


class Suggestions:
    """Suggestions for the misspelt names of one object. Only the first few get one, as each may take 10 ms."""

    def __init__(self, count: int) -> None:
        self._left = count

    def did_you_mean(self, name: object, known: Iterable[str]) -> str:
        """As the function `did_you_mean` while there are some left, then an empty string."""
        self._left -= 1
        return did_you_mean(name, known) if self._left >= 0 else ""


def _close(name: str, known: Iterable[str]) -> Iterator[tuple[float, str]]:
    """The known names that are close, each after its share of common letters."""
    import difflib  # takes as long to load as a control, and is needed for errors only

    matcher = difflib.SequenceMatcher(b=name.lower())
    pairs = 0
    for candidate in islice(_names_of_similar_length(name, known), MAX_CANDIDATES):
        matcher.set_seq1(candidate.lower())
        if matcher.quick_ratio() < _CLOSE:
            continue
        pairs += len(name) * len(candidate)
        if pairs > MAX_PAIRS:
            return
        ratio = matcher.ratio()
        if ratio >= _CLOSE:
            yield ratio, candidate


def _names_of_similar_length(name: str, known: Iterable[str]) -> Iterator[str]:
    """The known names that may be close: of two texts, at most a third of the letters may be without a partner."""
    return (candidate for candidate in known if len(name) <= 2 * len(candidate) and len(candidate) <= 2 * len(name))
