"""docs/performance.md: the parts of it that a benchmark writes, each between two marks."""

import os
import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parents[2] / "docs" / "performance.md"


class MarksError(Exception):
    """The page has no place for a section; the message names the marks."""


def with_section(page: str, name: str, text: str) -> str:
    """The page with `text` as its section `name`. Raises MarksError."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    head, marked, rest = page.partition(begin)
    _, ended, tail = rest.partition(end)
    if not marked or not ended:
        raise MarksError(f"the page needs the lines {begin.strip()} and {end}")
    return f"{head}{begin}\n{text.strip()}\n\n{end}{tail}"


def write_section(name: str, text: str, path: Path = PAGE) -> None:
    """Write `text` as the section `name` of the page. Raises MarksError."""
    path.write_text(with_section(path.read_text(), name, text))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> str:
    """A Markdown table; the first `texts` columns hold text, the others numbers, which are aligned right."""
    lines = (header, ["---" if index < texts else "---:" for index in range(len(header))], *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """What a benchmark ran on, in words."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE)
    processor = model[1] if model else platform.machine()
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {processor}, Linux {platform.release()}, Python {platform.python_version()}"
