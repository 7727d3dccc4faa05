"""PodPolicy: about its own namespace, beside the cluster's policies, and never instead of them."""

from typing import Any

import msgspec
import pytest

from sekisho.manifests import parse_policies
from sekisho.policies import ClusterPodPolicy, Plan, PodPolicy, PolicyError, PolicySet, compile_policy
from sekisho.policies.types import Enforcement

HEAD = "apiVersion: sekisho.dev/v1alpha1\nkind: PodPolicy\nmetadata: {name: p, namespace: shop}\n"


def cluster(name: str, **spec: Any) -> ClusterPodPolicy:
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, ClusterPodPolicy)


def namespaced(name: str, namespace: str, **spec: Any) -> PodPolicy:
    return msgspec.convert({"metadata": {"name": name, "namespace": namespace}, "spec": spec}, PodPolicy)


def requirements(plan: Plan) -> set[tuple[str, str]]:
    return {
        (requirement.enforcement, name)
        for step in plan.steps
        for requirement in step.required_by
        for name in requirement.policies
    }


def test_it_applies_to_its_own_namespace_only() -> None:
    policies = PolicySet.of([namespaced("p", "shop", controls={"privileged": {}})])
    assert requirements(policies.plan("shop", None, None)) == {("Deny", "shop/p")}
    for other in ("shop2", "sho", "", "p", "shop/p"):
        assert requirements(policies.plan(other, None, None)) == set()


def test_it_adds_to_cluster_policies_and_removes_nothing() -> None:
    lenient = {"podSecurityStandard": {"level": "privileged"}, "enforcement": "Audit"}
    off = {"privileged": {"enforcement": "Off"}, "images": {"trustedRegistries": ["*"]}}
    alone = PolicySet.of([cluster("p", controls={"privileged": {}})])
    both = PolicySet.of([cluster("p", controls={"privileged": {}}), namespaced("p", "shop", controls=off, **lenient)])
    assert requirements(alone.plan("shop", None, None)) <= requirements(both.plan("shop", None, None))
    assert requirements(both.plan("shop", None, None)) == {("Deny", "p"), ("Audit", "shop/p")}


def test_cluster_defaults_win_for_pod_and_containers() -> None:
    own = {
        "pod": {"securityContext": {"runAsNonRoot": False, "runAsUser": 7}},
        "container": {"securityContext": {"runAsNonRoot": False, "readOnlyRootFilesystem": True}},
    }
    policies = PolicySet.of(
        [namespaced("a", "shop", defaults=own), cluster("z", defaults={"profile": "restricted"})],
    )
    defaults = {(str(d.level), d.key): (d.policy, d.value) for d in policies.plan("shop", None, None).defaults}
    assert defaults[("pod", "runAsNonRoot")] == ("z", True)
    assert ("container", "runAsNonRoot") not in defaults
    assert defaults[("pod", "runAsUser")] == ("shop/a", 7)
    assert defaults[("container", "readOnlyRootFilesystem")] == ("shop/a", True)


def test_it_needs_no_namespace_labels() -> None:
    assert not PolicySet.of([namespaced("p", "shop", podSecurityStandard={"level": "restricted"})]).needs_labels


def test_policies_with_one_name_in_two_namespaces_are_different() -> None:
    policies = PolicySet.of([namespaced("p", n, controls={"privileged": {}}) for n in ("a", "b")])
    assert len(policies) == 2
    assert requirements(policies.plan("a", None, None)) == {(Enforcement.DENY, "a/p")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("spec: {match: {namespaces: [pay]}}", "spec.match.namespaces: unknown field"),
        ("spec: {match: {namespaceSelector: {}}}", "spec.match.namespaceSelector: unknown field"),
        ("spec: {podSecurityStandard: {fromNamespaceLabels: true}}", "fromNamespaceLabels: unknown field"),
        ("spec: {podSecurityStandard: {version: latest}}", "p.yaml:4:29: spec.podSecurityStandard: set level"),
    ],
)
def test_it_has_no_namespace_selection(text: str, expected: str) -> None:
    with pytest.raises(PolicyError) as raised:
        parse_policies(HEAD + text, "p.yaml")
    assert expected in str(raised.value)


def test_a_file_must_set_the_namespace() -> None:
    with pytest.raises(PolicyError, match="metadata: the field 'namespace' must be set"):
        parse_policies(HEAD.replace(", namespace: shop", "") + "spec: {}", "p.yaml")
    (policy,) = parse_policies(HEAD + "spec: {match: {podSelector: {matchLabels: {a: b}}}}", "p.yaml")
    assert policy.title == "shop/p"


def test_one_without_a_namespace_is_invalid() -> None:
    with pytest.raises(PolicyError, match=r"^metadata\.namespace: must be set"):
        compile_policy(namespaced("p", "", controls={"privileged": {}}))
