"""Nothing secret of a pod leaves Sekisho: not in what kubectl shows, in Events, in logs or in metrics."""

import json
from typing import Any

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.test_monitoring import metrics_of
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.waiting import wait_until
from tests.secret_pods import ALL_CONTROLS, SECRET, pod_with_secrets

SOON = 30.0


@pytest.fixture
def strict(kubectl: Kubectl, namespace: str) -> Any:
    """Everything is denied in the test's namespace that any control can deny."""
    spec = {
        "match": {"namespaces": [namespace]},
        "podSecurityStandard": {"level": "restricted"},
        "controls": ALL_CONTROLS,
        "defaults": {"profile": "restricted"},
    }
    name = f"{namespace}-strict"
    policy = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }
    kubectl.check("apply", "-f", "-", input=json.dumps(policy))
    kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{name}", f"--timeout={SOON:g}s")
    yield
    kubectl("delete", "clusterpodpolicy", name, "--wait=false")


@pytest.mark.usefixtures("strict")
def test_denials_of_pods_and_deployments_hold_no_secrets(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    pod = pod_with_secrets()
    denied = kubectl("create", "-f", "-", input=json.dumps(pod))
    assert denied.returncode == 1
    template = {
        "metadata": {"labels": {"app": "x"}} | {"annotations": pod["metadata"]["annotations"]},
        "spec": pod["spec"],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "bad"},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template},
    }
    warned = kubectl("create", "-f", "-", input=json.dumps(deployment))
    assert warned.returncode == 0
    assert "Warning: " in warned.stderr

    def events() -> str:
        return kubectl.check("get", "events.events.k8s.io", "-o", "json")

    def both_reported() -> bool:
        regarded = {
            event["regarding"]["kind"] for event in json.loads(events())["items"] if event["reason"] == "PodDenied"
        }
        return regarded == {"Pod", "Deployment"}

    wait_until(both_reported, SOON, "both denials are Events")
    status = wait_until(
        lambda: kubectl.check("get", "deployment", "bad", "-o", "jsonpath={.status.conditions}"), SOON, "a condition"
    )

    def log() -> str:
        return "".join(line for line in cluster.sekisho.webhook.log.read_text().splitlines() if namespace in line)

    wait_until(lambda: '"decision": "deny"' in log() and "bad" in log(), SOON, "both denials are in the log")
    for where in (denied.stderr, warned.stderr, events(), status, log(), *map(metrics_of, cluster.sekisho.components)):
        assert SECRET not in where
