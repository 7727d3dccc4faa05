"""Policies that do nothing, although they are valid: no pod can match them, or they require nothing."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from sekisho.controls import CONTROLS, Level, Parameters
from sekisho.findings import words
from sekisho.policies.compilation import CompiledPolicy
from sekisho.policies.matching import pattern_cost, requirements, selects_names
from sekisho.policies.selectors import LabelSelector, LabelSelectorRequirement, Match, PodMatch, SelectorOperator
from sekisho.policies.types import ClusterPodPolicy, PodPolicy, PodPolicySpec
from sekisho.policies.waivers import WaiverMatch

EXEMPT_NAMESPACES: Final = frozenset({"kube-system"})
"""Namespaces whose pods no webhook of the chart receives, whatever its values."""
NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""The API server sets this label to the namespace's name, and nobody can change it."""
_NEED_PARAMETERS: Final = tuple(name for name, control in CONTROLS.items() if control.needs_parameters)
_REQUIRING_NOTHING: Final = frozenset({"enforcement", "resolve_tags", "on_workloads"})
"""Parameters that only say how others are applied."""
_EVERYBODY: Final = frozenset({"system:authenticated", "system:unauthenticated"})
"""Groups: every user is in one of them."""
_MAX_NAMED: Final = 3
"""Namespaces that a clause names; it counts the others."""
_MAX_COMPARED: Final = 50_000
"""The cost of comparing names of namespaces with patterns, as `pattern_cost` gives it: about a microsecond each. Of a
policy with more it is not said that it matches no pod."""


REQUIRES_NOTHING: Final = (
    "spec: requires nothing of pods and applies no defaults: set podSecurityStandard to baseline or restricted, or set "
    "controls or defaults"
)


class Idle(Struct, frozen=True):
    """Why a policy does nothing: in one word, and as a clause after a field's path."""

    reason: str
    clause: str


def idle(policy: ClusterPodPolicy | PodPolicy, compiled: CompiledPolicy, exempt: Collection[str]) -> Idle | None:
    """Why the policy does nothing; None where it does something. The arguments are those of the functions below.

    The level privileged requires nothing either, but a policy that names it alone says so itself.
    """
    clause = why_no_pods(policy, exempt)
    if clause is not None:
        return Idle("MatchesNoPods", clause)
    standard = policy.spec.pod_security_standard
    if standard is not None and standard.level == Level.PRIVILEGED and not any(empty_controls(policy.spec)):
        return None
    clause = why_no_requirements(policy, compiled)
    return Idle("RequiresNothing", clause) if clause is not None else None


def why_no_pods(policy: ClusterPodPolicy | PodPolicy, exempt: Collection[str] = EXEMPT_NAMESPACES) -> str | None:
    """Why no pod can match the policy, as a clause after a field's path; None where pods can.

    exempt: the namespaces whose pods the API server does not send to the webhook.
    """
    if isinstance(policy, PodPolicy):
        namespace = policy.metadata.namespace
        clause = _unjudged("metadata.namespace", [namespace]) if namespace in exempt else None
    else:
        clause = _why_no_namespaces(policy.spec.match, exempt)
    return clause or _why_no_users_or_labels(policy.spec.match)


def why_no_exempted_pods(match: WaiverMatch, exempt: Collection[str] = EXEMPT_NAMESPACES) -> str | None:
    """Why a waiver can exempt no pod, as a clause after a field's path; None where it can. `exempt` as above."""
    return _why_no_namespaces(Match(namespaces=match.namespaces), exempt) or _why_no_labels(
        "podSelector", match.pod_selector
    )


def _why_no_namespaces(match: Match, exempt: Collection[str]) -> str | None:
    excludes = selects_names(match.exclude_namespaces or ())
    if excludes("*"):  # a wildcard matches a pattern as it would all of its names
        return "spec.match.excludeNamespaces: excludes every namespace, so no pod matches"
    selector = match.namespace_selector
    clause = _why_no_labels("namespaceSelector", selector, always=NAME_LABEL)
    if clause is not None:
        return clause
    has_name, names_by_label = selects_names(match.namespaces), _named_by(selector)
    patterns = [name for name in (*(match.namespaces or ()), *(match.exclude_namespaces or ())) if "*" in name]
    if (len(match.namespaces or ()) + len(names_by_label)) * pattern_cost(patterns) > _MAX_COMPARED:
        return None

    def is_selected(name: str) -> bool:
        return "*" in name or not names_by_label or name in names_by_label

    for where, other, names, selects in (
        ("namespaces", "namespaceSelector", match.namespaces or (), is_selected),
        ("namespaceSelector", "namespaces", names_by_label, has_name),
    ):
        judged = [name for name in names if name not in exempt]
        included = [name for name in judged if not excludes(name)]
        if names and not judged:
            return _unjudged(f"spec.match.{where}", names)
        if names and not included:
            return f"spec.match.{where}: excludeNamespaces matches {_some(judged)}, so no pod matches"
        if names and not any(map(selects, included)):
            return f"spec.match.{where}: {other} does not match {_some(included)}, so no pod matches"
    return None


def _why_no_users_or_labels(match: PodMatch) -> str | None:
    subjects = match.exclude_subjects
    if subjects is not None and _EVERYBODY.issubset(subjects.groups or ()):
        return "spec.match.excludeSubjects.groups: excludes every user, so no pod matches"
    return _why_no_labels("podSelector", match.pod_selector)


def _why_no_labels(where: str, selector: LabelSelector | None, always: str = "") -> str | None:
    """Why no labels match a selector, as a clause; None where some do.

    always: a label that is always set.
    """
    conditions: dict[str, list[LabelSelectorRequirement]] = {}
    for requirement in requirements(selector):
        conditions.setdefault(requirement.key, []).append(requirement)
    for key, required in conditions.items():
        operators = {requirement.operator for requirement in required}
        is_set = key == always or not operators.isdisjoint((SelectorOperator.IN, SelectorOperator.EXISTS))
        if (is_set and SelectorOperator.DOES_NOT_EXIST in operators) or _values(required) == set():
            return f"spec.match.{where}: no value of the label {key} meets every condition, so no pod matches"
    return None


def why_no_requirements(policy: ClusterPodPolicy | PodPolicy, compiled: CompiledPolicy) -> str | None:
    """Why the policy does nothing with the pods that match it, as a clause; None where it does something."""
    empty = {name for name in _NEED_PARAMETERS if _is_empty(policy.spec, name)}
    requires = compiled.for_labels is not None or any(rule.control not in empty for rule in compiled.rules)
    if requires or compiled.defaults:
        return None
    return "; ".join(empty_controls(policy.spec)) or REQUIRES_NOTHING


def empty_controls(spec: PodPolicySpec) -> Iterator[str]:
    """A clause for each control that requires nothing because no parameter is set."""
    for name in _NEED_PARAMETERS:
        if _is_empty(spec, name):
            fields = [written for _, written in _requirements(getattr(spec.controls, name))]
            yield f"spec.controls.{name}: requires nothing: set one of {words(fields)}"


def _is_empty(spec: PodPolicySpec, control: str) -> bool:
    parameters: Parameters | None = getattr(spec.controls, control)
    return parameters is not None and not any(getattr(parameters, field) for field, _ in _requirements(parameters))


def _requirements(parameters: Parameters) -> list[tuple[str, str]]:
    """The parameters that require something, by attribute and as they are written."""
    fields = zip(parameters.__struct_fields__, parameters.__struct_encode_fields__, strict=True)
    return [(field, written) for field, written in fields if field not in _REQUIRING_NOTHING]


def _named_by(selector: LabelSelector | None) -> list[str]:
    """The namespaces that a selector allows by their names; none where it does not limit the names."""
    values = _values([requirement for requirement in requirements(selector) if requirement.key == NAME_LABEL])
    return sorted(values or ())


def _values(conditions: Iterable[LabelSelectorRequirement]) -> set[str] | None:
    """The values of one label that its conditions allow; None where they do not list them."""
    listed: set[str] | None = None
    unwanted: set[str] = set()
    for requirement in conditions:
        values = set(requirement.values or ())
        if requirement.operator is SelectorOperator.IN:
            listed = values if listed is None else listed & values
        elif requirement.operator is SelectorOperator.NOT_IN:
            unwanted |= values
    return None if listed is None else listed - unwanted


def _unjudged(where: str, names: Sequence[str]) -> str:
    return f"{where}: Sekisho does not judge pods in {_some(names)}, so no pod matches"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMED
    return words([*names[:_MAX_NAMED], f"{more} more"] if more > 0 else names, "and")
