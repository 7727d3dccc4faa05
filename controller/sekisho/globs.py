"""Wildcards: `*` matches any number of any characters; a pattern must match the whole text."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

_MAX_PRODUCT: Final = 20_000
"""Length of a part times that of the text; above it, Python's search may take time in proportion to the product."""
_MIN_PART: Final = 6
"""Searching for shorter parts always takes linear time."""


def glob_matches(pattern: str, text: str) -> bool:
    """Whether the pattern matches the text, in linear time, without backtracking."""
    if "*" not in pattern:
        return pattern == text
    head, *middle, tail = pattern.split("*")
    return text.startswith(head) and text.endswith(tail) and _has_parts(text, len(head), middle, len(tail))


class Globs(Struct, frozen=True):
    """Patterns, compiled to be matched with many texts. Make it with `Globs.of`.

    exact: those without wildcards.
    starts: what the text must begin with, of those with one wildcard, at their end.
    others: the head, the tail and what is between them of all others.
    """

    exact: frozenset[str]
    starts: tuple[str, ...]
    others: tuple[tuple[str, str, tuple[str, ...]], ...]

    @classmethod
    def of(cls, patterns: Iterable[str]) -> "Globs":
        """The patterns."""
        exact: set[str] = set()
        starts: list[str] = []
        others: list[tuple[str, str, tuple[str, ...]]] = []
        for pattern in patterns:
            head, *middle, tail = pattern.split("*") if "*" in pattern else (pattern, "")
            if "*" not in pattern:
                exact.add(pattern)
            elif middle or tail:
                others.append((head, tail, tuple(middle)))
            else:
                starts.append(head)
        return cls(frozenset(exact), tuple(starts), tuple(others))

    def match(self, text: str) -> bool:
        """Whether a pattern matches the text."""
        if text in self.exact or text.startswith(self.starts):
            return True
        return any(
            text.startswith(head) and text.endswith(tail) and _has_parts(text, len(head), middle, len(tail))
            for head, tail, middle in self.others
        )


def _has_parts(text: str, position: int, middle: Iterable[str], tail: int) -> bool:
    """Whether a text has the parts in their order, after its first `position` characters and before its tail."""
    end = len(text) - tail
    if end < position:
        return False
    for part in middle:
        position = find(part, text, position, end)
        if position < 0:
            return False
        position += len(part)
    return True


def find(part: str, text: str, position: int = 0, end: int | None = None) -> int:
    """Where a part of a text begins, as `str.find` gives it, in time that does not grow with the part's length.

    end: where the search ends; None for the end of the text.

    `str.find` takes quadratic time for some parts and texts, such as "aab" and "aaaa", unless both are long.
    """
    length = (len(text) if end is None else end) - position
    if len(part) * length <= _MAX_PRODUCT:
        return text.find(part, position, end)
    min_text = 2500 if len(part) >= 100 else 30_000  # in texts at least as long, Python's search takes linear time
    if len(part) < _MIN_PART or length >= min_text:
        return text.find(part, position, end)
    at = text[position:end].ljust(min_text, "\0").find(part)
    return position + at if 0 <= at <= length - len(part) else -1


def globs_meet(one: str, other: str) -> bool:
    """Whether some text matches both patterns; takes time in proportion to the product of their lengths."""
    prefix, other_prefix = one.partition("*")[0], other.partition("*")[0]
    if not prefix.startswith(other_prefix) and not other_prefix.startswith(prefix):
        return False  # a cheap test that rules out most pairs
    # row[j]: whether some text matches both the part of `one` read so far and other[:j]
    row = [True]
    for letter in other:
        row.append(row[-1] and letter == "*")
    for letter in one:
        next_row = [row[0] and letter == "*"]
        for j, other_letter in enumerate(other):
            is_wildcard = "*" in (letter, other_letter)
            next_row.append(row[j + 1] or next_row[j] if is_wildcard else row[j] and letter == other_letter)
        row = next_row
    return row[-1]
