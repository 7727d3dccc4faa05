"""Waivers: what they exempt. Pods without violations and without defaults never get here."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import takewhile

from msgspec import Struct, field
from msgspec.structs import replace

from sekisho.admission.verdict import Violation
from sekisho.findings import Finding
from sekisho.images import ImageError, RegistryPattern, parse
from sekisho.pods import Container, Pod, container_refs
from sekisho.policies import CompiledWaiver, Default, Enforcement, Plan, PolicySet
from sekisho.timestamps import rfc3339

Clock = Callable[[], datetime]
"""Gives the present time, with its zone."""


Exempt = Callable[[str, str, Container | None], bool]
"""Whether a container, or with None the pod itself, is exempt from a control of a policy, both by name."""

KeepsOff = Callable[[Default, Container | None], bool]
"""Whether a default is not applied to a container, or with None to the pod itself."""


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
    containers = {ref.path: ref.container for ref in container_refs(pod.spec)}
    applicable: dict[str, dict[str, _Waivers]] = {}
    for violation in violations:
        finding, staying = violation.finding, []
        container = containers[finding.path[:3]] if finding.container is not None else None
        for policy in violation.policies:
            if policy not in applicable:
                applicable[policy] = _applicable(policies.waivers_of(policy, namespace), pod, now)
            waivers = applicable[policy].get(finding.control)
            waiver = waivers.first_for(pod, container) if waivers is not None else None
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


def exemptions(pod: Pod, namespace: str, policies: PolicySet, now: datetime) -> Exempt:
    """What waivers exempt a pod from, whether it violates anything or not."""
    applicable: dict[str, dict[str, _Waivers]] = {}

    def is_exempt(policy: str, control: str, container: Container | None) -> bool:
        if policy not in applicable:
            applicable[policy] = _applicable(policies.waivers_of(policy, namespace), pod, now)
        waivers = applicable[policy].get(control)
        return waivers is not None and waivers.first_for(pod, container) is not None

    return is_exempt


def waivers_of_defaults(
    plan: Plan, pod: Pod, namespace: str, policies: PolicySet, now: datetime
) -> list[CompiledWaiver]:
    """The waivers for the pod or its containers that name the control of a default; none for nearly all pods."""
    by_policy = policies.waivers_in(namespace)
    if not by_policy:
        return []
    controls, labels = {default.control for default in plan.defaults}, pod.metadata.labels or {}
    return [
        waiver
        for waivers in by_policy.values()
        for waiver in waivers
        if now < waiver.expires
        and not controls.isdisjoint(waiver.controls)
        and (waiver.selects_labels is None or waiver.selects_labels(labels))
    ]


def keeps_off(plan: Plan, is_exempt: Exempt) -> KeepsOff:
    """Whether waivers keep a default off a container of the pod, or with None off the pod itself.

    A waiver for the default's own policy keeps it off, and so do waivers for all policies that judge its field. But a
    policy that denies pods without the field, and is not waived, still gets it: the pod would be denied otherwise.
    """

    def is_off(default: Default, container: Container | None) -> bool:
        control = default.control
        judges = plan.judges.get(control)
        if judges is None:
            return is_exempt(default.policy, control, container)
        if any(not is_exempt(policy, control, container) for policy in judges.requiring):
            return False
        return is_exempt(default.policy, control, container) or all(
            is_exempt(policy, control, container) for policy in judges.judging
        )

    return is_off


class _Waivers(Struct, frozen=True, gc=False):
    """The waivers of one policy and control that apply to a pod now, each with its place in the order of names.

    They are filed so that a container finds its own without asking each: by the container's name, by the segments of
    an image pattern up to its first wildcard, and the rest in `others`.
    """

    by_name: dict[str, list[tuple[int, CompiledWaiver]]] = field(default_factory=dict)
    by_image: dict[tuple[str, ...], list[tuple[int, CompiledWaiver]]] = field(default_factory=dict)
    others: list[tuple[int, CompiledWaiver]] = field(default_factory=list)

    def add(self, place: int, waiver: CompiledWaiver) -> None:
        """File a waiver."""
        for name in waiver.containers:
            self.by_name.setdefault(name, []).append((place, waiver))
        if not waiver.containers:
            for pattern in waiver.images:
                self.by_image.setdefault(_literal(pattern), []).append((place, waiver))
            if not waiver.images:
                self.others.append((place, waiver))

    def first_for(self, pod: Pod, container: Container | None) -> CompiledWaiver | None:
        """The first waiver by name for a container of the pod, or with None for the pod itself."""
        candidates = self.others[:1]
        if container is not None:
            candidates += self.by_name.get(container.name, ())
            for prefix in _prefixes(container.image or ""):
                candidates += self.by_image.get(prefix, ())
        covering = (candidate for candidate in candidates if candidate[1].covers(pod, container))
        return min(covering, key=lambda candidate: candidate[0], default=(0, None))[1]


def _applicable(waivers: Sequence[CompiledWaiver], pod: Pod, now: datetime) -> dict[str, _Waivers]:
    """By control, the waivers that have not ended and select the pod's labels."""
    by_control: dict[str, _Waivers] = {}
    labels = pod.metadata.labels or {}
    for place, waiver in enumerate(waivers):
        if now < waiver.expires and (waiver.selects_labels is None or waiver.selects_labels(labels)):
            for control in waiver.controls:
                by_control.setdefault(control, _Waivers()).add(place, waiver)
    return by_control


def _literal(pattern: RegistryPattern) -> tuple[str, ...]:
    """The segments of a pattern up to the first with a wildcard."""
    return tuple(takewhile(lambda segment: "*" not in segment, pattern.segments))


def _prefixes(image: str) -> Iterator[tuple[str, ...]]:
    """All beginnings of an image's segments, the empty one included; none where it is not a valid reference."""
    try:
        reference = parse(image)
    except ImageError:
        return
    segments = (reference.registry, *reference.repository.split("/"))
    for length in range(len(segments) + 1):
        yield segments[:length]


def waiver_lines(waived: Sequence[Waived]) -> tuple[str, ...]:
    """A line for each waiver and control: what it exempts, until when, and why."""
    groups: dict[tuple[str, str, str], list[Waived]] = {}
    for exemption in waived:
        groups.setdefault((exemption.waiver, exemption.policy, exemption.finding.control), []).append(exemption)
    return tuple(_line(group) for group in groups.values())


def _line(group: Sequence[Waived]) -> str:
    first = group[0]
    findings = list({exemption.finding.about: exemption.finding for exemption in group}.values())
    shown = ", ".join(finding.subject for finding in findings[:4])
    shown += f" and {len(findings) - 4} more" if len(findings) > 4 else ""
    return (
        f'waiver "{first.waiver}" exempts {shown} from {first.finding.control} of policy "{first.policy}" until '
        f"{rfc3339(first.expires)}: {first.reason}"
    )
