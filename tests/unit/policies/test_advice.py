"""Warnings for policies that apply to less than they seem to."""

import time
from datetime import datetime
from typing import Any

import msgspec
import pytest

from sekisho.policies import ClusterPodPolicy, ImageAuthority, PodPolicy, PolicySet, PolicyWaiver
from sekisho.policies.advice import advice, past_allowances
from sekisho.policies.idle import REQUIRES_NOTHING

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


NAME_LABEL = "kubernetes.io/metadata.name"
NOT_X: dict[str, Any] = {"key": "app", "operator": "NotIn", "values": ["x"]}
ABSENT = {"key": "app", "operator": "DoesNotExist"}


def named(operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": NAME_LABEL, "operator": operator, "values": values}]}


def no_value(field: str, label: str) -> str:
    return f"spec.match.{field}: no value of the label {label} meets every condition, so no pod matches"


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
        {"match": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}},
        ["spec.match.namespaceSelector: Sekisho does not judge pods in kube-system, so no pod matches"],
    ),
    (
        {
            "match": {
                "namespaceSelector": {
                    "matchExpressions": [
                        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]}
                    ]
                }
            }
        },
        [],
    ),
    (
        {"match": {"excludeNamespaces": ["*"]}},
        ["spec.match.excludeNamespaces: excludes every namespace, so no pod matches"],
    ),
    ({"match": {"excludeNamespaces": ["a*", "*b"]}}, []),
    (
        {"match": {"namespaces": ["team-a*", "kube-system"], "excludeNamespaces": ["team-*"]}},
        ["spec.match.namespaces: excludeNamespaces matches team-a*, so no pod matches"],
    ),
    ({"match": {"namespaces": ["team-*"], "excludeNamespaces": ["team-a*"]}}, []),
    (
        {"match": {"namespaces": ["a"], "namespaceSelector": named("In", "b")}},
        ["spec.match.namespaces: namespaceSelector does not match a, so no pod matches"],
    ),
    ({"match": {"namespaces": ["a", "b"], "namespaceSelector": named("In", "b")}}, []),
    (
        {"match": {"namespaces": ["team-*"], "namespaceSelector": named("In", "b")}},
        ["spec.match.namespaceSelector: namespaces does not match b, so no pod matches"],
    ),
    ({"match": {"namespaces": ["team-*"], "namespaceSelector": named("In", "team-b", "c")}}, []),
    ({"match": {"namespaceSelector": named("DoesNotExist")}}, [no_value("namespaceSelector", NAME_LABEL)]),
    ({"match": {"namespaceSelector": named("Exists")}}, []),
    (
        {"match": {"podSelector": {"matchLabels": {"app": "x"}, "matchExpressions": [NOT_X]}}},
        [no_value("podSelector", "app"), POD_SELECTOR],
    ),
    ({"match": {"podSelector": {"matchLabels": {"app": "y"}, "matchExpressions": [NOT_X]}}}, [POD_SELECTOR]),
    (
        {"match": {"podSelector": {"matchExpressions": [ABSENT, NOT_X | {"operator": "In"}]}}},
        [no_value("podSelector", "app"), POD_SELECTOR],
    ),
    ({"match": {"podSelector": {"matchExpressions": [ABSENT, NOT_X]}}}, [POD_SELECTOR]),
    ({"controls": {"privileged": {"enforcement": "Off"}}}, [REQUIRES_NOTHING]),
    ({"controls": {}, "podSecurityStandard": {"level": "privileged"}}, [REQUIRES_NOTHING]),
    ({"controls": {}, "podSecurityStandard": {"level": "privileged"}, "defaults": {"profile": "baseline"}}, []),
    ({"controls": {}, "podSecurityStandard": {"fromNamespaceLabels": True}}, []),
    (
        {"controls": {"images": {}}},
        [
            "spec.controls.images: requires nothing: set one of trustedRegistries, deniedRegistries, requireDigest, "
            "requireTag, deniedTags, catalogs, signatures or attestations"
        ],
    ),
    (
        {"controls": {"resources": {"enforcement": "Warn"}}},
        [
            "spec.controls.resources: requires nothing: set one of requiredRequests, requiredLimits, maxRequests, "
            "maxLimits, minRequests, minLimits or maxLimitRequestRatios"
        ],
    ),
    ({"controls": {"images": {"requireTag": True}}}, []),
    ({"controls": {"resources": {"requiredLimits": ["memory"]}}}, []),
]


@pytest.mark.parametrize(("spec", "expected"), CASES)
def test_policy_that_applies_to_less_than_it_seems_to_has_a_warning(spec: dict[str, Any], expected: list[str]) -> None:
    assert warnings(spec) == expected


def test_every_namespace_that_the_chart_exempts_counts() -> None:
    exempt = {"kube-system", "sekisho-system"}
    for namespaces, is_judged in ((["kube-system", "sekisho-system"], False), (["sekisho-system", "shop"], True)):
        spec = {"match": {"namespaces": namespaces}, "controls": REQUIRED}
        policy = msgspec.convert({"metadata": {"name": "p"}, "spec": spec}, ClusterPodPolicy)
        assert (not advice(policy, PolicySet(), exempt)) is is_judged
        assert bool(advice(policy, PolicySet(), {"kube-system"})) is False


def test_a_pod_policy_in_an_exempt_namespace_has_a_warning() -> None:
    expected = "metadata.namespace: Sekisho does not judge pods in kube-system, so no pod matches"
    assert warnings({}, namespace="kube-system") == [expected]
    assert warnings({}, namespace="shop") == []


def test_a_policy_that_excludes_every_user_has_a_warning() -> None:
    everybody = ["system:authenticated", "system:unauthenticated"]
    expected = "spec.match.excludeSubjects.groups: excludes every user, so no pod matches"
    for groups, warns in ((everybody, True), (everybody[1:], False)):
        assert (expected in warnings({"match": {"excludeSubjects": {"groups": groups}}})) is warns


def test_a_waiver_that_can_exempt_no_pod_has_a_warning() -> None:
    def match_warnings(match: dict[str, Any]) -> list[str]:
        ends = {"expires": "2026-12-01T00:00:00Z", "reason": "a test"}
        spec = {"policies": ["p"], "controls": ["privileged"], "match": match} | ends
        waiver = msgspec.convert({"metadata": {"name": "w"}, "spec": spec}, PolicyWaiver)
        return [text for text in advice(waiver, PolicySet()) if text.startswith("spec.match")]

    unjudged = "spec.match.namespaces: Sekisho does not judge pods in kube-system, so no pod matches"
    contrary = {"matchLabels": {"app": "x"}, "matchExpressions": [NOT_X]}
    assert match_warnings({"namespaces": ["kube-system"]}) == [unjudged]
    assert match_warnings({"namespaces": ["shop"], "podSelector": contrary}) == [no_value("podSelector", "app")]
    assert match_warnings({"namespaces": ["shop", "kube-system"], "podSelector": {"matchExpressions": [NOT_X]}}) == []


def test_waiver_of_an_unknown_capability_has_a_warning() -> None:
    def value_warnings(controls: list[str]) -> list[str]:
        ends = {"expires": "2026-12-01T00:00:00Z", "reason": "a test"}
        spec = {"policies": ["p"], "controls": controls, "values": ["NET_ADMIN", "NET_ADMN"]} | ends
        waiver = msgspec.convert({"metadata": {"name": "w"}, "spec": spec}, PolicyWaiver)
        return [text for text in advice(waiver, PolicySet()) if text.startswith("spec.values")]

    expected = "spec.values[1]: there is no capability 'NET_ADMN'; did you mean NET_ADMIN?"
    assert value_warnings(["capabilities"]) == [expected]
    assert value_warnings(["capabilities", "sysctls"]) == []


def test_registry_that_only_tenants_name_is_not_connected_to() -> None:
    rule = {"images": ["ghcr.io/acme/*", "docker.io/acme"], "by": {"anyOf": ["release"]}}
    spec = {"controls": {"images": {"signatures": [rule]}}}
    audited = {"images": ["ghcr.io/other"], "by": {"anyOf": ["release"]}}
    cluster = {"enforcement": "Audit", "controls": {"images": {"signatures": [audited]}}}
    policies = PolicySet.of((msgspec.convert({"metadata": {"name": "c"}, "spec": cluster}, ClusterPodPolicy),))
    tenants = msgspec.convert({"metadata": {"name": "p", "namespace": "team"}, "spec": spec}, PodPolicy)
    registry_warnings = [text for text in advice(tenants, policies) if "names registry" in text]
    assert [text.partition("registry ")[2].partition(" ")[0] for text in registry_warnings] == ["docker.io"]
    everywhere = msgspec.convert({"metadata": {"name": "p"}, "spec": spec}, ClusterPodPolicy)
    assert not [text for text in advice(everywhere, policies) if "names registry" in text]


def test_installation_that_does_not_verify_images_says_so_where_it_matters() -> None:
    rule = {"images": ["ghcr.io/acme/*"], "by": {"anyOf": ["release"]}}
    signed = {"metadata": {"name": "p"}, "spec": {"controls": {"images": {"signatures": [rule]}}}}
    policy = msgspec.convert(signed, ClusterPodPolicy)
    [absent] = advice(policy, PolicySet())
    assert "there is no ImageAuthority release" in absent
    off = "this installation does not verify images until imageVerification.enabled is set in the chart"
    assert advice(policy, PolicySet(), verifies_images=False) == [
        f"spec.controls.images.signatures: {off}, so images that a rule applies to are denied"
    ]
    spec = {"keyless": {"issuer": "https://issuer.test", "identities": ["ci@acme.test"]}}
    authority = msgspec.convert({"metadata": {"name": "release"}, "spec": spec}, ImageAuthority)
    assert advice(authority, PolicySet(), verifies_images=False) == [f"spec: {off}, so signatures do not count"]
    assert advice(authority, PolicySet()) == []
    others = msgspec.convert({"metadata": {"name": "p"}, "spec": {"controls": REQUIRED}}, ClusterPodPolicy)
    assert advice(others, PolicySet(), verifies_images=False) == advice(others, PolicySet()) == []


def test_vulnerability_that_is_allowed_until_a_past_time_causes_a_warning() -> None:
    now, later = "2027-01-31T00:00:00Z", "2027-01-31T00:00:01Z"
    allowed = [{"id": name, "until": until, "reason": "no fix"} for name, until in (("CVE-1", now), ("CVE-2", later))]
    scan = {"maxAge": "7d", "maximum": {"fixable": {"critical": 0}}, "allowed": allowed}
    rule = {"images": ["ghcr.io/acme/*"], "by": {"anyOf": ["scanner"]}, "vulnerabilities": scan}
    spec = {"controls": {"images": {"attestations": [rule]}}}
    policy = msgspec.convert({"metadata": {"name": "p"}, "spec": spec}, ClusterPodPolicy)
    where = "spec.controls.images.attestations[0].vulnerabilities.allowed[0].until"
    assert past_allowances(policy, datetime.fromisoformat(now)) == [f"{where}: is past, so CVE-1 counts"]


def test_very_many_patterns_for_namespaces_are_not_compared_with_each_other() -> None:
    many = [f"{number}{'*a' * 25}" for number in range(512)]
    began = time.thread_time()
    assert warnings({"match": {"namespaces": many, "excludeNamespaces": [f"{name}b" for name in many]}}) == []
    assert time.thread_time() - began < 0.1
