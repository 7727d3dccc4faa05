"""Cutting a stream of JSON values, such as `jq` and `kubectl -o json` in a loop write it, into its values."""

import json
import re
from collections.abc import Iterator
from typing import Final

import msgspec

_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)
_FIRST: Final = re.compile(r"(?:---(?=\s))?\s*\{")
"""The start of a stream of objects, below the separator of documents if there is one."""
_SPACE: Final = " \t\r\n"
_MAX_PADDING: Final = 16 << 20
"""Characters of all spaces that are put before values on one line to keep their columns."""


def split_stream(text: str) -> Iterator[tuple[int, str]]:
    """The values of a text, each with the number of lines before it; the whole text if it is not a stream of objects.

    A value is written at the column where it begins; where hundreds are on one line, at the column in its own text.
    What follows the last value that can be read is one more value, so that it is reported where it is.
    """
    first = _FIRST.match(text)
    ends = _ends(text, first.end() - 1) if first is not None and not _is_one_value(text) else []
    if len(ends) < 2:
        yield 0, text
        return
    start = line = column = padding = 0
    for end in ends:
        piece = text[start:end]
        space = piece[: len(piece) - len(piece.lstrip(_SPACE))]
        # A value on the line of the one before it keeps its column.
        missing = 0 if "\n" in space else column
        padding += missing
        yield line, " " * missing + piece if padding <= _MAX_PADDING else piece
        above, line_break, last_line = piece.rpartition("\n")
        line += above.count("\n") + len(line_break)
        column = len(last_line) + (0 if line_break else column)
        start = end


def _is_one_value(text: str) -> bool:
    """Whether a text is a single JSON value, which is the usual case and quickly seen."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return False
    return True


def _ends(text: str, end: int) -> list[int]:
    """Where each value from `end` on ends; the last at the end of the text. Empty if the first is not JSON."""
    ends: list[int] = []
    size = len(text)
    while end < size:
        try:
            _, end = _DECODER.raw_decode(text, end)
        except (ValueError, RecursionError):
            break
        ends.append(end)
        end = _after_space(text, end)
    if ends and end < size:
        ends.append(size)
    elif ends:
        ends[-1] = size
    return ends


def _after_space(text: str, start: int) -> int:
    while start < len(text) and text[start] in _SPACE:
        start += 1
    return start
