"""A policy, compiled: whom it is about, what it checks and what it fills in, ready for requests.

What the schema allows and what still makes no sense is found here, all of it at once, with the fields' paths.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

import msgspec
from msgspec import Struct

from sekisho.controls import CONTROLS, Check, ControlEnforcement, Level, ParameterError, Parameters, complete
from sekisho.documents import Problem
from sekisho.policies.defaults import Default, compile_defaults
from sekisho.policies.index import Cues, cues_of
from sekisho.policies.matching import Selects, SelectsPod, compile_namespaces, compile_pods, compile_selector
from sekisho.policies.problems import PolicyError, Problems
from sekisho.policies.types import (
    EITHER_LEVEL_OR_LABELS,
    LEVEL,
    ClusterPodPolicy,
    Enforcement,
    PodPolicy,
    PodPolicySpec,
    PodSecurityStandard,
    Standard,
    TemplateEnforcement,
)
from sekisho.standards import LATEST, NamespaceLevels, controls_of, levels_of_labels, parse_version


class Rule(Struct, frozen=True, eq=False):
    """One check that a policy requires, and what happens to a pod that fails it.

    parameters: those of the control, complete: what the policy leaves unset comes from its standard.
    on_templates: whether pod templates are checked too.
    """

    control: str
    parameters: Parameters
    check: Check
    enforcement: Enforcement
    on_templates: bool = True


class CompiledPolicy(Struct, frozen=True, eq=False):
    """A policy ready to match and judge.

    key: its name, and the levels that were taken from a namespace's labels, if they were.
    namespace: that of a PodPolicy, None for a policy of the cluster.
    cues: where the set's index has it.
    for_labels: where the policy takes its levels from the namespace's labels, gives it compiled for some.
    notes: what those who apply a pod should know of the labels.
    """

    name: str
    key: str
    namespace: str | None
    cues: Cues
    templates: TemplateEnforcement
    selects_namespace: Callable[[str], bool]
    selects_labels: Selects | None
    selects_pod: SelectsPod | None
    rules: tuple[Rule, ...]
    defaults: tuple[Default, ...]
    for_labels: "Callable[[Mapping[str, str]], CompiledPolicy] | None" = None
    notes: tuple[str, ...] = ()


def compile_policy(policy: ClusterPodPolicy | PodPolicy) -> CompiledPolicy:
    """Compile one policy. Raises PolicyError with all that is wrong, each with its field's path."""
    spec, name = policy.spec, policy.title
    found = Problems()
    level, minor = _level(spec.pod_security_standard, found)
    compiled = CompiledPolicy(
        name=name,
        key=name,
        namespace=policy.metadata.namespace if isinstance(policy, PodPolicy) else None,
        cues=_cues(policy),
        templates=spec.templates,
        selects_namespace=_selects_namespace(policy, found),
        selects_labels=(
            found.of(compile_selector, policy.spec.match.namespace_selector, "spec.match.namespaceSelector")
            if isinstance(policy, ClusterPodPolicy)
            else None
        ),
        selects_pod=found.of(compile_pods, spec.match),
        rules=tuple(_rules(spec, level, minor, found)),
        defaults=found.of(compile_defaults, name, spec.defaults) or (),
    )
    found.raise_any()
    if not _takes_labels(spec.pod_security_standard):
        return compiled
    return msgspec.structs.replace(compiled, for_labels=_compile_for_labels(spec, compiled))


def _takes_labels(standard: Standard | None) -> bool:
    return isinstance(standard, PodSecurityStandard) and standard.from_namespace_labels


def _level(standard: Standard | None, found: Problems) -> tuple[Level, int]:
    """Level and minor version; privileged where the namespace's labels give the level."""
    if standard is None:
        return "privileged", parse_version(LATEST)
    if (standard.level is None) is not _takes_labels(standard) or (standard.version and not standard.level):
        message = EITHER_LEVEL_OR_LABELS if isinstance(standard, PodSecurityStandard) else LEVEL
        found.add("spec.podSecurityStandard", message)
    try:
        return standard.level or "privileged", parse_version(standard.version or LATEST)
    except ValueError as error:
        found.add("spec.podSecurityStandard.version", str(error))
        return "privileged", parse_version(LATEST)


def _selects_namespace(policy: ClusterPodPolicy | PodPolicy, found: Problems) -> Callable[[str], bool]:
    if isinstance(policy, ClusterPodPolicy):
        return found.of(compile_namespaces, policy.spec.match) or (lambda _: False)
    own = policy.metadata.namespace
    if not own:
        found.add("metadata.namespace", "is needed: a PodPolicy is about the pods of its own namespace")
    return lambda namespace: namespace == own


def _cues(policy: ClusterPodPolicy | PodPolicy) -> Cues:
    if isinstance(policy, PodPolicy):
        return cues_of((policy.metadata.namespace,), None)
    match = policy.spec.match
    return cues_of(match.namespaces, match.namespace_selector.match_labels if match.namespace_selector else None)


def _compile_for_labels(spec: PodPolicySpec, compiled: CompiledPolicy) -> Callable[[Mapping[str, str]], CompiledPolicy]:
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


def _named(spec: PodPolicySpec) -> frozenset[str]:
    """The controls that the policy names itself; they hold whatever the labels say."""
    return frozenset(name for name in CONTROLS if getattr(spec.controls, name) is not None)


def _rules(spec: PodPolicySpec, level: Level, minor: int, problems: Problems | None = None) -> Iterator[Rule]:
    """The rules of a policy; `problems` takes what is wrong with a control, and is left out once that is known."""
    implied = controls_of(level, minor)
    for name, control in CONTROLS.items():
        named: Parameters | None = getattr(spec.controls, name)
        parameters = implied.get(name) if named is None else complete(control, named, level, minor)
        enforcement = named.enforcement if named is not None and named.enforcement is not None else spec.enforcement
        if parameters is None or enforcement == ControlEnforcement.OFF:
            continue
        try:
            if named is not None:
                control.verify(named)
            check = _compile_check(name, parameters, minor)
        except ParameterError as error:
            where = f"spec.controls.{name}.{error.where}"
            if problems is None:
                raise PolicyError(Problem(where, error.message)) from None
            problems.add(where, error.message)
            continue
        yield Rule(name, parameters, check, Enforcement(enforcement))


@lru_cache(maxsize=4096)
def _compile_check(name: str, parameters: Parameters, minor: int) -> Check:
    """One check for all policies that ask for the same thing."""
    check: Check = CONTROLS[name].check(parameters, minor)
    return check
