"""Which pods a policy is about."""

from collections.abc import Callable, Mapping

from sekisho.globs import glob_matches
from sekisho.policies.problems import PolicyError, Problem
from sekisho.policies.types import LabelSelector, LabelSelectorRequirement, Match, SelectorOperator

Labels = Mapping[str, str]
Selects = Callable[[Labels], bool]


def compile_namespaces(match: Match) -> Callable[[str], bool]:
    """Whether a namespace, by its name, is one that the policy is about. Patterns are anchored at both ends."""
    included, excluded = match.namespaces, match.exclude_namespaces or ()

    def selects(namespace: str) -> bool:
        if any(glob_matches(pattern, namespace) for pattern in excluded):
            return False
        return included is None or any(glob_matches(pattern, namespace) for pattern in included)

    return selects


def compile_selector(selector: LabelSelector | None, where: str) -> Selects | None:
    """Whether labels meet a selector; None for a selector that everything meets. Raises PolicyError."""
    if selector is None:
        return None
    equal = dict(selector.match_labels or {})
    conditions = [
        _compile_requirement(requirement, f"{where}.matchExpressions[{index}]")
        for index, requirement in enumerate(selector.match_expressions or ())
    ]
    if not equal and not conditions:
        return None

    def selects(labels: Labels) -> bool:
        return all(labels.get(key) == value for key, value in equal.items()) and all(
            condition(labels) for condition in conditions
        )

    return selects


def _compile_requirement(requirement: LabelSelectorRequirement, where: str) -> Selects:
    key, values = requirement.key, frozenset(requirement.values or ())
    takes_values = requirement.operator in (SelectorOperator.IN, SelectorOperator.NOT_IN)
    if takes_values != bool(values):
        need = "needs at least one value" if takes_values else "takes no values"
        raise PolicyError(Problem(f"{where}.values", f"the operator {requirement.operator} {need}"))
    match requirement.operator:
        case SelectorOperator.IN:
            return lambda labels: labels.get(key) in values
        case SelectorOperator.NOT_IN:
            # As in Kubernetes, a label that is not there is not in the values either.
            return lambda labels: labels.get(key) not in values
        case SelectorOperator.EXISTS:
            return lambda labels: key in labels
        case SelectorOperator.DOES_NOT_EXIST:
            return lambda labels: key not in labels


def mismatch(match: Match, namespace: str, namespace_labels: Labels, pod_labels: Labels) -> str | None:
    """Why a policy is not about a pod: the first condition of `match` that fails, in words; None when all hold."""
    for pattern in match.exclude_namespaces or ():
        if glob_matches(pattern, namespace):
            return f"match.excludeNamespaces has {pattern}, and the namespace is {namespace}"
    if match.namespaces is not None and not compile_namespaces(match)(namespace):
        return f"match.namespaces has {', '.join(match.namespaces)}, and the namespace is {namespace}"
    for field, selector, whose, labels in (
        ("namespaceSelector", match.namespace_selector, "namespace", namespace_labels),
        ("podSelector", match.pod_selector, "pod", pod_labels),
    ):
        for requirement in _requirements(selector):
            if not _compile_requirement(requirement, field)(labels):
                asked = f"{requirement.key} {requirement.operator} {', '.join(requirement.values or ())}".strip()
                found = labels.get(requirement.key)
                found = f"has no label {requirement.key}" if found is None else f"has {requirement.key}={found}"
                return f"match.{field} asks for {asked}, and the {whose} {found}"
    return None


def _requirements(selector: LabelSelector | None) -> list[LabelSelectorRequirement]:
    """A selector as one list of conditions."""
    if selector is None:
        return []
    equal = [
        LabelSelectorRequirement(key, SelectorOperator.IN, (value,))
        for key, value in (selector.match_labels or {}).items()
    ]
    return [*equal, *(selector.match_expressions or ())]
