"""Waivers: which violations they exempt. Pods without violations never get here."""

from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from sekisho.admission.verdict import Violation, judge
from sekisho.findings import Finding
from sekisho.pods import Container, Pod, container_refs
from sekisho.policies import CompiledWaiver, Enforcement, PolicySet, Step
from sekisho.timestamps import rfc3339

Clock = Callable[[], datetime]
"""Gives the present time, with its zone."""


class Waived(Struct, frozen=True, gc=False):
    """A finding that a waiver exempts from one policy: the waiver, when it ends, and why it was granted."""

    policy: str
    enforcement: Enforcement
    finding: Finding
    waiver: str
    expires: datetime
    reason: str


def apply_waivers(
    violations: Sequence[Violation], pod: Pod, namespace: str, policies: PolicySet, now: datetime
) -> tuple[list[Violation], tuple[Waived, ...]]:
    """The violations that stay, and the findings that waivers exempt.

    One waiver must exempt a policy's finding alone: the conditions of two waivers never combine. A waiver has ended at
    the time that it names.
    """
    left: list[Violation] = []
    waived: list[Waived] = []
    for violation in violations:
        finding, staying = violation.finding, []
        container = _container(finding, pod)
        for policy in violation.policies:
            waiver = _waiver_of(policy, finding, pod, container, namespace, policies, now)
            if waiver is None:
                staying.append(policy)
            else:
                waived.append(
                    Waived(policy, violation.enforcement, finding, waiver.name, waiver.expires, waiver.reason)
                )
        if len(staying) == len(violation.policies):
            left.append(violation)
        elif staying:
            left.append(replace(violation, policies=tuple(staying)))
    return left, tuple(waived)


def _waiver_of(
    policy: str,
    finding: Finding,
    pod: Pod,
    container: Container | None,
    namespace: str,
    policies: PolicySet,
    now: datetime,
) -> CompiledWaiver | None:
    """The first waiver by name that exempts a policy's finding, None without one."""
    for waiver in policies.waivers_of(policy, namespace):
        if finding.control in waiver.controls and waiver.covers(pod, container) and now < waiver.expires:
            return waiver
    return None


def revoked_exemptions(
    violations: Sequence[Violation], pod: Pod, old: Pod, steps: Sequence[Step], namespace: str, policies: PolicySet
) -> list[Violation]:
    """The violations of an update that only a waiver for the old image exempted.

    An update is excused for what the pod violated before. A waiver for an image, expired or not, does not excuse
    another image.
    """
    before = {placed.container.name: placed.container for placed in container_refs(old.spec)}
    changed = {
        placed.container.name
        for placed in container_refs(pod.spec)
        if placed.container.name in before and before[placed.container.name].image != placed.container.image
    }
    if not changed:
        return []
    new = {violation.finding.identity for violation in violations}
    revoked = []
    for violation in judge(pod, steps):
        finding = violation.finding
        if finding.container in changed and finding.identity not in new:
            names = tuple(
                policy
                for policy in violation.policies
                for waiver in policies.waivers_of(policy, namespace)
                if waiver.images
                and finding.control in waiver.controls
                and waiver.covers(old, before[finding.container])
            )
            if names:
                revoked.append(replace(violation, policies=tuple(dict.fromkeys(names))))
    return revoked


def waiver_lines(waived: Sequence[Waived]) -> tuple[str, ...]:
    """A line for each waiver and control: what it exempts, until when, and why."""
    groups: dict[tuple[str, str, str], list[Waived]] = {}
    for each in waived:
        groups.setdefault((each.waiver, each.policy, each.finding.control), []).append(each)
    return tuple(_line(group) for group in groups.values())


def _line(group: Sequence[Waived]) -> str:
    first = group[0]
    subjects = list(dict.fromkeys(each.finding.subject for each in group))
    shown = ", ".join(subjects[:4]) + (f" and {len(subjects) - 4} more" if len(subjects) > 4 else "")
    return (
        f'waiver "{first.waiver}" exempts {shown} from {first.finding.control} of policy "{first.policy}" until '
        f"{rfc3339(first.expires)}: {first.reason}"
    )


def _container(finding: Finding, pod: Pod) -> Container | None:
    """The container of a finding, None for a finding of the pod itself."""
    if finding.container is None:
        return None
    at = finding.path[:3]
    return next((placed.container for placed in container_refs(pod.spec) if placed.path == at), None)
