"""What webhook configurations leave out: the chart's own are right, and each edit that narrows them is found."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from sekisho.operator.configurations import problems_of
from sekisho.operator.objects import WebhookConfiguration
from tests.chart import render

pytestmark = pytest.mark.timeout(1800)  # the first test may have to build helm

Json = dict[str, Any]
EXCLUDED = ("kube-system", "sekisho-system")
PODS, TEMPLATES, POLICIES = range(3)


def rendered() -> tuple[Json, Json]:
    objects = {manifest["kind"]: manifest for manifest in render()}
    return objects["ValidatingWebhookConfiguration"], objects["MutatingWebhookConfiguration"]


def problems_in(validating: Json | None, mutating: Json | None) -> list[tuple[str, str, bool]]:
    return [(p.reason, p.message, p.admits_unjudged) for p in problems_of(read(validating), read(mutating), EXCLUDED)]


def read(body: Json | None) -> WebhookConfiguration | None:
    return None if body is None else msgspec.convert(body, WebhookConfiguration)


def requirement(*values: str, key: str = "kubernetes.io/metadata.name", operator: str = "NotIn") -> Json:
    return {"key": key, "operator": operator, "values": list(values)}


def excluding(webhook: Json, *names: str) -> None:
    webhook["namespaceSelector"] = {"matchExpressions": [requirement(*names)]}


def test_the_chart_installs_what_is_required() -> None:
    assert problems_in(*rendered()) == []


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda w: w.update(namespaceSelector={}), id="selects every namespace"),
        pytest.param(lambda w: excluding(w, "kube-system"), id="excludes fewer"),
        pytest.param(lambda w: w.update(objectSelector={}), id="an empty objectSelector"),
        pytest.param(lambda w: w.update(matchConditions=[]), id="no matchConditions"),
        pytest.param(lambda w: w.update(timeoutSeconds=10), id="another timeout"),
        pytest.param(
            lambda w: w.update(
                rules=[{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}]
            ),
            id="rules for everything",
        ),
        pytest.param(
            lambda w: w["rules"][1].update(resources=["pods/*"]),
            id="all subresources",
        ),
    ],
)
def test_configuration_that_sends_as_many_pods_or_more_is_not_a_problem(edit: Callable[[Json], None]) -> None:
    validating, mutating = rendered()
    edit(validating["webhooks"][PODS])
    assert problems_in(validating, mutating) == []


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda w: excluding(w, "kube-system", "shop"),
            "namespaceSelector of validate.pods.sekisho.dev leaves out shop",
        ),
        (
            lambda w: w["namespaceSelector"].update(matchLabels={"judged": "yes"}),
            "namespaceSelector of validate.pods.sekisho.dev requires the label judged=yes",
        ),
        (
            lambda w: w["namespaceSelector"]["matchExpressions"].append(requirement("true", key="control-plane")),
            "namespaceSelector of validate.pods.sekisho.dev requires control-plane NotIn ['true']",
        ),
        (
            lambda w: w.update(namespaceSelector={"matchExpressions": [requirement("kube-system", operator="In")]}),
            "namespaceSelector of validate.pods.sekisho.dev requires kubernetes.io/metadata.name In ['kube-system']",
        ),
        (
            lambda w: w.update(objectSelector={"matchLabels": {"a": "b"}}),
            "objectSelector of validate.pods.sekisho.dev is set",
        ),
        (
            lambda w: w.update(matchConditions=[{"name": "n", "expression": "false"}]),
            "matchConditions of validate.pods.sekisho.dev are set",
        ),
        (
            lambda w: w["rules"][0].update(operations=["UPDATE"]),
            "rules of validate.pods.sekisho.dev leave out CREATE pods",
        ),
        (
            lambda w: w["rules"][0].update(apiVersions=["v2"]),
            "rules of validate.pods.sekisho.dev leave out CREATE pods",
        ),
        (
            lambda w: w["rules"][0].update(scope="Cluster"),
            "rules of validate.pods.sekisho.dev leave out CREATE pods",
        ),
        (
            lambda w: w["rules"].pop(),
            "rules of validate.pods.sekisho.dev leave out UPDATE pods/ephemeralcontainers",
        ),
        (
            lambda w: w["rules"][1].update(resources=["*"]),  # * names no subresource
            "rules of validate.pods.sekisho.dev leave out UPDATE pods/ephemeralcontainers",
        ),
    ],
)
def test_an_edit_that_admits_pods_unjudged_is_a_problem(edit: Callable[[Json], None], message: str) -> None:
    validating, mutating = rendered()
    edit(validating["webhooks"][PODS])
    first = problems_in(validating, mutating)[0]
    assert first == ("WebhookNarrowed", message, True)


def test_the_same_edits_of_the_other_webhooks_let_no_pods_in() -> None:
    for index, name in ((TEMPLATES, "validate.templates"), (POLICIES, "validate.policies")):
        validating, mutating = rendered()
        validating["webhooks"][index]["objectSelector"] = {"matchLabels": {"a": "b"}}
        message = f"objectSelector of {name}.sekisho.dev is set"
        assert problems_in(validating, mutating) == [("WebhookNarrowed", message, False)]


def test_what_does_not_exist_is_a_problem() -> None:
    validating, mutating = rendered()
    absent = "the {} webhook configuration does not exist"
    assert problems_in(None, mutating) == [("WebhookMissing", absent.format("validating"), True)]
    assert problems_in(validating, None) == [("WebhookMissing", absent.format("mutating"), False)]
    validating["webhooks"].pop(PODS)
    assert problems_in(validating, mutating) == [
        ("WebhookMissing", "there is no webhook validate.pods.sekisho.dev", True)
    ]


def test_the_worst_problem_comes_first() -> None:
    validating, _ = rendered()
    excluding(validating["webhooks"][PODS], "shop")
    assert [admits_unjudged for _, _, admits_unjudged in problems_in(validating, None)] == [True, False]


def test_failure_policy_ignore_is_a_problem_except_for_templates() -> None:
    validating, mutating = rendered()
    validating["webhooks"][TEMPLATES]["failurePolicy"] = "Ignore"
    assert problems_in(validating, mutating) == []
    validating["webhooks"][PODS]["failurePolicy"] = "Ignore"
    message = "failurePolicy of validate.pods.sekisho.dev is Ignore"
    assert problems_in(validating, mutating) == [("FailurePolicyIgnore", message, False)]


def test_failure_policy_ignore_is_accepted_for_pods_if_it_is_configured() -> None:
    validating, mutating = rendered()
    for webhook in (*validating["webhooks"], *mutating["webhooks"]):
        webhook["failurePolicy"] = "Ignore"
    problems = problems_of(read(validating), read(mutating), EXCLUDED, may_ignore=True)
    assert [problem.message for problem in problems] == ["failurePolicy of validate.policies.sekisho.dev is Ignore"]
