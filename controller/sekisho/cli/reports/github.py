"""Workflow commands of GitHub Actions: each finding is an annotation at its line in a pull request.

Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from collections.abc import Iterator

from sekisho.cli.reports.wording import place_of, sentence, summary
from sekisho.findings import printable
from sekisho.manifests import Checked, Checks
from sekisho.policies import Enforcement, Problem

_COMMANDS = {Enforcement.DENY: "error", Enforcement.WARN: "warning", Enforcement.AUDIT: "notice"}


def render(checks: Checks) -> str:
    """The annotations, then a line for the log."""
    annotations = [line for checked in checks.checked for line in _findings(checked)]
    return "\n".join([*annotations, *map(_problem, checks.problems), summary(checks), ""])


def _findings(checked: Checked) -> Iterator[str]:
    for located in checked.violations:
        yield _annotation(
            _COMMANDS[located.enforcement],
            f"{printable(checked.title)}: {sentence(located.violation)}",
            checked.file,
            located.line,
            located.column,
            f"sekisho {located.finding.control}",
        )


def _problem(problem: Problem) -> str:
    file, line, column = place_of(problem)
    return _annotation("error", problem.message, file, line, column, "sekisho cannot read this")


def _annotation(command: str, message: str, file: str, line: int, column: int, title: str) -> str:
    location = f"file={_escape_property(file)},line={line},col={column}"
    return f"::{command} {location},title={_escape_property(title)}::{_escape(message)}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
