"""`sekisho check`, the webhook on a workload and the webhook on its pod give the same verdict, field by field."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest

from sekisho.admission import LimitRangeItem, NamespaceObjects, ServiceAccount, limit_range
from sekisho.documents import write_document
from sekisho.findings import render_path
from sekisho.manifests import Checker, Namespaces, sources_of
from sekisho.pods import POD_TEMPLATES
from sekisho.policies import ClusterPodPolicy, Enforcement, PolicySet
from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import POLICIES, wait_enforced
from tests.controlplane.waiting import wait_until
from tests.pod_defaults.workloads import Workload, manifest_of, pod_of, words_of, workloads

Json = dict[str, Any]
Fields = frozenset[tuple[str, str]]
"""The control and the field of each problem that denies, from the pod's root."""

SOON: Final = 30.0
MIN_OF_EACH: Final = 20
SHARE: Final = 4
"""One of so many workloads is tried, unless all are."""
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
        lambda: all(on_template(cluster, ns, last) == by_check(ns, manifest_of(last), known) for ns in SPECS),
        SOON,
        "the webhook knows the LimitRange and the accounts",
    )
    yield known
    for namespace in SPECS:
        plane.call("DELETE", f"{POLICIES}/{namespace}")
        plane.call("DELETE", f"/api/v1/namespaces/{namespace}")


@pytest.mark.parametrize("namespace", SPECS)
def test_verdict_is_the_same_at_the_desk_on_the_workload_and_on_the_pod(
    cluster: Cluster, objects: NamespaceObjects, namespace: str, pytestconfig: pytest.Config
) -> None:
    verdicts: Counter[bool] = Counter()
    for workload in workloads()[:: 1 if pytestconfig.getoption("--whole") else SHARE]:
        expected = by_check(namespace, manifest_of(workload), objects)
        assert on_pod(cluster, namespace, pod_of(workload)) == expected, workload.name
        if workload.kind != "Pod":
            assert on_template(cluster, namespace, workload) == expected, workload.name
        verdicts[bool(expected)] += 1
    assert min(verdicts[False], verdicts[True]) >= MIN_OF_EACH


def by_check(namespace: str, manifest: Json, objects: NamespaceObjects) -> Fields:
    policies = PolicySet.of([msgspec.convert(policy_of(namespace), ClusterPodPolicy)])
    checker = Checker(policies, Namespaces(objects={namespace: objects}), namespace)
    (source,) = sources_of(write_document(manifest), "workload")
    (checked,) = checker.check(source).checked
    above = POD_TEMPLATES.get((manifest["apiVersion"].rpartition("/")[0], manifest["kind"]), ())
    return frozenset(
        (located.finding.control, render_path(located.finding.path[len(above) :]))
        for located in checked.violations
        if located.enforcement is Enforcement.DENY
    )


def on_template(cluster: Cluster, namespace: str, workload: Workload) -> Fields:
    group = "batch" if workload.kind in ("Job", "CronJob") else "apps"
    path = f"/apis/{group}/v1/namespaces/{namespace}/{workload.kind.lower()}s"
    return created(cluster, path, manifest_of(workload), render_path(POD_TEMPLATES[group, workload.kind]) + ".")


def on_pod(cluster: Cluster, namespace: str, pod: Json) -> Fields:
    return created(cluster, f"/api/v1/namespaces/{namespace}/pods", pod, "")


def created(cluster: Cluster, path: str, body: Json, above: str) -> Fields:
    """The causes of the webhook's denial of a dry run, without the path of the template."""
    answer = cluster.plane.call("POST", f"{path}?dryRun=All", body)
    status = json.loads(answer.body)
    if answer.status == 201:
        return frozenset()
    assert answer.status == 403, status["message"]
    causes = [(cause["reason"].removeprefix("Violates"), cause["field"]) for cause in status["details"]["causes"]]
    return frozenset((name[0].lower() + name[1:], field.removeprefix(above)) for name, field in causes)
