"""Markdown, for a comment on a pull request or the summary of a job: a table of findings, and the counts."""

from collections.abc import Iterator

from sekisho.cli.reports.wording import VERDICTS, place_of, policy_names, reason_of, summary
from sekisho.findings import printable
from sekisho.manifests import Checked, Checks, Located
from sekisho.policies import Problem

MAX_ROWS = 200
"""Findings in the table: GitHub takes comments of at most 65,536 characters."""


def render(checks: Checks) -> str:
    """The counts, then a table with a row for each finding, of which only the first `MAX_ROWS` are shown."""
    rows = [row for checked in checks.checked for row in _rows(checked)] + [_unreadable(one) for one in checks.problems]
    head = ["| where | object | finding | fix |", "|---|---|---|---|"] if rows else []
    more = ["", f"{len(rows) - MAX_ROWS} more findings are not shown."] if len(rows) > MAX_ROWS else []
    title = "### Sekisho: " + ("some pods would be denied" if _fails(checks) else "all pods would be admitted")
    return "\n".join([title, "", f"{summary(checks)}.", *([""] if rows else []), *head, *rows[:MAX_ROWS], *more, ""])


def _fails(checks: Checks) -> bool:
    return bool(checks.problems) or any(checked.is_denied for checked in checks.checked)


def _rows(checked: Checked) -> Iterator[str]:
    return (_row(checked, located) for located in checked.violations)


def _row(checked: Checked, located: Located) -> str:
    finding = located.finding
    what = f"{VERDICTS[located.enforcement]}: {finding.subject} for {reason_of(finding)}: "
    field = f"{_code(finding.field)} is {_code(finding.value_and_origin)}"
    fix = f"{_text(finding.fix)} ({finding.control}, {_text(policy_names(located.violation.policies))})"
    where = _code(f"{checked.file}:{located.line}")
    return f"| {where} | {_text(checked.title)} | {_text(what)}{field} | {fix} |"


def _unreadable(problem: Problem) -> str:
    file, line, _ = place_of(problem)
    return f"| {_code(f'{file}:{line}')} | | cannot be read: {_text(problem.message)} | |"


def _text(text: str) -> str:
    """A text with everything escaped that Markdown or HTML would read as its own."""
    return "".join(f"\\{character}" if character in "\\`*_{}[]<>#|~!@" else character for character in printable(text))


def _code(text: str) -> str:
    """A text as code in a table's cell, where `|` ends the cell."""
    return f"`{printable(text).replace('`', chr(39)).replace('|', chr(92) + '|')}`"
