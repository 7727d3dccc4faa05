"""Text for terminals and pipes: a paragraph for each object, and each finding at the place of its field."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final

from click import style, unstyle

from sekisho.cli.reports.wording import VERDICTS, counted, headline, remedy, summary
from sekisho.findings import printable
from sekisho.manifests import Checked, Checks, Located, Source
from sekisho.policies import Enforcement

_COLOURS = {Enforcement.DENY: "red", Enforcement.WARN: "yellow", Enforcement.AUDIT: "cyan"}
_VALUE: Final = re.compile(r"""(\bvalue["']?:\s*)("(?:[^"\\]|\\.)*"|'[^']*'|[^\s,}\]][^,}\]]*)""")
"""The value of an environment variable, which no output shows."""
_MAX_SOURCE: Final = 200


class SourceLines:
    """The lines of the manifests, to show the line of a finding."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._files: dict[str, list[tuple[int, str]]] = {}
        for source in sources:
            if source.origin is not None:  # its lines are those of a template
                continue
            self._files.setdefault(source.file, []).append((source.first_line, source.text))

    def line(self, file: str, line: int) -> str:
        """The text of a line, counted from 1, without the values of environment variables; empty if it is unknown."""
        texts = self._files.get(file, [])
        index = bisect_left(texts, (line,)) - 1
        if index < 0:
            return ""
        first_line, text = texts[index]
        lines = text.split("\n")
        written = lines[line - first_line - 1] if line - first_line <= len(lines) else ""
        return printable(_VALUE.sub(r"\1…", written.rstrip("\r").replace("\t", " ")))


def render(checks: Checks, *, width: int | None = None, lines: SourceLines | None = None) -> str:
    """The findings and a summary line, with colours, which the caller must strip where they are not wanted.

    If several files have findings, each has a heading.

    width: columns of the terminal, at which lines are broken; None for lines of any length.
    lines: where the line of each finding is shown from; None to show none.
    """
    files: dict[str, list[Checked]] = {}
    for checked in checks.checked:
        if checked.violations:
            files.setdefault(checked.file, []).append(checked)
    texts: list[str] = []
    for file, objects in files.items():
        if len(files) > 1:
            texts.append(_heading(file, sum(len(checked.violations) for checked in objects)))
        texts += [paragraph(checked, width, lines) for checked in objects]
    return "\n".join([*texts, summary(checks), ""])


def _heading(file: str, findings: int) -> str:
    return style(f"{printable(file)} ({counted(findings, 'finding')})", bold=True, underline=True)


def paragraph(checked: Checked, width: int | None = None, lines: SourceLines | None = None) -> str:
    """The findings on one object, without a line break at the end. `width`, `lines`: as for `render`."""
    file = printable(checked.file)
    title = style(printable(checked.title), bold=True)
    written = _broken(f"{file}:{checked.line}:{checked.column}: {title}", width, 0)
    for located in checked.violations:
        verdict = style(VERDICTS[located.enforcement], fg=_COLOURS[located.enforcement])
        location = f"{file}:{located.line}:{located.column}"
        written += _broken(f"{location}: {verdict}: {headline(located.finding)}", width, 2)
        if lines is not None:
            written += _marked(lines.line(checked.file, located.line), located)
        written += _broken(remedy(located.violation), width, 4)
    return "\n".join(written)


def _broken(text: str, width: int | None, indent: int) -> list[str]:
    """The text in lines of at most `width` columns, where words allow it; the first is indented less."""
    if width is None:
        return [f"{' ' * indent}{text}"]
    lines: list[str] = []
    line = " " * indent
    for word in text.split(" "):
        longer = f"{line} {word}" if line.strip() else f"{line}{word}"
        if len(unstyle(longer)) > width and line.strip():
            lines.append(line)
            longer = f"{' ' * (indent + 2)}{word}"
        line = longer
    return [*lines, line]


def _marked(line: str, located: Located) -> Iterator[str]:
    """The line of a finding, and a mark below its column."""
    if line:
        number = f"{located.line:>7}"
        yield style(f"{number} | ", dim=True) + line[:_MAX_SOURCE]
        if located.column <= _MAX_SOURCE:
            yield style(f"{' ' * len(number)} | ", dim=True) + " " * (located.column - 1) + style("^", fg="red")
