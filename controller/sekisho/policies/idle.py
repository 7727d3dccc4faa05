"""Policies that do nothing, although they are valid: no pod can match them, or they require nothing."""

from collections.abc import Collection, Iterator
from typing import Final

from msgspec import Struct

from sekisho.controls import Parameters
from sekisho.findings import words
from sekisho.policies.compilation import CompiledPolicy
from sekisho.policies.matching import selects_names
from sekisho.policies.selectors import LabelSelector
from sekisho.policies.types import ClusterPodPolicy, PodPolicy, PodPolicySpec

EXEMPT_NAMESPACES: Final = frozenset({"kube-system"})
"""Namespaces whose pods no webhook of the chart receives, whatever its values."""
NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""The API server sets this label to the namespace's name, and nobody can change it."""
_EMPTY_BY_DEFAULT: Final = ("images", "resources")
"""Controls that require nothing if no parameter is set."""
_REQUIRING_NOTHING: Final = frozenset({"enforcement", "resolve_tags"})
"""Parameters that only say how others are applied."""
_MAX_NAMED: Final = 3
"""Namespaces that a clause names; it counts the others."""


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

    The level privileged requires nothing either, but a policy that names it says so itself.
    """
    clause = no_pods(policy, exempt)
    if clause is not None:
        return Idle("MatchesNoPods", clause)
    standard = policy.spec.pod_security_standard
    if standard is not None and standard.level == "privileged":
        return None
    clause = no_requirements(policy, compiled)
    return Idle("RequiresNothing", clause) if clause is not None else None


def no_pods(policy: ClusterPodPolicy | PodPolicy, exempt: Collection[str] = EXEMPT_NAMESPACES) -> str | None:
    """Why no pod can match the policy, as a clause after a field's path; None where pods can.

    exempt: the namespaces whose pods the API server does not send to the webhook.
    """
    if isinstance(policy, PodPolicy):
        namespace = policy.metadata.namespace
        return _unjudged("metadata.namespace", [namespace]) if namespace in exempt else None
    match = policy.spec.match
    excludes = selects_names(match.exclude_namespaces or ())
    for where, names in (
        ("spec.match.namespaces", _exact(match.namespaces)),
        ("spec.match.namespaceSelector", _named_by(match.namespace_selector)),
    ):
        if names and all(name in exempt or excludes(name) for name in names):
            judged = [name for name in names if name not in exempt]
            return (
                f"{where}: excludeNamespaces has {_some(judged)}, so no pod matches"
                if judged
                else _unjudged(where, names)
            )
    return None


def no_requirements(policy: ClusterPodPolicy | PodPolicy, compiled: CompiledPolicy) -> str | None:
    """Why the policy does nothing with the pods that match it, as a clause; None where it does something."""
    empty = {name for name in _EMPTY_BY_DEFAULT if _is_empty(policy.spec, name)}
    requires = compiled.for_labels is not None or any(rule.control not in empty for rule in compiled.rules)
    if requires or compiled.defaults:
        return None
    return "; ".join(empty_controls(policy.spec)) or REQUIRES_NOTHING


def empty_controls(spec: PodPolicySpec) -> Iterator[str]:
    """A clause for each control that requires nothing because no parameter is set."""
    for name in _EMPTY_BY_DEFAULT:
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


def _exact(patterns: Collection[str] | None) -> list[str]:
    """The names, if all of them are exact; else none, because a wildcard can match other namespaces."""
    return [] if any("*" in pattern for pattern in patterns or ()) else list(patterns or ())


def _named_by(selector: LabelSelector | None) -> list[str]:
    """The namespaces that a selector allows by their names; none where it does not limit the names."""
    if selector is None:
        return []
    name = (selector.match_labels or {}).get(NAME_LABEL)
    if name is not None:
        return [name]
    for requirement in selector.match_expressions or ():
        if requirement.key == NAME_LABEL and requirement.operator == "In":
            return list(requirement.values or ())
    return []


def _unjudged(where: str, names: list[str]) -> str:
    return f"{where}: Sekisho does not judge pods in {_some(names)}, so no pod matches"


def _some(names: list[str]) -> str:
    more = len(names) - _MAX_NAMED
    return words([*names[:_MAX_NAMED], f"{more} more"] if more > 0 else names, "and")
