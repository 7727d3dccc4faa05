"""Paths of a pod template's findings, from the root of the object that has the template."""

import re
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from sekisho.admission.verdict import Violation
from sekisho.findings import Change, Finding, render_path

_POD_FIELD: Final = re.compile(r"(?<![\w.\]])(?:spec|metadata)\.(?=\w)")
"""Where a text names a field by its path from the pod's root."""


def finding_in_object(finding: Finding, template_path: tuple[str, ...]) -> Finding:
    """The finding with the paths that the user writes, in its fix too.

    template_path: where the object has its pod template, such as ("spec", "template"); empty for a pod.
    """
    if not template_path:
        return finding
    change = finding.change
    if change is not None:
        change = Change(change.operation, template_path + change.path, change.value)
    above = render_path(template_path)
    fix = _POD_FIELD.sub(lambda field: f"{above}.{field[0]}", finding.fix)
    return replace(finding, path=template_path + finding.path, fix=fix, change=change)


def violations_in_object(violations: Sequence[Violation], template_path: tuple[str, ...]) -> tuple[Violation, ...]:
    """The same for the findings of violations."""
    return tuple(
        replace(violation, finding=finding_in_object(violation.finding, template_path)) for violation in violations
    )
