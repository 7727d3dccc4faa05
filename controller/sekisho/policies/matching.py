"""Which pods a policy applies to."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from sekisho.documents import Problem
from sekisho.globs import glob_matches
from sekisho.pods import Pod
from sekisho.policies.problems import PolicyError
from sekisho.policies.selectors import (
    LABEL_KEY,
    LabelSelector,
    LabelSelectorRequirement,
    Match,
    PodMatch,
    SelectorOperator,
    Subjects,
)

_LABEL_KEY = re.compile(LABEL_KEY)
MAX_KEY_LENGTH = 317
_SERVICE_ACCOUNT = "system:serviceaccount:"


class Subject(Protocol):
    """Who makes a request."""

    @property
    def username(self) -> str:
        """The name that the API server authenticated."""

    @property
    def groups(self) -> Collection[str] | None:
        """The user's groups; None for none."""


class KnownSubject(Struct, frozen=True):
    """A subject whose groups can be compared with those of many policies: a user may have thousands."""

    username: str
    groups: frozenset[str]

    @classmethod
    def of(cls, subject: Subject) -> "KnownSubject":
        """A subject as a request names it."""
        return cls(subject.username, frozenset(subject.groups or ()))


Labels = Mapping[str, str]
Selects = Callable[[Labels], bool]
SelectsPod = Callable[[Pod, Subject | None], bool]
"""Whether a policy applies to a pod and to the user who creates it; None if the user is unknown."""


def selects_names(patterns: Sequence[str] | None) -> Callable[[str], bool]:
    """Whether a name matches one of the patterns, which are anchored at both ends; with None every name matches."""
    if patterns is None:
        return lambda _: True
    return lambda name: any(glob_matches(pattern, name) for pattern in patterns)


def pattern_cost(patterns: Iterable[str]) -> int:
    """What comparing a name with patterns costs, in about a microsecond; 1 for one of up to eight wildcards."""
    return sum(1 + pattern.count("*") // 8 for pattern in patterns)


def namespace_cost(match: Match) -> int:
    """What comparing a namespace's name with a policy's patterns costs, as `pattern_cost` gives it."""
    return pattern_cost((*(match.namespaces or ()), *(match.exclude_namespaces or ())))


def entries_of_match(match: PodMatch) -> int:
    """The values and names that a policy selects and excludes pods by; a long name counts once for each 64 letters."""
    selector, subjects = match.pod_selector or LabelSelector(), match.exclude_subjects or Subjects()
    names = (*(subjects.users or ()), *(subjects.groups or ()), *(subjects.service_accounts or ()))
    return (
        len(selector.match_labels or ())
        + sum(1 + len(expression.values or ()) for expression in selector.match_expressions or ())
        + sum(1 + len(name) // 64 for name in (*names, *(match.exclude_runtime_classes or ())))
    )


def compile_namespaces(match: Match) -> Callable[[str], bool]:
    """Whether the policy applies to a namespace, by its name. Raises PolicyError."""
    included, excluded = selects_names(match.namespaces), selects_names(match.exclude_namespaces or ())
    for index, name in enumerate(match.namespaces or ()):
        if "*" not in name and excluded(name):
            raise PolicyError(Problem(f"spec.match.namespaces[{index}]", f"{name!r} is excluded by excludeNamespaces"))
    return lambda namespace: included(namespace) and not excluded(namespace)


def compile_pods(match: PodMatch) -> SelectsPod | None:
    """Whether the policy applies to a pod; None for a policy that applies to all pods of its namespaces.

    Raises PolicyError.
    """
    selects_labels = compile_selector(match.pod_selector, "spec.match.podSelector")
    excludes_subject = _compile_subjects(match.exclude_subjects)
    runtime_classes = frozenset(match.exclude_runtime_classes or ())
    if selects_labels is None and excludes_subject is None and not runtime_classes:
        return None

    def selects(pod: Pod, subject: Subject | None) -> bool:
        if pod.spec.runtime_class_name in runtime_classes:
            return False
        if excludes_subject is not None and subject is not None and excludes_subject(subject):
            return False
        return selects_labels is None or selects_labels(pod.metadata.labels or {})

    return selects


def _compile_subjects(subjects: Subjects | None) -> Callable[[Subject], bool] | None:
    if subjects is None:
        return None
    accounts = (_SERVICE_ACCOUNT + account.replace("/", ":") for account in subjects.service_accounts or ())
    for field, names in (("users", subjects.users), ("groups", subjects.groups)):
        for index, name in enumerate(names or ()):
            if "*" in name:
                message = f"{name!r}: wildcards are not supported here"
                raise PolicyError(Problem(f"spec.match.excludeSubjects.{field}[{index}]", message))
    users, groups = frozenset((*(subjects.users or ()), *accounts)), frozenset(subjects.groups or ())
    if not users and not groups:
        return None
    return lambda subject: subject.username in users or not groups.isdisjoint(subject.groups or ())


def compile_selector(selector: LabelSelector | None, where: str) -> Selects | None:
    """Whether labels match a selector; None for a selector that all labels match. Raises PolicyError."""
    if selector is None:
        return None
    equal = dict(selector.match_labels or {})
    for key in equal:
        if len(key) > MAX_KEY_LENGTH or not _LABEL_KEY.fullmatch(key):
            raise PolicyError(
                Problem(f"{where}.matchLabels[{key}]", "is not a label key, such as app or example.com/app")
            )
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
        need = "requires at least one value" if takes_values else "allows no values"
        raise PolicyError(Problem(f"{where}.values", f"the operator {requirement.operator} {need}"))
    match requirement.operator:
        case SelectorOperator.IN:
            return lambda labels: labels.get(key) in values
        case SelectorOperator.NOT_IN:
            # As in Kubernetes, an unset label matches NotIn.
            return lambda labels: labels.get(key) not in values
        case SelectorOperator.EXISTS:
            return lambda labels: key in labels
        case SelectorOperator.DOES_NOT_EXIST:
            return lambda labels: key not in labels


def mismatch(
    match: Match, namespace: str, namespace_labels: Labels, pod: Pod, subject: Subject | None = None
) -> str | None:
    """Why a policy does not apply to a pod: the first condition of `match` that fails; None if all hold."""
    for pattern in match.exclude_namespaces or ():
        if glob_matches(pattern, namespace):
            return f"match.excludeNamespaces has {pattern}, and the namespace is {namespace}"
    if match.namespaces is not None and not compile_namespaces(match)(namespace):
        return f"match.namespaces has {', '.join(match.namespaces)}, and the namespace is {namespace}"
    return _selector_mismatch(
        "namespaceSelector", match.namespace_selector, "namespace", namespace_labels
    ) or pod_mismatch(match, pod, subject)


def pod_mismatch(match: PodMatch, pod: Pod, subject: Subject | None = None) -> str | None:
    """Why a policy that applies to the namespace does not match the pod; None if it does.

    subject: who sends the request; None offline.
    """
    runtime_class = pod.spec.runtime_class_name
    if runtime_class in (match.exclude_runtime_classes or ()):
        return f"match.excludeRuntimeClasses has {runtime_class}, and the pod has this runtimeClassName"
    excludes = _compile_subjects(match.exclude_subjects)
    if excludes is not None and subject is not None and excludes(subject):
        return f"match.excludeSubjects has {subject.username} or one of its groups"
    return _selector_mismatch("podSelector", match.pod_selector, "pod", pod.metadata.labels or {})


def _selector_mismatch(field: str, selector: LabelSelector | None, whose: str, labels: Labels) -> str | None:
    for requirement in requirements(selector):
        if not _compile_requirement(requirement, field)(labels):
            required = f"{requirement.key} {requirement.operator} {', '.join(requirement.values or ())}".strip()
            value = labels.get(requirement.key)
            actual = f"has no label {requirement.key}" if value is None else f"has {requirement.key}={value}"
            return f"match.{field} requires {required}, and the {whose} {actual}"
    return None


def requirements(selector: LabelSelector | None) -> list[LabelSelectorRequirement]:
    """A selector as one list of conditions, empty for None."""
    if selector is None:
        return []
    equal = [
        LabelSelectorRequirement(key, SelectorOperator.IN, (value,))
        for key, value in (selector.match_labels or {}).items()
    ]
    return [*equal, *(selector.match_expressions or ())]
