"""`sekisho check`, the webhook on a workload and the webhook on its pod give the same verdict, field by field."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec
import pytest

from sekisho.admission import LimitRangeItem, NamespaceObjects, ServiceAccount, limit_range
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.cluster import verdicts
from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import POLICIES, wait_enforced
from tests.cluster.verdicts import Fields, Json
from tests.controlplane.waiting import wait_until
from tests.pod_defaults.workloads import Workload, manifest_of, pod_of, words_of, workloads

SOON: Final = 30.0
MIN_OF_VERDICT: Final = 20
SHARE: Final = 4
"""One of this many workloads is tried, unless all are."""
LIMITS: Final[list[Json]] = [
    {"type": "Container", "default": {"ephemeral-storage": "4Gi"}, "defaultRequest": {"memory": "1Mi"}}
]
SPECS: Final[dict[str, Json]] = {
    "workloads-lenient": {
        "podSecurityStandard": {"level": "restricted"},
        "controls": {"restrictedVolumes": {"enforcement": "Off"}},
        "defaults": {"profile": "restricted"},
    },
    "workloads-strict": {
        "podSecurityStandard": {"level": "baseline"},
        "controls": {
            "resources": {
                "requiredRequests": ["memory"],
                "requiredLimits": ["ephemeral-storage"],
                "maxRequests": [{"resource": "cpu", "quantity": "400m"}],
            },
            "restrictedVolumes": {"allowed": ["emptyDir", "configMap", "persistentVolumeClaim", "projected"]},
            "serviceAccountToken": {"allowedServiceAccounts": ["default"]},
            "images": {"trustedRegistries": ["registry.example.com"]},
            "subPath": {},
        },
    },
}


def policy_of(namespace: str) -> Json:
    spec = {"match": {"namespaces": [namespace]}, "templates": "Deny", **SPECS[namespace]}
    return {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": namespace},
        "spec": spec,
    }


@pytest.fixture(scope="module")
def objects(cluster: Cluster) -> Iterator[NamespaceObjects]:
    """A namespace for each policy, with a LimitRange and the accounts of the workloads: what is in each of them."""
    cluster.sekisho.repair()
    plane, names = cluster.plane, {*words_of("account"), *words_of("old-account")}
    accounts = {name: ServiceAccount(False if index % 3 else None) for index, name in enumerate(sorted(names))}
    items: list[Json] = [
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "h"}
        for name in words_of("runtime")
    ]
    for namespace in SPECS:
        plane.create_namespace(namespace)
        in_it: Json = {"metadata": {"name": "limits", "namespace": namespace}, "spec": {"limits": LIMITS}}
        items += [policy_of(namespace), {"apiVersion": "v1", "kind": "LimitRange", **in_it}]
        items += [
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": namespace},
                "automountServiceAccountToken": account.automount_service_account_token,
            }
            for name, account in accounts.items()
        ]
    plane.kubectl.check("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    for namespace in SPECS:
        wait_enforced(cluster, namespace)
    known = NamespaceObjects((limit_range("limits", msgspec.convert(LIMITS, list[LimitRangeItem])),), accounts)
    last = Workload("last", "Deployment", (f"account={max(names)}",), workloads()[0].containers)
    wait_until(
        lambda: all(
            by_webhook(cluster, ns, manifest_of(last)) == by_check(ns, manifest_of(last), known) for ns in SPECS
        ),
        SOON,
        "the webhook knows the LimitRange and the accounts",
    )
    yield known
    for namespace in SPECS:
        plane.call("DELETE", f"{POLICIES}/{namespace}")
        plane.call("DELETE", f"/api/v1/namespaces/{namespace}")


@pytest.mark.parametrize("namespace", SPECS)
def test_verdict_is_the_same_offline_on_the_workload_and_on_the_pod(
    cluster: Cluster, objects: NamespaceObjects, namespace: str, pytestconfig: pytest.Config
) -> None:
    counts: Counter[bool] = Counter()
    for workload in workloads()[:: 1 if pytestconfig.getoption("--whole") else SHARE]:
        expected = by_check(namespace, manifest_of(workload), objects)
        assert by_webhook(cluster, namespace, pod_of(workload)) == expected, workload.name
        if workload.kind != "Pod":
            assert by_webhook(cluster, namespace, manifest_of(workload)) == expected, workload.name
        counts[bool(expected)] += 1
    assert min(counts[False], counts[True]) >= MIN_OF_VERDICT


def by_check(namespace: str, manifest: Json, objects: NamespaceObjects) -> Fields:
    policies = PolicySet.of([msgspec.convert(policy_of(namespace), ClusterPodPolicy)])
    return verdicts.by_check(policies, namespace, manifest, objects)


def by_webhook(cluster: Cluster, namespace: str, manifest: Json) -> Fields:
    return verdicts.by_webhook(cluster.plane, namespace, manifest)[0]
