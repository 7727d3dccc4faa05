"""Where the lines of a rendered document were written: in the template or the base that a renderer made it from.

Only the text tells. A line that stands once in the rendered document and once in the file is the same in both; for any
other, the nearest line above it that is less indented, its parent, takes its place.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct


class Origin(Struct, frozen=True):
    """The lines of a rendered document, and the positions in the file of those that appear once in both."""

    rendered: tuple[str, ...]
    written: Mapping[str, tuple[int, int]]

    def position(self, line: int) -> tuple[int, int]:
        """Line and column in the file, starting at 1, of a line of the rendered document, counted from 0.

        The start of the file if nothing in it stands for the line.
        """
        indent = 2 * len(self.rendered[line]) + 1 if line < len(self.rendered) else 0
        for text in reversed(self.rendered[: line + 1]):
            own = _indent(text)
            if text.strip() and own < indent:
                indent = own
                if position := self.written.get(_content(text)):
                    return position
        return 1, 1

    def exact_position(self, line: int) -> tuple[int, int] | None:
        """Line and column in the file, starting at 1; None unless rendered document and file have the line once."""
        return self.written.get(_content(self.rendered[line])) if line < len(self.rendered) else None


def origin(rendered: str, written: Sequence[str]) -> Origin:
    """The origin of a rendered document; `written` are the lines of the file."""
    lines = tuple(rendered.split("\n"))
    counts, own_counts = Counter(map(_content, written)), Counter(map(_content, lines))
    origins = {
        content: (number, line.index(content) + 1)
        for number, line in enumerate(written, 1)
        if (content := _content(line)) and counts[content] == own_counts[content] == 1
    }
    return Origin(lines, origins)


def _content(line: str) -> str:
    """The line without its indentation and the dash of a list's item, which renderers may put before another field."""
    return line.strip().removeprefix("- ").strip()


def _indent(line: str) -> int:
    """The indentation of a line. An item of a list is above its own fields, and below the field that has the list."""
    text = line.lstrip()
    return 2 * (len(line) - len(text)) + text.startswith("- ")
