"""How a denial and a warning read.

The first line stands alone: the ReplicaSet controller copies it into FailedCreate Events and into the Deployment's
condition, where one line is all that is shown. No line holds the pod's name, which is generated, for such Events would
never aggregate.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from sekisho.admission.verdict import Violation
from sekisho.controls import CONTROLS
from sekisho.findings import render_path, words
from sekisho.policies import Enforcement

_VERBS: Final = {
    Enforcement.DENY: ("denies", "deny"),
    Enforcement.WARN: ("warns about", "warn about"),
    Enforcement.AUDIT: ("audits", "audit"),
}
MAX_LINES: Final = 20
MAX_MESSAGE_LENGTH: Final = 8 * 1024
MAX_CAUSES: Final = 100
MAX_WARNING_LENGTH: Final = 440
MAX_WARNINGS: Final = 8
"""The API server passes warnings on whole as long as a request's are not longer than 4,096 characters together."""


def denial_message(violations: Sequence[Violation]) -> str:
    """The message of a denial: a line a problem, the gravest first, capped."""
    lines = _lines(violations)
    if len(lines) > 1:
        lines[0] += f" ({len(lines) - 1} more below)"
    return _capped(lines)


def warning_lines(violations: Sequence[Violation], prefix: str = "") -> tuple[str, ...]:
    """Warnings, a line a problem, what pods are denied for first, capped to what the API server passes on."""
    lines = _lines(sorted(violations, key=lambda violation: violation.on_pods != Enforcement.DENY))
    return capped_warnings([prefix + line for line in lines], prefix, "more problems")


def capped_warnings(lines: Sequence[str], prefix: str = "", rest: str = "more") -> tuple[str, ...]:
    """Lines, capped in number and length to what the API server passes on; how many are left out stands last."""
    shown = [
        line if len(line) <= MAX_WARNING_LENGTH else line[: MAX_WARNING_LENGTH - 1] + "…"
        for line in lines[:MAX_WARNINGS]
    ]
    if len(lines) > len(shown):
        shown.append(f"{prefix}{len(lines) - len(shown)} {rest}; `sekisho check` lists them all")
    return tuple(shown)


def _capped(lines: Sequence[str]) -> str:
    text = "\n".join(lines[:MAX_LINES])
    left = len(lines) - MAX_LINES
    if len(text) > MAX_MESSAGE_LENGTH:
        text = text[: MAX_MESSAGE_LENGTH - 1] + "…"
    return text if left <= 0 else f"{text}\n{left} more; `sekisho check` lists them all"


def _lines(violations: Iterable[Violation]) -> list[str]:
    """One line for the same problem in several containers."""
    groups: dict[tuple[object, ...], list[Violation]] = {}
    for violation in violations:
        finding = violation.finding
        tail = finding.path[3:] if finding.container is not None else finding.path
        key = (
            violation.policies,
            violation.on_pods,
            finding.control,
            tail,
            finding.value,
            finding.allowed,
            finding.fix,
        )
        groups.setdefault(key, []).append(violation)
    return [_line(group) for group in groups.values()]


def _line(group: Sequence[Violation]) -> str:
    finding = group[0].finding
    policies = group[0].policies
    named = f"policy {_quoted(policies)}" if len(policies) == 1 else f"policies {_quoted(policies)}"
    verb = _VERBS[group[0].on_pods][len(policies) > 1]
    subjects = list(dict.fromkeys(violation.finding.subject for violation in group))
    shown = words(subjects if len(subjects) <= 5 else [*subjects[:4], f"{len(subjects) - 4} more"], "and")
    field = finding.field if len(group) == 1 or finding.container is None else render_path(finding.path[3:])
    reason = CONTROLS[finding.control].reason
    return (
        f"{named} {verb} {shown} for {reason}: {field} is {finding.value} (allowed: {finding.allowed}). "
        f"Fix: {finding.fix}. [{finding.control}]"
    )


def _quoted(names: Sequence[str]) -> str:
    shown = [f'"{name}"' for name in (names if len(names) <= 5 else names[:4])]
    return words(shown if len(names) <= 5 else [*shown, f"{len(names) - 4} others"], "and")
