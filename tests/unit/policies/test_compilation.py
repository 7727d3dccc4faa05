"""Matching and plans: which policies are about a pod, and that identical checks are judged once."""

from typing import Any

import msgspec
import pytest

from sekisho.admission.review import UserInfo
from sekisho.pods import ObjectMeta, Pod, PodSpec
from sekisho.policies import ClusterPodPolicy, Plan, PolicySet
from sekisho.policies.compilation import Rule, compile_policy
from sekisho.policies.types import Enforcement


def policy(name: str, **spec: Any) -> ClusterPodPolicy:
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, ClusterPodPolicy)


def names(plan: Plan) -> set[str]:
    return {name for step in plan.steps for requirement in step.required_by for name in requirement.policies}


def matches(match: dict[str, Any], namespace: str, labels: dict[str, str], pod_labels: dict[str, str]) -> bool:
    policies = PolicySet.of([policy("p", match=match, controls={"privileged": {}})])
    return names(policies.plan(namespace, labels, Pod(ObjectMeta(labels=pod_labels)))) == {"p"}


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


SUBJECTS = {
    "users": ["alice", "system:node:n1"],
    "groups": ["ops"],
    "serviceAccounts": ["ci/deployer"],
}
EXCLUDED = [
    ("alice", [], True),
    ("alice2", [], False),
    ("Alice", [], False),
    ("alic", [], False),
    ("", [], False),
    ("bob", ["ops"], True),
    ("bob", ["ops2", "dev-ops", "Ops"], False),
    ("bob", ["devs", "ops"], True),
    ("ops", ["alice"], False),
    ("system:serviceaccount:ci:deployer", ["system:serviceaccounts"], True),
    ("system:serviceaccount:ci:deployer2", [], False),
    ("system:serviceaccount:ci2:deployer", [], False),
    ("system:serviceaccount:xci:deployer", [], False),
    ("ci/deployer", [], False),
    ("deployer", ["ci/deployer"], False),
]


@pytest.mark.parametrize(("user", "groups", "excluded"), EXCLUDED)
def test_subjects_are_excluded_by_exact_names(user: str, groups: list[str], *, excluded: bool) -> None:
    policies = PolicySet.of([policy("p", match={"excludeSubjects": SUBJECTS}, controls={"privileged": {}})])
    assert (names(policies.plan("a", None, Pod(), UserInfo(user, groups))) == set()) is excluded


def test_unknown_subjects_are_not_excluded() -> None:
    policies = PolicySet.of([policy("p", match={"excludeSubjects": SUBJECTS}, controls={"privileged": {}})])
    assert names(policies.plan("a", None, Pod())) == {"p"}
    assert names(policies.plan("a", None, Pod(), UserInfo())) == {"p"}


@pytest.mark.parametrize(
    ("runtime_class", "excluded"), [("gvisor", True), ("gvisor2", False), ("gviso", False), ("", False), (None, False)]
)
def test_runtime_classes_are_excluded_by_exact_names(runtime_class: str | None, *, excluded: bool) -> None:
    policies = PolicySet.of([policy("p", match={"excludeRuntimeClasses": ["gvisor"]}, controls={"privileged": {}})])
    pod = Pod(spec=PodSpec(runtime_class_name=runtime_class))
    assert (names(policies.plan("a", None, pod)) == set()) is excluded


def test_excluded_subjects_of_one_policy_are_not_excluded_from_others() -> None:
    policies = PolicySet.of(
        [
            policy("but-alice", match={"excludeSubjects": {"users": ["alice"]}}, controls={"privileged": {}}),
            policy("everybody", controls={"privileged": {}}),
        ]
    )
    assert names(policies.plan("a", None, Pod(), UserInfo("alice"))) == {"everybody"}
    assert names(policies.plan("a", None, Pod(), UserInfo("bob"))) == {"but-alice", "everybody"}


def test_identical_checks_of_many_policies_are_judged_once() -> None:
    one = PolicySet.of([policy("p", podSecurityStandard={"level": "restricted"})])
    many = PolicySet.of([policy(f"p{i:02}", podSecurityStandard={"level": "restricted"}) for i in range(20)])
    assert len(many.plan("a", None, None).steps) == len(one.plan("a", None, None).steps)
    (requirement,) = many.plan("a", None, None).steps[0].required_by
    assert (requirement.enforcement, requirement.policies) == (Enforcement.DENY, tuple(f"p{i:02}" for i in range(20)))


def test_policies_of_one_level_without_controls_share_their_rules() -> None:
    def rules(name: str, **spec: Any) -> tuple[Rule, ...]:
        standard = {"level": "restricted", "version": "v1.30"}
        return compile_policy(policy(name, podSecurityStandard=standard, **spec)).rules

    shared = rules("a")
    assert rules("b", defaults={"pod": {"securityContext": {"runAsUser": 1}}}) is shared
    assert {rule.enforcement for rule in rules("c", enforcement="Warn")} == {Enforcement.WARN}
    own = rules("d", controls={"privileged": {"enforcement": "Audit"}})
    assert [rule.control for rule in own if rule.enforcement is Enforcement.AUDIT] == ["privileged"]
    assert {rule.enforcement for rule in shared} == {Enforcement.DENY}


def test_different_parameters_are_judged_apart() -> None:
    policies = [policy(n, controls={"images": {"trustedRegistries": [f"{n}.io"]}}) for n in ("a", "b")]
    assert len(PolicySet.of(policies).plan("x", None, None).steps) == 2


def test_a_control_that_is_set_replaces_the_standards() -> None:
    policies = PolicySet.of(
        [
            policy(
                "p",
                podSecurityStandard={"level": "baseline"},
                controls={"privileged": {"enforcement": "Off"}, "sysctls": {"enforcement": "Warn"}},
            )
        ]
    )
    by = [requirement.enforcement for step in policies.plan("a", None, None).steps for requirement in step.required_by]
    assert by.count(Enforcement.WARN) == 1
    full = PolicySet.of([policy("p", podSecurityStandard={"level": "baseline"})])
    assert len(by) == len(full.plan("a", None, None).steps) - 1


def test_changed_namespace_labels_apply_at_once() -> None:
    policies = PolicySet.of(
        [policy("p", match={"namespaceSelector": {"matchLabels": {"t": "1"}}}, controls={"privileged": {}})]
    )
    assert policies.needs_labels
    before, after = {"t": "0"}, {"t": "1"}
    assert names(policies.plan("a", before, None)) == set()
    assert names(policies.plan("a", after, None)) == {"p"}
    assert names(policies.plan("a", before, None)) == set()


def test_templates_setting_applies_to_workloads_only() -> None:
    for setting, expected in (("Warn", [Enforcement.WARN]), ("Deny", [Enforcement.DENY]), ("Ignore", [])):
        plan = PolicySet.of([policy("p", templates=setting, controls={"privileged": {}})]).plan("a", None, None)
        assert [requirement.enforcement for step in plan.template_steps for requirement in step.required_by] == expected
        assert [requirement.enforcement for step in plan.steps for requirement in step.required_by] == [
            Enforcement.DENY
        ]


def test_first_policy_by_name_wins_a_conflict_of_defaults() -> None:
    def user(name: str, uid: int) -> ClusterPodPolicy:
        return policy(name, defaults={"pod": {"securityContext": {"runAsUser": uid}}})

    for order in ([user("b", 2), user("a", 1)], [user("a", 1), user("b", 2)]):
        (default,) = PolicySet.of(order).plan("x", None, None).defaults
        assert (default.policy, default.value) == ("a", 1)


def test_empty_set_has_an_empty_plan() -> None:
    plan = PolicySet.of([]).plan("a", None, None)
    assert (plan.steps, plan.template_steps, plan.defaults) == ((), (), ())
