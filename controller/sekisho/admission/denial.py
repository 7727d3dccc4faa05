"""The text of denials and warnings.

The first line must make sense alone: the ReplicaSet controller copies it into FailedCreate Events and into the
Deployment's condition, which show one line. No line holds the pod's name: it is generated, and Events with different
texts are not aggregated.
"""

from collections.abc import Sequence
from typing import Final

from sekisho.admission.verdict import Violation
from sekisho.controls import CONTROLS
from sekisho.findings import Finding, render_path, words
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
MAX_CLAUSE_LENGTH: Final = 1024
"""What a policy allows may be as long as the policy."""
_MAX_NAMES: Final = 5
MAX_WARNINGS: Final = 8
"""The API server shortens the warnings of a request when they are longer than 4,096 characters together."""


def denial_message(violations: Sequence[Violation]) -> str:
    """The message of a denial: one line for each problem, in the order of the controls, capped."""
    groups = _groups(violations)
    return _message([_line(group) for group in groups[:MAX_LINES]], groups)


def message_and_causes(violations: Sequence[Violation]) -> tuple[str, list[str]]:
    """The message of a denial, and that of each of the first MAX_CAUSES violations alone."""
    groups = _groups(violations)
    lines = [_line(group) for group in groups[:MAX_LINES]]
    known = {id(group[0]): line for group, line in zip(groups, lines, strict=False) if len(group) == 1}
    texts = [known.get(id(violation)) or _line((violation,)) for violation in violations[:MAX_CAUSES]]
    return _message(lines, groups), [_capped(text, MAX_MESSAGE_LENGTH) for text in texts]


def _message(lines: list[str], groups: Sequence[Sequence[Violation]]) -> str:
    """The message of the first lines of a denial; the first says how many violations it does not show."""
    if len(groups) > 1:
        lines = [f"{lines[0]} ({_count(groups[1:])} more)", *lines[1:]]
    text = _capped("\n".join(lines), MAX_MESSAGE_LENGTH)
    return "\n".join([text, *_omission(groups[MAX_LINES:])])


def _count(groups: Sequence[Sequence[Violation]]) -> int:
    return sum(map(len, groups))


def _omission(groups: Sequence[Sequence[Violation]]) -> list[str]:
    """The line that counts the violations which are not shown; none where all are."""
    count = _count(groups)
    return [f"{count} more violation{'s' if count > 1 else ''}; `sekisho check` lists them all"] if count else []


def _capped(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def warning_lines(violations: Sequence[Violation], prefix: str = "") -> tuple[str, ...]:
    """One line for each problem, those that pods are denied for first, capped to what the API server passes on."""
    groups = _groups(sorted(violations, key=lambda violation: violation.on_pods != Enforcement.DENY))
    shown = groups[:MAX_WARNINGS]
    lines = [("" if group[0].finding.is_of_workload else prefix) + _line(group) for group in shown]
    return (*capped_warnings(lines), *(prefix + line for line in _omission(groups[MAX_WARNINGS:])))


def capped_warnings(lines: Sequence[str]) -> tuple[str, ...]:
    """Lines, capped in number and length to what the API server passes on; the last says how many are omitted."""
    shown = [_capped(line, MAX_WARNING_LENGTH) for line in lines[:MAX_WARNINGS]]
    omitted = len(lines) - len(shown)
    return (*shown, f"{omitted} more; `sekisho check` lists them all") if omitted else tuple(shown)


def _groups(violations: Sequence[Violation]) -> list[list[Violation]]:
    """The violations by line: the same problem in several containers is one line."""
    if len({violation.finding.control for violation in violations}) == len(violations):
        return [[violation] for violation in violations]
    groups: dict[tuple[object, ...], list[Violation]] = {}
    for violation in violations:
        finding = violation.finding
        key = (
            violation.policies,
            violation.on_pods,
            finding.control,
            _shown_path(finding),
            finding.value_key,
            finding.allowed,
            finding.fix,
        )
        groups.setdefault(key, []).append(violation)
    return list(groups.values())


def _line(group: Sequence[Violation]) -> str:
    finding, policies = group[0].finding, group[0].policies
    named = f"policy {_quoted(policies)}" if len(policies) == 1 else f"policies {_quoted(policies)}"
    verb = _VERBS[group[0].on_pods][len(policies) > 1]
    reason, field = CONTROLS[finding.control].reason, render_path(_shown_path(finding))
    # `for its image "nginx"` instead of `for its image: image is "nginx"`
    what = reason if reason == f"its {field}" and finding.raw_value is not None else f"{reason}: {field} is"
    allowed, fix = _capped(finding.allowed, MAX_CLAUSE_LENGTH), _capped(finding.fix, MAX_CLAUSE_LENGTH)
    return (
        f"{named} {verb} {_subjects(group)} for {what} {finding.value_and_origin} "
        f"(allowed: {allowed}). Fix: {fix}. [{finding.control}]{group[0].own_lines}"
    )


def _subjects(group: Sequence[Violation]) -> str:
    """Who is denied: `container "app"`, or `containers "app" and "log"`."""
    if len(group) == 1:
        return group[0].finding.subject
    findings = list({violation.finding.about: violation.finding for violation in group}.values())
    kinds = {finding.about and finding.about[0] for finding in findings}
    number = len(findings) if len(findings) <= _MAX_NAMES else _MAX_NAMES - 1
    subjects = [finding.subject for finding in findings[:number]]
    plural = ""
    if len(findings) > 1 and len(kinds) == 1:
        (kind,) = kinds
        plural = f"{kind}s "
        subjects = [subject.removeprefix(f"{kind} ") for subject in subjects]
    if number < len(findings):
        subjects.append(f"{len(findings) - number} more")
    return plural + words(subjects, "and")


def _shown_path(finding: Finding) -> tuple[str | int, ...]:
    """The path from the container's root where the line names the container, else from the pod's."""
    path = finding.path
    if not finding.container:
        return path
    if isinstance(path[2], int):  # in a pod
        return path[3:]
    index = next((index for index, part in enumerate(path) if isinstance(part, int)), -1)
    return path[index + 1 :]


def _quoted(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f'"{names[0]}"'
    if len(names) > _MAX_NAMES:
        head, tail = names[: _MAX_NAMES - 1], f"{len(names) - _MAX_NAMES + 1} more"
    else:
        head, tail = names[:-1], f'"{names[-1]}"'
    quoted = '", "'.join(head)
    return f'"{quoted}" and {tail}'
