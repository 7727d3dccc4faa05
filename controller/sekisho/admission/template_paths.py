"""Paths of a pod template's findings, from the root of the object that has the template."""

import re
from collections.abc import Sequence
from typing import Final

from msgspec.structs import fields, replace

from sekisho.admission.verdict import Violation
from sekisho.custom_kinds import Part, can_be_changed
from sekisho.findings import NAMESPACE, WORKLOAD, Change, FieldPath, Finding, render_path
from sekisho.pods import PodSpec

_POD_FIELD: Final = re.compile(
    rf"(?<![\w./\]\"'])(?:spec\.(?:{'|'.join(field.encode_name for field in fields(PodSpec))})"
    r"|metadata\.(?:annotations|labels))\b(?![-/:])"
)
"""Where a text names a field by its path from the pod's root; a fix also holds values, such as images."""
_FIELD_OR_ENTRY: Final = re.compile(rf"{_POD_FIELD.pattern}(?:\[[0-9]+\])?")
"""With the index of an entry, where the field is a list."""


def finding_in_object(finding: Finding, template_path: FieldPath, written: FieldPath = ()) -> Finding:
    """The finding with the paths that the user writes, in its fix too.

    template_path: where the object has its pod template, such as ("spec", "template"); empty for a pod.
    written: where the user writes the template, if another object is made from that; empty for the same path.
    """
    if finding.path[0] == WORKLOAD:
        return replace(finding, path=finding.path[1:], change=finding.change and _in_workload(finding.change))
    if not template_path or finding.path == NAMESPACE:
        return finding
    change = finding.change
    if change is not None:
        change = Change(change.operation, template_path + change.path, change.value)
    fix = _fix(finding.fix, written or template_path)
    return replace(finding, path=template_path + finding.path, fix=fix, change=change)


def finding_in_parts(finding: Finding, pod: Part) -> Finding:
    """The finding on a pod with the paths that the user writes, in its fix too.

    pod: as the object makes it, from a template or from parts.
    """
    if pod.is_in_one_place or finding.path[0] == WORKLOAD or finding.path == NAMESPACE:
        return finding_in_object(finding, pod.place)
    change, container = finding.change, finding.path[:3]
    if change is not None:
        place = _place(change.path, pod, container)
        change = Change(change.operation, place, change.value) if can_be_changed(place) else None
    fix = finding.fix
    if names_field(fix):
        fix = _FIELD_OR_ENTRY.sub(lambda field: render_path(_place(_parsed(field[0]), pod, container)), fix)
    return replace(finding, path=pod.place_of(finding.path), fix=fix, change=change)


def _parsed(field: str) -> FieldPath:
    return tuple(int(part) if part.isdigit() else part for part in re.findall(r"\w+", field))


def _place(path: FieldPath, pod: Part, container: FieldPath) -> FieldPath:
    """Where a field of the pod is written. Where the object has no field for the pod, each container has its own."""
    place = pod.place_of(path)
    is_of_all = path[:2] == ("spec", "securityContext") and not can_be_changed(place)
    return (*pod.place_of(container), *path[1:]) if is_of_all and len(container) == 3 else place


def _in_workload(change: Change) -> Change:
    return Change(change.operation, change.path[1:], change.value)


def violations_in_object(
    violations: Sequence[Violation], template_path: FieldPath, written: FieldPath = ()
) -> tuple[Violation, ...]:
    """The violations with the paths that the user writes, as `finding_in_object` makes them."""
    return tuple(
        replace(violation, finding=finding_in_object(violation.finding, template_path, written))
        for violation in violations
    )


def fixes_in_object(violations: Sequence[Violation], template_path: FieldPath) -> tuple[Violation, ...]:
    """Violations of a pod whose fixes name the fields of the object that its controller made it from.

    template_path: where that object has the template; empty for a pod that nothing was made from.
    """
    if not template_path:
        return tuple(violations)
    return tuple(
        replace(violation, finding=replace(violation.finding, fix=_fix(violation.finding.fix, template_path)))
        if names_field(violation.finding.fix)
        else violation
        for violation in violations
    )


def names_field(fix: str) -> bool:
    """Whether a fix may name a field by its path from the pod's root; few do."""
    return "." in fix


def _fix(fix: str, template_path: FieldPath) -> str:
    if not names_field(fix):
        return fix
    above = render_path(template_path)
    return _POD_FIELD.sub(lambda field: f"{above}.{field[0]}", fix)
