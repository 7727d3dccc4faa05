"""Matching and plans: which policies are about a pod, and that identical checks are judged once."""

from typing import Any

import msgspec
import pytest

from sekisho.policies import ClusterPodPolicy, Plan, PolicySet
from sekisho.policies.types import Enforcement


def policy(name: str, **spec: Any) -> ClusterPodPolicy:
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, ClusterPodPolicy)


def names(plan: Plan) -> set[str]:
    return {name for step in plan.steps for _, policies in step.asked_by for name in policies}


def matches(match: dict[str, Any], namespace: str, labels: dict[str, str], pod_labels: dict[str, str]) -> bool:
    policies = PolicySet.of([policy("p", match=match, controls={"privileged": {}})])
    return names(policies.plan(namespace, labels, pod_labels)) == {"p"}


MATCHED = [
    ({}, "any", {}, {}, True),
    ({"namespaces": ["payments"]}, "payments", {}, {}, True),
    ({"namespaces": ["payments"]}, "payments-evil", {}, {}, False),
    ({"namespaces": ["team-*"]}, "team-a", {}, {}, True),
    ({"namespaces": ["team-*"]}, "my-team-a", {}, {}, False),
    ({"namespaces": ["team-*"], "excludeNamespaces": ["team-x"]}, "team-x", {}, {}, False),
    ({"excludeNamespaces": ["team-x"]}, "team-xy", {}, {}, True),
    ({"namespaceSelector": {"matchLabels": {"tier": "prod"}}}, "a", {"tier": "prod"}, {}, True),
    ({"namespaceSelector": {"matchLabels": {"tier": "prod"}}}, "a", {"tier": "test"}, {}, False),
    ({"namespaceSelector": {"matchLabels": {"tier": "prod"}}}, "a", {}, {"tier": "prod"}, False),
    ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}, "a", {}, {"app": ""}, True),
    ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}, "a", {}, {}, False),
    ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}}, "a", {}, {}, True),
    (
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}},
        "a",
        {},
        {"a": "1"},
        True,
    ),
    (
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}},
        "a",
        {},
        {"a": "2"},
        False,
    ),
    ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}}, "a", {}, {}, True),
]


@pytest.mark.parametrize(("match", "namespace", "labels", "pod_labels", "expected"), MATCHED)
def test_match(match: Any, namespace: str, labels: Any, pod_labels: Any, *, expected: bool) -> None:
    assert matches(match, namespace, labels, pod_labels) is expected


def test_identical_checks_of_many_policies_are_judged_once() -> None:
    one = PolicySet.of([policy("p", podSecurityStandard={"level": "restricted"})])
    many = PolicySet.of([policy(f"p{i:02}", podSecurityStandard={"level": "restricted"}) for i in range(20)])
    assert len(many.plan("a", None, None).steps) == len(one.plan("a", None, None).steps)
    (asked,) = many.plan("a", None, None).steps[0].asked_by
    assert asked == (Enforcement.DENY, tuple(f"p{i:02}" for i in range(20)))


def test_different_parameters_are_judged_apart() -> None:
    policies = [policy(n, controls={"images": {"trustedRegistries": [f"{n}.io"]}}) for n in ("a", "b")]
    assert len(PolicySet.of(policies).plan("x", None, None).steps) == 2


def test_a_named_control_replaces_the_standards() -> None:
    policies = PolicySet.of(
        [
            policy(
                "p",
                podSecurityStandard={"level": "baseline"},
                controls={"privileged": {"enforcement": "Off"}, "sysctls": {"enforcement": "Warn"}},
            )
        ]
    )
    by = [enforcement for step in policies.plan("a", None, None).steps for enforcement, _ in step.asked_by]
    assert by.count(Enforcement.WARN) == 1
    full = PolicySet.of([policy("p", podSecurityStandard={"level": "baseline"})])
    assert len(by) == len(full.plan("a", None, None).steps) - 1


def test_labels_of_a_namespace_count_as_soon_as_they_change() -> None:
    policies = PolicySet.of(
        [policy("p", match={"namespaceSelector": {"matchLabels": {"t": "1"}}}, controls={"privileged": {}})]
    )
    assert policies.needs_labels
    before, after = {"t": "0"}, {"t": "1"}
    assert names(policies.plan("a", before, None)) == set()
    assert names(policies.plan("a", after, None)) == {"p"}
    assert names(policies.plan("a", before, None)) == set()


def test_templates_setting_decides_about_workloads_only() -> None:
    for setting, expected in (("Warn", [Enforcement.WARN]), ("Deny", [Enforcement.DENY]), ("Ignore", [])):
        plan = PolicySet.of([policy("p", templates=setting, controls={"privileged": {}})]).plan("a", None, None)
        assert [e for step in plan.template_steps for e, _ in step.asked_by] == expected
        assert [e for step in plan.steps for e, _ in step.asked_by] == [Enforcement.DENY]


def test_first_policy_by_name_wins_a_conflict_of_defaults() -> None:
    def user(name: str, uid: int) -> ClusterPodPolicy:
        return policy(name, defaults={"pod": {"securityContext": {"runAsUser": uid}}})

    for order in ([user("b", 2), user("a", 1)], [user("a", 1), user("b", 2)]):
        (default,) = PolicySet.of(order).plan("x", None, None).defaults
        assert (default.policy, default.value) == ("a", 1)


def test_empty_set_plans_nothing() -> None:
    plan = PolicySet.of([]).plan("a", None, None)
    assert (plan.steps, plan.template_steps, plan.defaults) == ((), (), ())
