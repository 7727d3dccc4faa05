"""Plans: what to judge about a pod, for the policies that match it.

A plan lists every check once with the policies that require it, so that twenty policies of the same standard cost as
much as one. Plans share equal parts, and the cache of plans is bounded in bytes: users choose the labels of their pods,
and with them which of the policies with a podSelector match.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from sekisho.controls import CONTROLS, Check, EvidenceCheck, WorkloadCheck
from sekisho.controls.images import Images, names_image
from sekisho.images.reference import Reference
from sekisho.policies.compilation import CompiledPolicy, Rule, cost_of
from sekisho.policies.compiled_defaults import Default, DefaultLevel, entries_of
from sekisho.policies.safe_defaults import first_per_field, requires_a_value, safe_defaults
from sekisho.policies.types import Enforcement, TemplateEnforcement
from sekisho.remembered import note, noted

MAX_BYTES: Final = 24 << 20
"""Estimated bytes of the plans in a cache; a full cache is cleared."""
_PART_BYTES: Final = 190
_ENTRY_BYTES: Final = 8
_GROUP_ENTRIES: Final = 75
"""As many bytes as a group takes, without the names of its policies."""

T = TypeVar("T")


class Requirement(Struct, frozen=True):
    """Policies that require a check, sorted by name, and what they do to an object that fails it.

    on_pods: what they do to a pod; for a template `enforcement` may be milder.
    messages: the policies that have a line of their own for their violations, by name, and that line.
    """

    enforcement: Enforcement
    on_pods: Enforcement
    policies: tuple[str, ...]
    messages: tuple[tuple[str, str], ...] = ()


class Step(Struct, frozen=True):
    """A check of a control, and which policies require it.

    evidence_check: what else they require, and is judged from evidence about images; None if nothing is.
    workload_check: what they require of objects with a pod template themselves; None if nothing.
    """

    control: str
    check: Check
    required_by: tuple[Requirement, ...]
    evidence_check: EvidenceCheck | None = None
    workload_check: WorkloadCheck | None = None


class Judges(Struct, frozen=True):
    """The policies that judge the field of a default.

    requiring: those that deny a pod that leaves the field unset.
    judging: those that require the field, whatever they do to a pod without it; those with the control if none does.
    """

    requiring: tuple[str, ...] = ()
    judging: tuple[str, ...] = ()


class Plan(Struct, frozen=True, eq=False):
    """What to do with a pod: checks for pods, checks for pod templates, defaults, and notes for all users.

    cluster_defaults, own_defaults: those of all ClusterPodPolicies, and of all PodPolicies of the namespace, in the
        order of precedence; `defaults` has one for each field.
    judges: by the names of the controls of `all_defaults`; none for a control that no policy has.
    needs_evidence: whether some step is judged from evidence about images.
    has_mirrors: whether some default has images pulled from a mirror.
    names_image: with mirrors, whether some policy says something about this one image, which then stays where it is.
    cost: the checks, the entries of the lists in their parameters, and those of maps of defaults: what may be compared
        for each container.
    """

    steps: tuple[Step, ...] = ()
    template_steps: tuple[Step, ...] = ()
    defaults: tuple[Default, ...] = ()
    notes: tuple[str, ...] = ()
    cluster_defaults: tuple[Default, ...] = ()
    own_defaults: tuple[Default, ...] = ()
    judges: Mapping[str, Judges] = {}
    needs_evidence: bool = False
    has_mirrors: bool = False
    names_image: tuple[Callable[[Reference], bool], ...] = ()
    cost: int = 0

    @property
    def all_defaults(self) -> tuple[Default, ...]:
        """The defaults of all policies in the order of precedence."""
        return self.cluster_defaults + self.own_defaults


class PlanCache:
    """The plans of combinations of policies, bounded in bytes.

    known: parts of other plans that new plans may share.
    label_keys: of the labels that policies and waivers select pods by; these get no default, because a policy would
        apply to the pod then that did not apply before.
    plans, parts: what it holds, by the keys of the policies, and parts that plans share.
    """

    def __init__(self, known: Mapping[tuple[Any, ...], Any] = {}, label_keys: frozenset[str] = frozenset()) -> None:
        self._label_keys = label_keys
        self.plans: dict[tuple[str, ...], Plan] = {}
        self._known = known
        self.parts: dict[tuple[Any, ...], Any] = {}
        self.bytes = 0
        """An estimate of what it holds."""

    @property
    def is_full(self) -> bool:
        """Whether it must be cleared, together with whatever else refers to its plans."""
        return self.bytes >= MAX_BYTES

    def clear(self) -> None:
        """Drop all plans."""
        self.plans.clear()
        self.parts.clear()
        self.bytes = 0

    def add_bytes(self, entries: int) -> None:
        """Count an object outside of the cache that refers to its plans. entries: the number of its references."""
        self.bytes += _PART_BYTES + _ENTRY_BYTES * entries

    def plan(self, policies: tuple[CompiledPolicy, ...]) -> Plan:
        """The plan of policies, which must be in order: ClusterPodPolicies first."""
        keys = tuple(policy.key for policy in policies)
        plan = self.plans.get(keys)
        if plan is None:
            plan = self.plans[keys] = self._build(policies)
            entries = (keys, plan.defaults, plan.own_defaults, plan.notes, plan.judges)
            self.add_bytes(sum(map(len, entries)))
        return plan

    def plan_of_pod(self, policies: tuple[CompiledPolicy, ...]) -> Plan:
        """The plan of policies that a pod's labels or creator choose: remembered only if the pod is admitted."""
        keys = tuple(policy.key for policy in policies)
        plan = self.plans.get(keys)
        if plan is None:
            in_trial: Any = noted(self, keys)
            plan = in_trial
        if plan is None:
            own = PlanCache(self.parts, self._label_keys)
            plan = own.plan(policies)
            note(self, keys, plan, lambda: self._keep(own))
        return plan

    def knows(self, policies: tuple[CompiledPolicy, ...]) -> bool:
        """Whether the plan of policies is remembered."""
        return tuple(policy.key for policy in policies) in self.plans

    def _keep(self, other: "PlanCache") -> None:
        """Take over the plans of another cache with all of their parts, whose keys have the ids of some of them."""
        self.plans.update(other.plans)
        self.parts.update(other.parts)
        self.bytes += other.bytes

    def _share(self, key: tuple[Any, ...], entries: int, make: Callable[[], T]) -> T:
        """The part of an earlier plan with the same key, or a new one, which `make` makes. entries: its size.

        A key may have the ids of other shared parts, and of checks that the parts refer to: they live as long.
        """
        known: T | None = self._part(key)
        if known is None:
            known = self.parts[key] = make()
            self.add_bytes(entries)
        return known

    def _part(self, key: tuple[Any, ...]) -> Any:
        known = self.parts.get(key)
        return self._known.get(key) if known is None else known

    def _build(self, policies: tuple[CompiledPolicy, ...]) -> Plan:
        defaults = safe_defaults(
            (
                default
                for policy in policies
                for default in policy.defaults
                if default.label is None or default.label not in self._label_keys
            ),
            (
                (rule.control, rule.check)
                for policy in policies
                for rule in policy.rules
                if rule.enforcement == Enforcement.DENY
            ),
        )
        of_cluster = tuple(default for default in defaults if default.of_cluster)
        has_mirrors = any(default.level is DefaultLevel.MIRRORS for default in defaults)
        return Plan(
            steps=self._steps(policies, _pod_rules),
            template_steps=self._steps(policies, _template_rules),
            defaults=first_per_field(defaults),
            notes=tuple(note for policy in policies for note in policy.notes),
            cluster_defaults=self._share(("defaults", *map(id, of_cluster)), 2 * len(of_cluster), lambda: of_cluster),
            own_defaults=tuple(default for default in defaults if not default.of_cluster),
            judges=self._judges(policies, {default.control for default in defaults}),
            needs_evidence=any(rule.evidence_check for policy in policies for rule in policy.rules),
            has_mirrors=has_mirrors,
            names_image=tuple(_names_images(policies)) if has_mirrors else (),
            cost=cost_of(rule for policy in policies for rule in policy.rules) + entries_of(defaults),
        )

    def _judges(self, policies: Sequence[CompiledPolicy], controls: set[str]) -> dict[str, Judges]:
        """The policies that judge the fields of defaults, by the names of these controls."""
        having: dict[str, list[str]] = {}
        requiring: dict[str, list[str]] = {}
        denying: dict[str, list[str]] = {}
        requires: dict[int, bool] = {}  # hundreds of policies may have the same check
        for policy in policies if controls else ():
            for rule in policy.rules:
                if rule.control in controls:
                    having.setdefault(rule.control, []).append(policy.name)
                    if id(rule.check) not in requires:
                        requires[id(rule.check)] = requires_a_value(rule.check)
                    if requires[id(rule.check)]:
                        requiring.setdefault(rule.control, []).append(policy.name)
                        if rule.enforcement == Enforcement.DENY:
                            denying.setdefault(rule.control, []).append(policy.name)
        return {
            control: self._share_judges(tuple(denying.get(control, ())), tuple(requiring.get(control, names)))
            for control, names in having.items()
        }

    def _share_judges(self, requiring: tuple[str, ...], judging: tuple[str, ...]) -> Judges:
        key = ("judges", requiring, judging)
        return self._share(key, len(requiring) + len(judging), lambda: Judges(requiring, judging))

    def _steps(self, policies: tuple[CompiledPolicy, ...], required: "_Required") -> tuple[Step, ...]:
        cluster = tuple(policy for policy in policies if policy.namespace is None)
        if len(cluster) == len(policies):
            groups = self._with_steps(_grouped({}, required(policies)), policies)
        else:
            # Many namespaces have the same ClusterPodPolicies, and differ in a few PodPolicies.
            shared = self._groups_of(cluster, required)
            groups = self._with_steps(_grouped(shared, required(policies[len(cluster) :])), policies)
        ordered = sorted(groups.values(), key=lambda group: _ORDER[group.rule.control])
        steps = tuple(group.step for group in ordered if group.step is not None)
        return self._share(("steps", *map(id, steps)), 2 * len(steps), lambda: steps)

    def _groups_of(self, cluster: tuple[CompiledPolicy, ...], required: "_Required") -> dict[int, "_Group"]:
        key = (required, cluster)
        known: dict[int, _Group] | None = self._part(key)
        if known is None:
            known = self.parts[key] = self._with_steps(_grouped({}, required(cluster)), cluster)
            names = sum(len(held) for group in known.values() for held in group.names.values())
            self.add_bytes(len(cluster) + _GROUP_ENTRIES * len(known) + names)
        return known

    def _with_steps(self, groups: dict[int, "_Group"], policies: Sequence[CompiledPolicy]) -> dict[int, "_Group"]:
        """The groups, each with its step."""
        messages = {policy.name: policy.message for policy in policies if policy.message}
        return {
            key: group if group.step is not None else replace(group, step=self._step(group.rule, group.names, messages))
            for key, group in groups.items()
        }

    def _step(
        self,
        rule: Rule,
        by_enforcement: Mapping[tuple[Enforcement, Enforcement], Sequence[str]],
        messages: Mapping[str, str],
    ) -> Step:
        check = rule.check
        groups = tuple(
            (enforcement, held := tuple(sorted(names)), tuple((n, messages[n]) for n in held if n in messages))
            for enforcement, names in by_enforcement.items()
        )
        required_by = self._share(
            groups,
            sum(len(names) + 2 * len(held) for _, names, held in groups),
            lambda: tuple(Requirement(*enforcement, names, held) for enforcement, names, held in groups),
        )
        return self._share(
            (id(check), id(required_by)),
            5,
            lambda: Step(rule.control, check, required_by, rule.evidence_check, rule.workload_check),
        )


def _names_images(policies: Iterable[CompiledPolicy]) -> Iterator[Callable[[Reference], bool]]:
    """For each set of parameters of the control `images`, whether it says something about one image."""
    checks = {id(rule.check): rule.parameters for policy in policies for rule in policy.rules}
    for parameters in checks.values():
        if isinstance(parameters, Images):
            yield names_image(parameters)


class _Group(Struct, frozen=True):
    """The policies that require a check, by what they do, and the step that they make; None until it is made."""

    rule: Rule
    names: dict[tuple[Enforcement, Enforcement], list[str]]
    step: Step | None = None


_Rules = Iterator[tuple[str, Rule, Enforcement, Enforcement]]
"""Rules with their policy's name, and what they do to the object that is judged and to a pod."""
_Required = Callable[[Iterable[CompiledPolicy]], _Rules]


def _pod_rules(policies: Iterable[CompiledPolicy]) -> _Rules:
    for policy in policies:
        for rule in policy.rules:
            yield policy.name, rule, rule.enforcement, rule.enforcement


def _template_rules(policies: Iterable[CompiledPolicy]) -> _Rules:
    for policy in policies:
        if policy.templates != TemplateEnforcement.IGNORE:
            for rule in policy.rules:
                if rule.on_templates:
                    yield policy.name, rule, _for_templates(rule.enforcement, policy.templates), rule.enforcement


def _grouped(shared: Mapping[int, _Group], required: _Rules) -> dict[int, _Group]:
    """Rules by their checks, in addition to those of groups that are not changed."""
    groups = dict(shared)
    # To hash an enum's member is slow in Python 3.11, and there may be thousands of rules.
    names: dict[tuple[int, int, int], list[str]] = {}
    for policy, rule, enforcement, on_pods in required:
        check = id(rule.check)
        known = names.get((check, id(enforcement), id(on_pods)))
        if known is None:
            group = groups.get(check)
            if group is None or group.step is not None:
                before = {} if group is None else {key: list(held) for key, held in group.names.items()}
                group = groups[check] = _Group(rule if group is None else group.rule, before)
            known = names[check, id(enforcement), id(on_pods)] = group.names.setdefault((enforcement, on_pods), [])
        known.append(policy)
    return groups


def _for_templates(enforcement: Enforcement, templates: TemplateEnforcement) -> Enforcement:
    if enforcement == Enforcement.DENY and templates == TemplateEnforcement.WARN:
        return Enforcement.WARN
    return enforcement


_ORDER = {name: index for index, name in enumerate(CONTROLS)}
