"""What the two webhook configurations must say so that the API server sends every pod to the webhook. No I/O.

A proof by dry runs cannot see it all: a namespace that a selector leaves out is not the one in which the proof runs,
and failurePolicy matters only while the webhook does not answer.
"""

from collections.abc import Collection, Sequence
from typing import Final

from msgspec import Struct

from sekisho.operator.objects import Rule, Selector, Webhook, WebhookConfiguration

VALIDATING_PODS: Final = "validate.pods.sekisho.dev"
VALIDATING_TEMPLATES: Final = "validate.templates.sekisho.dev"
VALIDATING_POLICIES: Final = "validate.policies.sekisho.dev"
MUTATING_PODS: Final = "mutate.pods.sekisho.dev"
_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
_ANY: Final = "*"

_POLICIES: Final = (
    "sekisho.dev",
    "v1alpha1",
    ("clusterpodpolicies", "podpolicies", "policywaivers", "imageauthorities", "imagecatalogs"),
)
_CREATE_UPDATE: Final = ("CREATE", "UPDATE")


class Calls(Struct, frozen=True):
    """Requests for which a webhook must be called: each of the operations on each of the resources."""

    group: str
    version: str
    resources: tuple[str, ...]
    operations: tuple[str, ...]


REQUIRED: Final[dict[str, tuple[Calls, ...]]] = {
    VALIDATING_PODS: (
        Calls("", "v1", ("pods",), _CREATE_UPDATE),
        Calls("", "v1", ("pods/ephemeralcontainers", "pods/resize"), ("UPDATE",)),
    ),
    VALIDATING_TEMPLATES: (
        Calls("", "v1", ("podtemplates", "replicationcontrollers"), _CREATE_UPDATE),
        Calls("apps", "v1", ("deployments", "replicasets", "statefulsets", "daemonsets"), _CREATE_UPDATE),
        Calls("batch", "v1", ("jobs", "cronjobs"), _CREATE_UPDATE),
    ),
    VALIDATING_POLICIES: (Calls(*_POLICIES, _CREATE_UPDATE),),
    MUTATING_PODS: (
        Calls("", "v1", ("pods",), ("CREATE",)),
        Calls("", "v1", ("pods/ephemeralcontainers",), ("UPDATE",)),
    ),
}
"""What the chart's rules are for, by the webhooks' names."""


MISSING, NARROWED, IGNORED = "WebhookMissing", "WebhookNarrowed", "FailurePolicyIgnore"
CONFIGURATION_REASONS: Final = frozenset({MISSING, NARROWED, IGNORED})


class ConfigurationProblem(Struct, frozen=True):
    """Why some requests are not sent to a webhook.

    reason: one of CONFIGURATION_REASONS.
    message: a clause.
    admits_unjudged: whether pods are admitted unjudged because of it, also while the webhook answers.
    """

    reason: str
    message: str
    admits_unjudged: bool


def problems_of(
    validating: WebhookConfiguration | None,
    mutating: WebhookConfiguration | None,
    excluded: Collection[str],
    *,
    may_ignore: bool = False,
) -> list[ConfigurationProblem]:
    """Everything that the configurations leave out; None where there is no configuration. The worst come first.

    excluded: the namespaces whose pods need not be judged.
    may_ignore: whether pods are meant to be admitted while no webhook answers.
    """
    problems: list[ConfigurationProblem] = []
    for title, configuration, names in (
        ("validating", validating, (VALIDATING_PODS, VALIDATING_TEMPLATES, VALIDATING_POLICIES)),
        ("mutating", mutating, (MUTATING_PODS,)),
    ):
        if configuration is None:
            problems.append(_missing(f"the {title} webhook configuration does not exist", VALIDATING_PODS in names))
            continue
        webhooks = {webhook.name: webhook for webhook in configuration.webhooks or ()}
        for name in names:
            webhook = webhooks.get(name)
            if webhook is None:
                problems.append(_missing(f"there is no webhook {name}", name == VALIDATING_PODS))
            else:
                problems += _problems_of_one(webhook, excluded, may_ignore)
    return sorted(problems, key=lambda problem: not problem.admits_unjudged)


def _missing(message: str, admits_unjudged: bool) -> ConfigurationProblem:
    return ConfigurationProblem(MISSING, message, admits_unjudged)


def _problems_of_one(webhook: Webhook, excluded: Collection[str], may_ignore: bool) -> list[ConfigurationProblem]:
    name = webhook.name
    must_fail = name == VALIDATING_POLICIES or (name != VALIDATING_TEMPLATES and not may_ignore)
    judges_pods = name == VALIDATING_PODS
    narrowed = [f"rules of {name} leave out {left_out}" for left_out in _uncovered(webhook.rules or (), REQUIRED[name])]
    if name != VALIDATING_POLICIES:
        narrowed += [f"namespaceSelector of {name} {why}" for why in _left_out(webhook.namespace_selector, excluded)]
        if webhook.match_conditions:
            narrowed.append(f"matchConditions of {name} are set")
    elif _requires_labels(webhook.namespace_selector):
        narrowed.append(f"namespaceSelector of {name} is set")
    if _requires_labels(webhook.object_selector):
        narrowed.append(f"objectSelector of {name} is set")
    problems = [ConfigurationProblem(NARROWED, message, judges_pods) for message in narrowed]
    if webhook.failure_policy != "Fail" and must_fail:
        problems.append(ConfigurationProblem(IGNORED, f"failurePolicy of {name} is {webhook.failure_policy}", False))
    return problems


def _requires_labels(selector: Selector) -> bool:
    return bool(selector.match_labels or selector.match_expressions)


def _left_out(selector: Selector, excluded: Collection[str]) -> list[str]:
    """What a namespaceSelector leaves out beyond the excluded namespaces, as clauses."""
    clauses = [f"requires the label {key}={value}" for key, value in (selector.match_labels or {}).items()]
    for expression in selector.match_expressions or ():
        if expression.key != _NAMESPACE_NAME or expression.operator != "NotIn":
            clauses.append(f"requires {expression.key} {expression.operator} {list(expression.values)}")
        elif more := sorted(set(expression.values) - set(excluded)):
            clauses.append(f"leaves out {', '.join(more)}")
    return clauses


def _uncovered(rules: Sequence[Rule], required: Sequence[Calls]) -> list[str]:
    """The operations and resources for which the webhook is not called."""
    return [
        f"{operation} {resource}"
        for calls in required
        for resource in calls.resources
        for operation in calls.operations
        if not any(_covers(rule, calls, resource, operation) for rule in rules)
    ]


def _covers(rule: Rule, calls: Calls, resource: str, operation: str) -> bool:
    parent, _, sub = resource.partition("/")
    names = {resource, f"{parent}/*", f"*/{sub}", "*/*"} if sub else {resource, _ANY, "*/*"}
    return (
        not {_ANY, calls.group}.isdisjoint(rule.api_groups)
        and not {_ANY, calls.version}.isdisjoint(rule.api_versions)
        and not {_ANY, operation}.isdisjoint(rule.operations)
        and not names.isdisjoint(rule.resources)
        and rule.scope in (_ANY, "Namespaced" if calls.group != "sekisho.dev" else _ANY)
    )
