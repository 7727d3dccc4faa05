"""A policy, compiled: which pods it applies to, what it checks, and its defaults, ready for requests.

Compilation also finds what the schema cannot express: every problem, each with its field's path.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final
from weakref import WeakValueDictionary

import msgspec
from msgspec import Struct

from sekisho.controls import (
    CONTROLS,
    Check,
    ControlEnforcement,
    EvidenceCheck,
    Level,
    ParameterError,
    Parameters,
    WorkloadCheck,
    complete,
)
from sekisho.controls.image_catalogs import CatalogNames
from sekisho.documents import Problem
from sekisho.policies.compiled_defaults import Default, compile_defaults
from sekisho.policies.index import Cues, cues_of
from sekisho.policies.matching import (
    Selects,
    SelectsPod,
    compile_namespaces,
    compile_pods,
    compile_selector,
    entries_of_match,
    namespace_cost,
)
from sekisho.policies.problems import PolicyError, Problems
from sekisho.policies.types import (
    EITHER_LEVEL_OR_LABELS,
    LEVEL,
    PRINTABLE,
    ClusterPodPolicy,
    Controls,
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
    evidence_check: what is judged from evidence about images; None if nothing is.
    workload_check: what is judged of objects with a pod template; None if nothing is.
    """

    control: str
    parameters: Parameters
    check: Check
    enforcement: Enforcement
    on_templates: bool = True
    evidence_check: EvidenceCheck | None = None
    workload_check: WorkloadCheck | None = None

    @property
    def cost(self) -> int:
        """The check, and the entries of the lists in its parameters: what may be compared for each container."""
        return 1 + _entries(self.parameters)


def _entries(parameters: object) -> int:
    """The entries of the lists in a struct, of those in the structs that they have, and of those that these name."""
    count = parameters.cost if isinstance(parameters, CatalogNames) else 0
    for name in getattr(parameters, "__struct_fields__", ()):
        value = getattr(parameters, name)
        if isinstance(value, tuple | dict):
            count += len(value) + sum(map(_entries, value))
        else:
            count += _entries(value)
    return count


def cost_of(rules: Iterable[Rule]) -> int:
    """The cost of rules, of which those with the same check count once, as they are judged once."""
    return sum(rule.cost for rule in {id(rule.check): rule for rule in rules}.values())


class CompiledPolicy(Struct, frozen=True, eq=False):
    """A policy ready to match and judge.

    key: identifies the policy in a plan: its name, with the levels from the namespace's labels where it reads those.
    namespace: that of a PodPolicy, None for a ClusterPodPolicy.
    cues: its place in the index of a PolicySet.
    selects_labels: None if the policy does not read the namespace's labels to match.
    selects_pod: None if it applies to all pods of its namespaces.
    rules: for a policy that reads its levels from labels, those of the controls that it sets itself.
    for_labels: compiles the policy for a namespace's labels; None if it does not read its levels from them.
    notes: problems with those labels, for users who apply pods.
    label_keys: of the pods' labels that it reads to match.
    match_entries: the values and names that it selects and excludes pods by.
    namespace_cost: what selecting it for a namespace costs, as `pattern_cost` gives it.
    message: the policy's own line, which follows the fix of its violations; empty for none.
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
    label_keys: frozenset[str] = frozenset()
    match_entries: int = 0
    namespace_cost: int = 0
    message: str = ""


def compile_policy(policy: ClusterPodPolicy | PodPolicy) -> CompiledPolicy:
    """Compile one policy. Raises PolicyError with every problem, each with its field's path."""
    spec, name = policy.spec, policy.title
    problems = Problems()
    level, minor = _level(spec.pod_security_standard, problems)
    compiled = CompiledPolicy(
        name=name,
        key=name,
        message=spec.message or "",
        namespace=policy.metadata.namespace if isinstance(policy, PodPolicy) else None,
        cues=_cues(policy),
        templates=spec.templates,
        selects_namespace=_selects_namespace(policy, problems),
        selects_labels=(
            problems.of(compile_selector, policy.spec.match.namespace_selector, "spec.match.namespaceSelector")
            if isinstance(policy, ClusterPodPolicy)
            else None
        ),
        selects_pod=problems.of(compile_pods, spec.match),
        rules=_rules(spec, level, minor, problems),
        defaults=problems.of(_defaults, policy, minor) or (),
        label_keys=frozenset() if spec.match.pod_selector is None else spec.match.pod_selector.keys,
        match_entries=entries_of_match(spec.match),
        namespace_cost=namespace_cost(policy.spec.match) if isinstance(policy, ClusterPodPolicy) else 1,
    )
    if not compiled.message.isprintable():
        problems.add("spec.message", PRINTABLE)
    problems.raise_any()
    if not _takes_labels(spec.pod_security_standard):
        return compiled
    return msgspec.structs.replace(compiled, for_labels=_compile_for_labels(policy, compiled))


def _takes_labels(standard: Standard | None) -> bool:
    return isinstance(standard, PodSecurityStandard) and standard.from_namespace_labels


def _level(standard: Standard | None, problems: Problems) -> tuple[Level, int]:
    """Level and minor version; privileged where the namespace's labels give the level."""
    if standard is None:
        return Level.PRIVILEGED, parse_version(LATEST)
    if (standard.level is None) is not _takes_labels(standard) or (standard.version and not standard.level):
        message = EITHER_LEVEL_OR_LABELS if isinstance(standard, PodSecurityStandard) else LEVEL
        problems.add("spec.podSecurityStandard", message)
    try:
        return standard.level or Level.PRIVILEGED, parse_version(standard.version or LATEST)
    except ValueError as error:
        problems.add("spec.podSecurityStandard.version", str(error))
        return Level.PRIVILEGED, parse_version(LATEST)


def _selects_namespace(policy: ClusterPodPolicy | PodPolicy, problems: Problems) -> Callable[[str], bool]:
    if isinstance(policy, ClusterPodPolicy):
        return problems.of(compile_namespaces, policy.spec.match) or (lambda _: False)
    own = policy.metadata.namespace
    if not own:
        problems.add("metadata.namespace", "must be set: a PodPolicy applies to the pods of its own namespace")
    return lambda namespace: namespace == own


def _cues(policy: ClusterPodPolicy | PodPolicy) -> Cues:
    if isinstance(policy, PodPolicy):
        return cues_of((policy.metadata.namespace,), None)
    match = policy.spec.match
    return cues_of(match.namespaces, match.namespace_selector.match_labels if match.namespace_selector else None)


def _compile_for_labels(
    policy: ClusterPodPolicy | PodPolicy, compiled: CompiledPolicy
) -> Callable[[Mapping[str, str]], CompiledPolicy]:
    """A function that compiles the policy for a namespace's labels, once per combination of levels."""
    spec = policy.spec

    @lru_cache(maxsize=1024)
    def compiled_for(levels: NamespaceLevels) -> CompiledPolicy:
        enforced = _rules(spec, *levels.enforce)
        rules = [msgspec.structs.replace(r, on_templates=r.control in _own_controls(spec)) for r in enforced]
        for (level, minor), enforcement in ((levels.warn, Enforcement.WARN), (levels.audit, Enforcement.AUDIT)):
            others = (rule for rule in _rules(spec, level, minor) if rule.control not in _own_controls(spec))
            rules += [msgspec.structs.replace(rule, enforcement=enforcement) for rule in others]
        key = f"{compiled.name} {levels.enforce} {levels.warn} {levels.audit} {levels.errors}"
        defaults = _defaults(policy, levels.enforce[1], levels.enforce[0])
        return msgspec.structs.replace(
            compiled, key=key, rules=tuple(rules), defaults=defaults, notes=levels.errors, for_labels=None
        )

    return lambda labels: compiled_for(levels_of_labels(labels))


def _defaults(policy: ClusterPodPolicy | PodPolicy, minor: int, labelled: Level | None = None) -> tuple[Default, ...]:
    """The defaults of a policy at a version, without those of controls that it switches off.

    labelled: the level of the namespace's labels, None where the policy itself has the level. The profile sets nothing
        that neither that level nor the policy's own controls restrict.
    """
    own = {name: getattr(policy.spec.controls, name) for name in _own_controls(policy.spec)}
    level_controls = {Level.PRIVILEGED: (), Level.BASELINE: ("seccompProfile",)}.get(labelled or Level.RESTRICTED)
    restricting = None if level_controls is None else {*level_controls, *own}
    off = {name for name, named in own.items() if named.enforcement == ControlEnforcement.OFF}
    token = own.get("serviceAccountToken")
    return compile_defaults(
        policy.title,
        policy.spec.defaults,
        minor,
        off,
        of_cluster=isinstance(policy, ClusterPodPolicy),
        token_accounts=frozenset(getattr(token, "allowed_service_accounts", None) or ()),
        profile_controls=restricting,
    )


def _own_controls(spec: PodPolicySpec) -> frozenset[str]:
    """The controls that the policy sets itself; they apply whatever the labels say."""
    if spec.controls == _NO_CONTROLS:  # as in most of thousands of policies
        return frozenset()
    return frozenset(name for name in CONTROLS if getattr(spec.controls, name) is not None)


def _rules(spec: PodPolicySpec, level: Level, minor: int, problems: Problems | None = None) -> tuple[Rule, ...]:
    """The rules of a policy. Problems are added to `problems`, or raised as PolicyError if it is None."""
    if spec.controls == _NO_CONTROLS:
        return _rules_of_level(level, minor, spec.enforcement)
    return tuple(_compile_rules(spec.controls, level, minor, spec.enforcement, problems))


_NO_CONTROLS: Final = Controls()


@lru_cache(maxsize=64)
def _rules_of_level(level: Level, minor: int, enforcement: Enforcement) -> tuple[Rule, ...]:
    """The rules of policies without controls of their own. Thousands of policies may share these objects."""
    return tuple(_compile_rules(_NO_CONTROLS, level, minor, enforcement, None))


def _compile_rules(
    controls: Controls, level: Level, minor: int, default: Enforcement, problems: Problems | None
) -> Iterator[Rule]:
    """The rules of a policy whose controls have the enforcement `default` unless they set one."""
    implied = controls_of(level, minor)
    for name, control in CONTROLS.items():
        named: Parameters | None = getattr(controls, name)
        parameters = implied.get(name) if named is None else complete(control, named, level, minor)
        enforcement = (named.enforcement if named is not None else None) or default
        if parameters is None or enforcement == ControlEnforcement.OFF:
            continue
        try:
            if named is not None:
                control.verify(named)
            check, evidence_check = _compile_check(name, parameters, minor)
        except ParameterError as error:
            where = f"spec.controls.{name}.{error.where}"
            if problems is None:
                raise PolicyError(Problem(where, error.message)) from None
            problems.add(where, error.message)
            continue
        yield Rule(
            name,
            parameters,
            check,
            Enforcement(enforcement),
            evidence_check=evidence_check,
            workload_check=control.workload_check(parameters),
        )


_Key = tuple[str, Parameters, int]
_checks: WeakValueDictionary[_Key, Check] = WeakValueDictionary()
_evidence_checks: WeakValueDictionary[_Key, EvidenceCheck] = WeakValueDictionary()
# Those that some policy uses: a dry run of a policy leaves none behind.


def _compile_check(name: str, parameters: Parameters, minor: int) -> tuple[Check, EvidenceCheck | None]:
    """The checks of a control. Policies with the same parameters share them, so that a plan has them only once."""
    key, control = (name, parameters, minor), CONTROLS[name]
    check = _checks.get(key)
    if check is None:
        check = _checks[key] = control.check(parameters, minor)
    evidence_check = _evidence_checks.get(key) or control.evidence_check(parameters)
    if evidence_check is not None:
        _evidence_checks[key] = evidence_check
    return check, evidence_check
