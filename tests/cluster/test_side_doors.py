"""Side doors that the API server itself closes, or that the chart has it close."""

import json
from typing import Any

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import enforced_policy
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.waiting import wait_until
from tests.pods import restricted_pod

Json = dict[str, Any]

ZONE = "topology.kubernetes.io/zone"
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/app"
SOON = 30.0
TENANT = "--as=tenant"


def bind(cluster: Cluster, namespace: str, path: str, **metadata: Any) -> tuple[int, str]:
    """Bind the pod `p` to a node: the answer's code and text."""
    target = {"apiVersion": "v1", "kind": "Node", "name": "n"}
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p", **metadata}, "target": target}
    answer = cluster.plane.call("POST", f"/api/v1/namespaces/{namespace}/{path}", body)
    return answer.status, answer.body.decode()


@pytest.mark.parametrize("path", ["bindings", "pods/p/binding"])
def test_binding_cannot_change_what_was_judged(cluster: Cluster, kubectl: Kubectl, namespace: str, path: str) -> None:
    pod = restricted_pod()
    pod["metadata"] |= {"name": "p", "labels": {"app": "web"}}
    kubectl.check("create", "-f", "-", input=json.dumps(pod))

    def denial(**metadata: Any) -> str:
        status, text = bind(cluster, namespace, path, **metadata)
        return text if status == 422 else ""

    message = wait_until(lambda: denial(annotations={APP_ARMOR: "unconfined"}), SOON, "the API server denies it")
    assert "must not set AppArmor annotations" in message
    assert "must not set labels" in denial(labels={"app": "db"})
    assert bind(cluster, namespace, path, annotations={"team": "a"}, labels={ZONE: "z"})[0] == 201
    bound = json.loads(kubectl.check("get", "pod", "p", "-o", "json"))["metadata"]
    # What an allowed Binding sets is in the pod: without the policy, the rest would be too.
    assert (bound["annotations"]["team"], bound["labels"]) == ("a", {"app": "web", ZONE: "z"})


SOURCES: list[Json] = [
    {"emptyDir": {}, "hostPath": {"path": "/"}},
    {"emptyDir": {}, "nfs": {"server": "s", "path": "/"}},
    {"configMap": {"name": "c"}, "secret": {"secretName": "s"}},
]


@pytest.mark.parametrize("sources", SOURCES, ids=lambda sources: ", ".join(sources))
def test_api_server_stores_no_volume_with_two_sources(
    cluster: Cluster, kubectl: Kubectl, namespace: str, sources: Json
) -> None:
    with enforced_policy(cluster, namespace):
        for volume, is_stored in ((sources, False), ({"emptyDir": {}}, True)):
            pod = restricted_pod(volumes=[{"name": "v", **volume}])
            answer = kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))
            assert (answer.returncode == 0) is is_stored, answer.stderr


def test_a_pods_status_can_be_written_by_no_tenant_and_sets_no_profile(
    cluster: Cluster, kubectl: Kubectl, namespace: str
) -> None:
    kubectl.check("create", "rolebinding", "tenant", "--clusterrole=admin", "--user=tenant")
    wait_until(lambda: kubectl("auth", "can-i", "update", "pods", TENANT).returncode == 0, SOON, "the role applies")
    assert kubectl("auth", "can-i", "update", "pods", "--subresource=status", TENANT).stdout.strip() == "no"

    pod = restricted_pod()
    pod["metadata"] |= {"name": "p"}
    kubectl.check("create", "-f", "-", input=json.dumps(pod))
    for key, is_set in ((APP_ARMOR, False), ("team", True)):
        body = json.dumps({"metadata": {"annotations": {key: "unconfined"}}})
        answer = kubectl("patch", "pod", "p", "--subresource=status", "--type=merge", "-p", body, "--dry-run=server")
        assert (answer.returncode == 0) is is_set, answer.stderr
