"""Text for terminals and pipes: a paragraph for each object, and each finding at the place of its field."""

from click import style

from sekisho.cli.reports.wording import VERDICTS, headline, printable, remedy, summary
from sekisho.manifests import Checked, Checks
from sekisho.policies import Enforcement

_COLOURS = {Enforcement.DENY: "red", Enforcement.WARN: "yellow", Enforcement.AUDIT: "cyan"}


def render(checks: Checks) -> str:
    """The findings and a summary line, with colours, which the caller must strip where they are not wanted."""
    paragraphs = [paragraph(checked) for checked in checks.checked if checked.violations]
    return "\n".join([*paragraphs, summary(checks), ""])


def paragraph(checked: Checked) -> str:
    """The findings on one object, without a line break at the end."""
    file = printable(checked.file)
    lines = [f"{file}:{checked.line}:{checked.column}: {style(printable(checked.title), bold=True)}"]
    for located in checked.violations:
        verdict = style(VERDICTS[located.enforcement], fg=_COLOURS[located.enforcement])
        lines.append(f"  {file}:{located.line}:{located.column}: {verdict}: {headline(located.finding)}")
        lines.append(f"    {remedy(located.violation)}")
    return "\n".join(lines)
