"""Policies, compiled: a set is built once when a policy changes, and answers each request with a plan of what to judge.

A plan lists every check once with the policies that ask for it, so twenty policies of the same standard cost what one
does. Plans are kept per namespace and rebuilt when the namespace's labels change.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Struct

from sekisho.controls import CONTROLS, Check, ControlEnforcement, Level, ParameterError, Parameters, complete
from sekisho.pods import Pod
from sekisho.policies.index import Cues, NamespaceIndex, cues_of
from sekisho.policies.matching import Selects, SelectsPod, Subject, compile_namespaces, compile_pods, compile_selector
from sekisho.policies.problems import PolicyError, Problem
from sekisho.policies.types import (
    ClusterPodPolicy,
    ClusterPodPolicySpec,
    Defaults,
    DefaultsProfile,
    Enforcement,
    PodSecurityStandard,
    TemplateEnforcement,
)
from sekisho.standards import LATEST, NamespaceLevels, controls_of, levels_of_labels, parse_version

MOST_KEPT: Final = 20_000
"""Namespaces and selections remembered at once; past it they are forgotten and computed again."""


class Rule(Struct, frozen=True, eq=False):
    """One check that a policy asks for, and what happens to a pod that fails it."""

    control: str
    check: Check
    enforcement: Enforcement
    on_templates: bool = True


class Default(Struct, frozen=True, eq=False):
    """One field that a policy fills in: `level` is spec, or pod or container for its securityContext."""

    level: str
    key: str
    value: Any
    policy: str


class CompiledPolicy(Struct, frozen=True, eq=False):
    """A policy ready to match and judge.

    key: its name, and the levels that were taken from a namespace's labels, if they were.
    cues: where the set's index has it.
    for_labels: where the policy takes its levels from the namespace's labels, gives it compiled for some.
    notes: what those who apply a pod should know of the labels.
    """

    name: str
    key: str
    cues: Cues
    templates: TemplateEnforcement
    selects_namespace: Any
    selects_labels: Selects | None
    selects_pod: SelectsPod | None
    rules: tuple[Rule, ...]
    defaults: tuple[Default, ...]
    for_labels: "Callable[[Mapping[str, str]], CompiledPolicy] | None" = None
    notes: tuple[str, ...] = ()


class Step(Struct, frozen=True, eq=False):
    """A check, and who asks for it: policies by what they do to a pod that fails, each list sorted by name."""

    check: Check
    asked_by: tuple[tuple[Enforcement, tuple[str, ...]], ...]


class Plan(Struct, frozen=True, eq=False):
    """What to do with a pod: checks for pods, checks for pod templates, defaults, and warnings for everybody."""

    steps: tuple[Step, ...] = ()
    template_steps: tuple[Step, ...] = ()
    defaults: tuple[Default, ...] = ()
    notes: tuple[str, ...] = ()


class PolicySet:
    """An immutable set of compiled policies. Build it with `of`; a request uses one set from beginning to end."""

    def __init__(self, policies: tuple[CompiledPolicy, ...]) -> None:
        self._count = len(policies)
        self._index = NamespaceIndex((policy.cues, policy) for policy in policies)
        self.needs_labels = any(p.selects_labels is not None or p.for_labels is not None for p in policies)
        """Whether some policy looks at the namespace's labels, so that `plan` needs them."""
        self._by_namespace: dict[str, tuple[Mapping[str, str] | None, _Selection]] = {}
        self._plans: dict[tuple[str, ...], Plan] = {}

    @classmethod
    def of(cls, policies: Iterable[ClusterPodPolicy]) -> "PolicySet":
        """Compile policies. Raises PolicyError for one that the schema allows and that still makes no sense."""
        return cls.of_compiled(map(compile_policy, policies))

    @classmethod
    def of_compiled(cls, policies: Iterable[CompiledPolicy]) -> "PolicySet":
        """A set of policies that are compiled already."""
        return cls(tuple(sorted(policies, key=lambda policy: policy.name)))

    def __len__(self) -> int:
        return self._count

    def plan(
        self,
        namespace: str,
        namespace_labels: Mapping[str, str] | None,
        pod: Pod | None,
        subject: Subject | None = None,
    ) -> Plan:
        """The plan for a pod. `namespace_labels` may be None only when `needs_labels` is false.

        `subject` is who brings the pod; without one no policy leaves it out for that.
        """
        known = self._by_namespace.get(namespace)
        if known is None or known[0] is not namespace_labels:
            known = (namespace_labels, self._select(namespace, namespace_labels or {}))
            if len(self._by_namespace) >= MOST_KEPT:
                self._by_namespace.clear()
            self._by_namespace[namespace] = known
        selection = known[1]
        if not selection.by_pod:
            return selection.plan
        pod = pod or Pod()
        return self._plan_of(
            tuple(
                policy
                for policy in selection.policies
                if policy.selects_pod is None or policy.selects_pod(pod, subject)
            )
        )

    def _select(self, namespace: str, labels: Mapping[str, str]) -> "_Selection":
        policies = tuple(
            policy if policy.for_labels is None else policy.for_labels(labels)
            for policy in self._index.candidates(namespace, labels)
            if policy.selects_namespace(namespace) and (policy.selects_labels is None or policy.selects_labels(labels))
        )
        by_pod = any(policy.selects_pod is not None for policy in policies)
        return _Selection(policies, by_pod, Plan() if by_pod else self._plan_of(policies))

    def _plan_of(self, policies: tuple[CompiledPolicy, ...]) -> Plan:
        keys = tuple(policy.key for policy in policies)
        plan = self._plans.get(keys)
        if plan is None:
            plan = _build_plan(policies)
            if len(self._plans) >= MOST_KEPT:
                self._plans.clear()
            self._plans[keys] = plan
        return plan


class _Selection(Struct, frozen=True, eq=False):
    """The policies that are about a namespace; `by_pod` when some of them also look at the pod or who brings it."""

    policies: tuple[CompiledPolicy, ...]
    by_pod: bool
    plan: Plan


def compile_policy(policy: ClusterPodPolicy) -> CompiledPolicy:
    """Compile one policy. Raises PolicyError with the field's path."""
    spec, match, name = policy.spec, policy.spec.match, policy.metadata.name
    standard = spec.pod_security_standard or PodSecurityStandard(level="privileged")
    if (standard.level is None) is not standard.from_namespace_labels or (standard.version and not standard.level):
        message = "set either level, with or without version, or fromNamespaceLabels: true"
        raise PolicyError(Problem("spec.podSecurityStandard", message))
    try:
        minor = parse_version(standard.version or LATEST)
    except ValueError as error:
        raise PolicyError(Problem("spec.podSecurityStandard.version", str(error))) from None
    compiled = CompiledPolicy(
        name=name,
        key=name,
        cues=cues_of(match.namespaces, match.namespace_selector.match_labels if match.namespace_selector else None),
        templates=spec.templates,
        selects_namespace=compile_namespaces(match),
        selects_labels=compile_selector(match.namespace_selector, "spec.match.namespaceSelector"),
        selects_pod=compile_pods(match),
        rules=tuple(_rules(spec, standard.level or "restricted", minor)),
        defaults=tuple(_defaults(name, spec.defaults)),
    )
    if not standard.from_namespace_labels:
        return compiled
    return msgspec.structs.replace(compiled, for_labels=_compile_for_labels(spec, compiled))


def _compile_for_labels(
    spec: ClusterPodPolicySpec, compiled: CompiledPolicy
) -> Callable[[Mapping[str, str]], CompiledPolicy]:
    """The policy for a namespace's labels, compiled once for each combination of levels."""

    @lru_cache(maxsize=1024)
    def of_levels(levels: NamespaceLevels) -> CompiledPolicy:
        enforced = _rules(spec, *levels.enforce)
        rules = [msgspec.structs.replace(r, on_templates=r.control in _named(spec)) for r in enforced]
        for (level, minor), enforcement in ((levels.warn, Enforcement.WARN), (levels.audit, Enforcement.AUDIT)):
            noted = (rule for rule in _rules(spec, level, minor) if rule.control not in _named(spec))
            rules += [msgspec.structs.replace(rule, enforcement=enforcement) for rule in noted]
        key = f"{compiled.name} {levels.enforce} {levels.warn} {levels.audit} {levels.errors}"
        return msgspec.structs.replace(compiled, key=key, rules=tuple(rules), notes=levels.errors, for_labels=None)

    return lambda labels: of_levels(levels_of_labels(labels))


def _named(spec: ClusterPodPolicySpec) -> frozenset[str]:
    """The controls that the policy names itself; they hold whatever the labels say."""
    return frozenset(name for name in CONTROLS if getattr(spec.controls, name) is not None)


def _rules(spec: ClusterPodPolicySpec, level: Level, minor: int) -> Iterator[Rule]:
    implied = controls_of(level, minor)
    for name, control in CONTROLS.items():
        named: Parameters | None = getattr(spec.controls, name)
        parameters = implied.get(name) if named is None else complete(control, named, level, minor)
        enforcement = named.enforcement if named is not None and named.enforcement is not None else spec.enforcement
        if parameters is None or enforcement == ControlEnforcement.OFF:
            continue
        try:
            check = _compile_check(name, parameters, minor)
        except ParameterError as error:
            raise PolicyError(Problem(f"spec.controls.{name}.{error.where}", error.message)) from None
        yield Rule(name, check, Enforcement(enforcement))


@lru_cache(maxsize=4096)
def _compile_check(name: str, parameters: Parameters, minor: int) -> Check:
    """One check for all policies that ask for the same thing."""
    check: Check = CONTROLS[name].check(parameters, minor)
    return check


def _defaults(policy: str, defaults: Defaults) -> Iterable[Default]:
    given: dict[tuple[str, str], Any] = {}
    if defaults.profile == DefaultsProfile.RESTRICTED:
        given[("pod", "runAsNonRoot")] = True
        given[("container", "allowPrivilegeEscalation")] = False
        given[("container", "capabilities")] = {"drop": ["ALL"]}
    if defaults.profile is not None:
        given[("pod", "seccompProfile")] = {"type": "RuntimeDefault"}
    if defaults.pod is not None:
        given |= _fields("pod", defaults.pod.security_context)
        if defaults.pod.automount_service_account_token is not None:
            given[("spec", "automountServiceAccountToken")] = defaults.pod.automount_service_account_token
    if defaults.container is not None:
        given |= _fields("container", defaults.container.security_context)
    return [Default(level, key, value, policy) for (level, key), value in given.items()]


def _fields(level: str, context: Struct | None) -> dict[tuple[str, str], Any]:
    if context is None:
        return {}
    values = ((field.encode_name, getattr(context, field.name)) for field in msgspec.structs.fields(context))
    return {(level, key): msgspec.to_builtins(value) for key, value in values if value is not None}


def _build_plan(policies: tuple[CompiledPolicy, ...]) -> Plan:
    defaults: dict[tuple[str, str], Default] = {}
    for policy in policies:
        for default in policy.defaults:
            defaults.setdefault((default.level, default.key), default)
    return Plan(
        steps=_steps((policy.name, rule, rule.enforcement) for policy in policies for rule in policy.rules),
        template_steps=_steps(
            (policy.name, rule, _for_templates(rule.enforcement, policy.templates))
            for policy in policies
            if policy.templates != TemplateEnforcement.IGNORE
            for rule in policy.rules
            if rule.on_templates
        ),
        defaults=tuple(defaults.values()),
        notes=tuple(note for policy in policies for note in policy.notes),
    )


def _for_templates(enforcement: Enforcement, templates: TemplateEnforcement) -> Enforcement:
    if enforcement == Enforcement.DENY and templates == TemplateEnforcement.WARN:
        return Enforcement.WARN
    return enforcement


_ORDER = {name: place for place, name in enumerate(CONTROLS)}


def _steps(asked: Iterable[tuple[str, Rule, Enforcement]]) -> tuple[Step, ...]:
    by_check: dict[int, tuple[Rule, dict[Enforcement, list[str]]]] = {}
    for policy, rule, enforcement in asked:
        _, by_enforcement = by_check.setdefault(id(rule.check), (rule, {}))
        by_enforcement.setdefault(enforcement, []).append(policy)
    ordered = sorted(by_check.values(), key=lambda found: _ORDER[found[0].control])
    return tuple(
        Step(rule.check, tuple((enforcement, tuple(sorted(names))) for enforcement, names in by_enforcement.items()))
        for rule, by_enforcement in ordered
    )
