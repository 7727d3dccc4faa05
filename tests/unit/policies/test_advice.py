"""Warnings for policies that apply to less than they seem to."""

from typing import Any

import msgspec
import pytest

from sekisho.policies import ClusterPodPolicy, PodPolicy, PolicySet
from sekisho.policies.advice import advice

REQUIRED: dict[str, Any] = {"privileged": {}}
POD_SELECTOR = "spec.match.podSelector: users choose the labels of their pods, and so whether the policy applies"
RUNTIME_CLASS = (
    "spec.match.excludeRuntimeClasses: users choose the runtimeClassName of their pods, and so whether the policy "
    "applies"
)
NAMESPACE = "spec.match.namespaceSelector: everyone who may label a namespace chooses whether the policy applies"
ACCOUNTS = (
    "spec.match.excludeSubjects: everyone who may create pods or tokens in the namespace of a service account can act "
    "as that account"
)


def warnings(spec: dict[str, Any], namespace: str = "") -> list[str]:
    raw = {"metadata": {"name": "p", "namespace": namespace}, "spec": {"controls": REQUIRED} | spec}
    policy = msgspec.convert(raw, PodPolicy) if namespace else msgspec.convert(raw, ClusterPodPolicy)
    return advice(policy, PolicySet())


CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"match": {"podSelector": {"matchLabels": {"app": "x"}}}}, [POD_SELECTOR]),
    ({"match": {"podSelector": {}}}, []),
    ({"match": {"excludeRuntimeClasses": ["gvisor"]}}, [RUNTIME_CLASS]),
    ({"match": {"excludeRuntimeClasses": []}}, []),
    ({"match": {"namespaceSelector": {"matchLabels": {"tier": "prod"}}}}, [NAMESPACE]),
    ({"match": {"namespaceSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}}}, [NAMESPACE]),
    ({"match": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}}, []),
    ({"match": {"excludeSubjects": {"serviceAccounts": ["ci/deployer"]}}}, [ACCOUNTS]),
    ({"match": {"excludeSubjects": {"users": ["system:serviceaccount:ci:deployer"]}}}, [ACCOUNTS]),
    ({"match": {"excludeSubjects": {"groups": ["system:serviceaccounts:ci"]}}}, [ACCOUNTS]),
    ({"match": {"excludeSubjects": {"users": ["system:serviceaccount:kube-system:x"]}}}, []),
    ({"match": {"excludeSubjects": {"users": ["alice"], "groups": ["admins"]}}}, []),
    (
        {"match": {"namespaces": ["kube-system"]}},
        ["spec.match.namespaces: Sekisho does not judge pods in kube-system, so no pod matches"],
    ),
    ({"match": {"namespaces": ["kube-system", "shop"]}}, []),
    ({"match": {"namespaces": ["kube-*"]}}, []),
    (
        {"controls": {"images": {}}},
        [
            "spec.controls.images: requires nothing: set one of trustedRegistries, deniedRegistries, requireDigest, "
            "requireTag, deniedTags or signatures"
        ],
    ),
    (
        {"controls": {"resources": {"enforcement": "Warn"}}},
        [
            "spec.controls.resources: requires nothing: set one of requiredRequests, requiredLimits, maxRequests or "
            "maxLimits"
        ],
    ),
    ({"controls": {"images": {"requireTag": True}}}, []),
    ({"controls": {"resources": {"requiredLimits": ["memory"]}}}, []),
]


@pytest.mark.parametrize(("spec", "expected"), CASES)
def test_policy_that_applies_to_less_than_it_seems_to_has_a_warning(spec: dict[str, Any], expected: list[str]) -> None:
    assert warnings(spec) == expected


def test_a_pod_policy_in_an_exempt_namespace_has_a_warning() -> None:
    expected = "metadata.namespace: Sekisho does not judge pods in kube-system, so no pod matches"
    assert warnings({}, namespace="kube-system") == [expected]
    assert warnings({}, namespace="shop") == []
