"""Waivers: what they exempt. Pods without violations and without defaults never get here."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from sekisho.admission.bounds import MAX_WAIVED
from sekisho.admission.context import Context
from sekisho.admission.time_checks import UnjudgedError
from sekisho.admission.verdict import Violation
from sekisho.findings import Finding, render_value
from sekisho.images import ImageError, parse
from sekisho.pods import Container, Pod, container_refs
from sekisho.policies import CompiledWaiver, Default, Enforcement, Plan
from sekisho.policies.plans import Judges
from sekisho.timestamps import rfc3339

Group = tuple[int, ...]
"""The waivers that apply to a container by its name or image, as their indices in `Exemptions.waivers`."""

IsDefaultExempt = Callable[[Default, Container | None], bool]
"""Whether a default is not applied to a container, or with None to the pod itself."""


class Waived(Struct, frozen=True, gc=False):
    """A finding that a waiver exempts from one policy: the waiver, when it expires, and why it was granted.

    value: the value that it exempts from; None for a waiver without values, which exempts from all.
    """

    policy: str
    enforcement: Enforcement
    finding: Finding
    waiver: str
    expires: datetime
    reason: str
    value: str | None = None


def apply_waivers(
    violations: list[Violation], pod: Pod, context: Context
) -> tuple[list[Violation], tuple[Waived, ...]]:
    """The violations that stay, and the findings that waivers exempt.

    One waiver must exempt a policy's finding alone: the conditions of two waivers never combine. A waiver has expired
    at the time that it names.

    Raises UnjudgedError as `context.check_time` does, and for more than MAX_WAIVED exemptions.
    """
    if not violations or context.clock is None or not context.policies.has_waivers:
        return violations, ()
    remaining: list[Violation] = []
    waived: list[Waived] = []
    containers = {ref.path: ref.container for ref in container_refs(pod.spec)}
    by_policy = context.policies.waivers_in(context.namespace)
    distinct = {id(violation.policies): violation.policies for violation in violations}
    names = {name for policies in distinct.values() for name in policies if name in by_policy}
    waivers = [waiver for name in names for waiver in by_policy[name]]
    exemptions = Exemptions(pod, waivers, context.clock())
    for violation in violations:
        if context.check_time is not None:
            context.check_time()
        if len(waived) > MAX_WAIVED:
            raise UnjudgedError(f"waivers exempt the pod more than {MAX_WAIVED:,} times")
        finding = violation.finding
        container = containers[finding.path[:3]] if finding.container is not None else None
        exempt = exemptions.of(violation.policies, finding, container)
        if not exempt.waivers:
            remaining.append(violation)
            continue
        for policy, waiver in exempt.waivers:
            value = value_of(finding, pod) if waiver.values else None
            waived.append(
                Waived(policy, violation.enforcement, finding, waiver.name, waiver.expires, waiver.reason, value)
            )
        if exempt.staying:
            remaining.append(replace(violation, policies=exempt.staying))
    return remaining, tuple(waived)


class Exempt(Struct, frozen=True):
    """Of some policies, those that waivers exempt from, each with the first waiver by name, and those that stay."""

    policies: tuple[str, ...]
    waivers: tuple[tuple[str, CompiledWaiver], ...]
    staying: tuple[str, ...]


class Exemptions:
    """What waivers exempt a pod and its containers from, whether they violate anything or not.

    The waivers of a container are looked for once, whatever the number of its controls and policies is. They are filed
    so that it finds its own without asking each: by the container's name, and by the segments of an image pattern up
    to its first wildcard. What a group of waivers exempts from is found once for all containers that have it.
    """

    def __init__(self, pod: Pod, waivers: Iterable[CompiledWaiver], now: datetime) -> None:
        """From waivers for the pod's namespace, each once or more; those that have expired are left out."""
        self._pod = pod
        self.waivers = sorted(
            (waiver for waiver in dict.fromkeys(waivers) if now < waiver.expires and waiver.selects(pod)),
            key=lambda waiver: waiver.name,
        )
        for_all: list[int] = []
        self._by_name: dict[str, list[int]] = {}
        self._by_image: dict[tuple[str, ...], list[int]] = {}
        for index, waiver in enumerate(self.waivers):
            if not (waiver.containers or waiver.images):
                for_all.append(index)
            for name in waiver.containers:
                self._by_name.setdefault(name, []).append(index)
            if not waiver.containers:
                for literal in waiver.literals:
                    self._by_image.setdefault(literal, []).append(index)
        self._for_all = tuple(for_all)
        self._groups: dict[tuple[str, str | None], Group] = {}
        self._firsts: dict[tuple[Group, str, str | None], dict[str, int]] = {}
        self._members: dict[Group, frozenset[int]] = {}
        self._exempt: dict[tuple[int, str, Group, str | None], Exempt] = {}
        self._by_value: dict[str, list[int]] = {}
        for index, waiver in enumerate(self.waivers):
            for value in waiver.values:
                self._by_value.setdefault(value, []).append(index)

    def group(self, container: Container | None) -> Group:
        """The waivers that apply to a container by its name or image; empty for the pod itself, which is None."""
        if container is None:
            return ()
        key = container.name, container.image
        known = self._groups.get(key)
        if known is None:
            indices = set(self._by_name.get(container.name, ()))
            for prefix in _prefixes(container.image or "") if self._by_image else ():
                indices.update(self._by_image.get(prefix, ()))
            known = tuple(index for index in sorted(indices) if self.waivers[index].covers(container))
            self._groups[key] = known
        return known

    def policies(self, control: str, container: Container | None) -> Set[str]:
        """The policies from whose control a container, or with None the pod itself, is exempt for every value."""
        return self._first(self._for_all, control).keys() | self._first(self.group(container), control).keys()

    def of(self, policies: tuple[str, ...], finding: Finding, container: Container | None) -> Exempt:
        """For which of a finding's policies waivers exempt a container, or with None the pod itself.

        Thousands of findings may name the same tuple of a thousand policies, which is gone through once.
        """
        value = value_of(finding, self._pod) if self._by_value else None
        value = value if value in self._by_value else None
        group, control = self.group(container), finding.control
        key = id(policies), control, group, value
        known = self._exempt.get(key)
        if known is None:
            values = (None,) if value is None else (None, value)
            firsts = [self._first(exempted, control, value) for exempted in (self._for_all, group) for value in values]
            waivers = [
                (policy, self.waivers[index])
                for policy in (policies if any(firsts) else ())
                if (index := min((first[policy] for first in firsts if policy in first), default=None)) is not None
            ]
            exempt = {policy for policy, _ in waivers}
            staying = tuple(policy for policy in policies if policy not in exempt)
            known = self._exempt[key] = Exempt(policies, tuple(waivers), staying)
        return known

    def _first(self, group: Group, control: str, value: str | None = None) -> Mapping[str, int]:
        """By policy, the first waiver of a group that exempts from a control of it: from every value, or from one."""
        known = self._firsts.get((group, control, value))
        if known is None:
            known = self._firsts[group, control, value] = {}
            for index in group if value is None else self._with_value(group, value):
                waiver = self.waivers[index]
                exempts = control in waiver.controls and (value is not None or not waiver.values)
                for policy in waiver.policies if exempts else ():
                    known.setdefault(policy, index)
        return known

    def _with_value(self, group: Group, value: str) -> Iterator[int]:
        if group not in self._members:
            self._members[group] = frozenset(group)
        return filter(self._members[group].__contains__, self._by_value[value])


def value_of(finding: Finding, pod: Pod) -> str | None:
    """The value of a finding as waivers name it; None for one that is unset, hidden, a list or an object.

    pod: the pod with the finding. A hostPath has its path as its value, whichever control denies it.
    """
    raw = finding.raw_value
    match finding.path:
        case ("spec", "volumes", int(index), "hostPath"):
            host_path = (pod.spec.volumes or [])[index].host_path
            return None if host_path is None else host_path.path
    if finding.shown is not None or not isinstance(raw, str | int):
        return None
    return raw if isinstance(raw, str) else json.dumps(raw)


def exemptions(pod: Pod, context: Context, now: datetime) -> Exemptions:
    """What all waivers for its namespace exempt a pod from."""
    return Exemptions(pod, chain.from_iterable(context.policies.waivers_in(context.namespace).values()), now)


def waivers_of_defaults(plan: Plan, pod: Pod, context: Context, now: datetime) -> list[CompiledWaiver]:
    """The waivers for the pod or its containers that name the control of a default; none for nearly all pods."""
    by_policy = context.policies.waivers_in(context.namespace)
    if not by_policy:
        return []
    controls = {default.control for default in plan.defaults}
    return [
        waiver
        for waiver in dict.fromkeys(chain.from_iterable(by_policy.values()))  # each may name many policies
        if now < waiver.expires
        and not waiver.values  # a default is for an unset field, which has no value
        and not controls.isdisjoint(waiver.controls)
        and waiver.selects(pod)
    ]


def is_default_exempt(plan: Plan, exemptions: Exemptions) -> IsDefaultExempt:
    """Whether waivers exempt a container of the pod from a default, or with None the pod itself.

    A waiver for the default's own policy exempts from it, and so do waivers for all policies that judge its field. But
    the default of a policy that denies pods without the field, and is not waived, is applied: the pod would be denied
    otherwise.
    """
    known: dict[tuple[Group, str], tuple[bool, Set[str]]] = {}

    def is_exempt(default: Default, container: Container | None) -> bool:
        key = exemptions.group(container), default.control
        if key not in known:
            known[key] = _exempt_defaults(
                plan.judges.get(default.control), exemptions.policies(default.control, container)
            )
        from_all, policies = known[key]
        return from_all or default.policy in policies

    return is_exempt


def _exempt_defaults(judges: Judges | None, exempt: Set[str]) -> tuple[bool, Set[str]]:
    """Whether all defaults for a field are exempt; if not, the policies whose defaults are."""
    if judges is None:
        return False, exempt
    if not all(policy in exempt for policy in judges.requiring):
        return False, frozenset()
    return all(policy in exempt for policy in judges.judging), exempt


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
    shown = _first_four([finding.subject for finding in findings])
    values = [render_value(value) for value in dict.fromkeys(waived.value for waived in group) if value is not None]
    control = f"{first.finding.control} ({_first_four(values)})" if values else first.finding.control
    return (
        f'waiver "{first.waiver}" exempts {shown} from {control} of policy "{first.policy}" until '
        f"{rfc3339(first.expires)}: {first.reason}"
    )


def _first_four(texts: Sequence[str]) -> str:
    return ", ".join(texts[:4]) + (f" and {len(texts) - 4} more" if len(texts) > 4 else "")
