"""Ways around a policy, tried as a tenant on the real API server, each beside what stays allowed."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sekisho.timestamps import rfc3339
from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import (
    BAD_POD,
    GOOD_POD,
    LEASES,
    POLICIES,
    apply_policy,
    enforced_policy,
    get,
    verdict,
    wait_enforced,
)
from tests.controlplane.installed import NAMESPACE
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.waiting import wait_until
from tests.pods import container, restricted_pod

Json = dict[str, Any]
SOON = 30.0
TENANT = "--as=tenant"


def create(kubectl: Kubectl, pod: Json) -> None:
    kubectl.check("create", "-f", "-", input=json.dumps(pod))


def patch(kubectl: Kubectl, body: Json) -> str:
    """`admitted`, or why the pod may not be changed like this."""
    completed = kubectl("patch", "pod", "pod", "--type=strategic", "-p", json.dumps(body), "--dry-run=server")
    return "admitted" if completed.returncode == 0 else completed.stderr


def test_an_update_of_what_runs_has_an_old_pod_judged_whole(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    pod = restricted_pod(
        container(securityContext={"privileged": True, "allowPrivilegeEscalation": True}),
        volumes=[{"name": "node", "hostPath": {"path": "/"}}],
    )
    create(kubectl, pod)
    with enforced_policy(cluster, namespace):
        assert patch(kubectl, {"metadata": {"labels": {"team": "a"}}}) == "admitted"
        image = {"spec": {"containers": [{"name": "app", "image": "trusted.io/app:2"}]}}
        assert "privileged is true" in patch(kubectl, image)
        debug = container("debug", volumeMounts=[{"name": "node", "mountPath": "/node"}])
        path = f"/api/v1/namespaces/{namespace}/pods/pod"
        stored = get(cluster, path)
        stored["spec"]["ephemeralContainers"] = [debug]
        answer = cluster.plane.call("PUT", f"{path}/ephemeralcontainers?dryRun=All", stored)
        assert answer.status == 403
        assert b"hostPath" in answer.body

        create(kubectl, restricted_pod() | {"metadata": {"name": "good"}})
        assert kubectl("set", "image", "pod/good", "app=trusted.io/app:2").returncode == 0


def test_a_deleted_waiver_excuses_no_violation_that_it_exempted(
    cluster: Cluster, kubectl: Kubectl, namespace: str
) -> None:
    waiver = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "PolicyWaiver",
        "metadata": {"name": namespace},
        "spec": {
            "policies": [namespace],
            "controls": ["privileged"],
            "match": {"namespaces": [namespace]},
            "expires": rfc3339(datetime.now(UTC) + timedelta(days=9)),
            "reason": "a test",
        },
    }
    image = {"spec": {"containers": [{"name": "app", "image": "trusted.io/app:2"}]}}
    with enforced_policy(cluster, namespace):
        kubectl.check("create", "-f", "-", input=json.dumps(waiver))
        wait_until(lambda: verdict(kubectl, BAD_POD) == "admitted", SOON, "the waiver exempts the pod")
        create(kubectl, BAD_POD)
        assert patch(kubectl, image) == "admitted"
        kubectl.check("delete", "policywaiver", namespace)
        wait_until(lambda: verdict(kubectl, BAD_POD) != "admitted", SOON, "the waiver is gone")
        assert "privileged is true" in patch(kubectl, image)
        assert patch(kubectl, {"metadata": {"labels": {"team": "a"}}}) == "admitted"


def test_a_pod_that_gets_the_label_of_a_policy_is_judged_by_it(
    cluster: Cluster, kubectl: Kubectl, namespace: str
) -> None:
    match = {"namespaces": [namespace], "podSelector": {"matchLabels": {"strict": "yes"}}}
    apply_policy(cluster, namespace, match=match)
    try:
        wait_enforced(cluster, namespace)
        create(kubectl, BAD_POD)
        assert patch(kubectl, {"metadata": {"labels": {"strict": "no"}}}) == "admitted"
        assert "privileged is true" in patch(kubectl, {"metadata": {"labels": {"strict": "yes"}}})
    finally:
        cluster.plane.call("DELETE", f"{POLICIES}/{namespace}")


OTHER_NAMES: list[tuple[str, Json, Json]] = [
    (
        "sysctls",
        restricted_pod(securityContext={"sysctls": [{"name": "kernel/core_pattern", "value": "|/x"}]}),
        restricted_pod(securityContext={"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}),
    ),
    ("images", restricted_pod(container(image="evil.example:443/app")), GOOD_POD),
    *(
        (
            "criSockets",
            restricted_pod(volumes=[{"name": "v", "hostPath": {"path": path}}]),
            restricted_pod(volumes=[{"name": "v", "hostPath": {"path": "/srv"}}]),
        )
        for path in ("/proc/1/root/run/containerd/containerd.sock", "//run//containerd/./containerd.sock")
    ),
    (
        "serviceAccountToken",
        restricted_pod(
            automountServiceAccountToken=False,
            volumes=[{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
        ),
        restricted_pod(automountServiceAccountToken=False, volumes=[{"name": "v", "emptyDir": {}}]),
    ),
]


def test_the_same_thing_by_another_name_is_denied(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    controls = {
        "sysctls": {},
        "images": {"deniedRegistries": ["evil.example"]},
        "criSockets": {},
        "serviceAccountToken": {},
    }
    apply_policy(cluster, namespace, podSecurityStandard={"level": "privileged"}, controls=controls)
    try:
        wait_enforced(cluster, namespace)
        without_token = {"automountServiceAccountToken": False}
        for control, bad, good in OTHER_NAMES:
            denied = verdict(kubectl, bad | {"spec": bad["spec"] | without_token})
            assert "denied the request" in denied
            assert control in denied
            assert verdict(kubectl, good | {"spec": good["spec"] | without_token}) == "admitted"
    finally:
        cluster.plane.call("DELETE", f"{POLICIES}/{namespace}")


def test_what_a_tenant_forges_changes_no_status(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    kubectl.check("create", "rolebinding", "tenant", "--clusterrole=admin", "--user=tenant")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "forged"},
        "involvedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "namespace": namespace},
        "reason": "PodDenied",
        "message": f'policy "{namespace}" denies this pod',
        "source": {"component": "sekisho-webhook"},
        "type": "Warning",
    }
    [report, *_] = [
        item for item in get(cluster, LEASES)["items"] if item["metadata"]["name"].startswith("sekisho-webhook-")
    ]
    metadata = {key: report["metadata"].get(key, {}) for key in ("labels", "annotations")}
    ghost = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata | {"name": "sekisho-webhook-ghost"},
        "spec": report["spec"] | {"leaseDurationSeconds": 2147483647},
    }
    with enforced_policy(cluster, namespace):

        def reported() -> Json:
            status: Json = get(cluster, f"{POLICIES}/{namespace}")["status"]
            return {key: status.get(key) for key in ("enforcedBy", "denials", "warnings")}

        before = reported()
        assert before["enforcedBy"] == "1/1"
        wait_until(lambda: kubectl("auth", "can-i", "get", "pods", TENANT).returncode == 0, SOON, "the role applies")
        elsewhere = kubectl.in_namespace(NAMESPACE)("create", "-f", "-", TENANT, input=json.dumps(ghost))
        assert "forbidden" in elsewhere.stderr
        for forged in (event, ghost):  # as the administrator, who may do in the namespace what any tenant may
            kubectl.check("create", "-f", "-", input=json.dumps(forged))
        apply_policy(cluster, namespace, templates="Ignore")  # so that the status is computed again
        wait_enforced(cluster, namespace)
        wait_until(
            lambda: get(cluster, f"{POLICIES}/{namespace}")["status"]["observedGeneration"] == 2, SOON, "it is new"
        )
        assert reported() == before
