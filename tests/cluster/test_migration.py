"""`sekisho migrate psa` reads the cluster's own namespaces, and what it writes is applied and holds."""

import json
from collections.abc import Iterator

import pytest
import yaml

from tests.cluster.conftest import Cluster
from tests.controlplane.kubectl import Kubectl

SOON = 30.0
PREFIX = "pod-security.kubernetes.io/"
PRIVILEGED = {"containers": [{"name": "app", "image": "x", "securityContext": {"privileged": True}}]}
ROOT = {"containers": [{"name": "app", "image": "x"}]}
SAFE = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "app",
            "image": "x",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}
PODS = {"privileged": PRIVILEGED, "root": ROOT, "safe": SAFE}
# What the API server says of each pod in a namespace with these labels.
NAMESPACES = {
    "restricted": ({"enforce": "restricted"}, {"privileged": "denied", "root": "denied", "safe": "admitted"}),
    "baseline": (
        {"enforce": "baseline", "enforce-version": "v1.30", "warn": "restricted"},
        {"privileged": "denied", "root": "warned", "safe": "admitted"},
    ),
    "warned": ({"warn": "baseline"}, {"privileged": "warned", "root": "admitted", "safe": "admitted"}),
    "free": ({}, {"privileged": "admitted", "root": "admitted", "safe": "admitted"}),
}


@pytest.fixture
def labelled(cluster: Cluster, namespace: str) -> Iterator[str]:
    """Namespaces with labels; gives the prefix of their names."""
    kubectl = cluster.plane.kubectl
    for name, (labels, _) in NAMESPACES.items():
        cluster.plane.create_namespace(f"{namespace}-{name}")
        for key, value in labels.items():
            kubectl.check("label", "namespace", f"{namespace}-{name}", f"{PREFIX}{key}={value}")
    yield namespace
    for name in NAMESPACES:
        cluster.plane.call("DELETE", f"/api/v1/namespaces/{namespace}-{name}")


def verdict(kubectl: Kubectl, namespace: str, pod: object) -> str:
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod}
    done = kubectl.in_namespace(namespace)("create", "--dry-run=server", "-f", "-", input=json.dumps(manifest))
    if done.returncode:
        assert "pod-security" in done.stderr
        return "denied"
    return "warned" if "Warning: " in done.stderr else "admitted"


@pytest.mark.parametrize("options", [(), ("--explicit",)], ids=["drop-in", "explicit"])
def test_migrated_policies_give_the_verdicts_of_pod_security_admission(
    cluster: Cluster, labelled: str, options: tuple[str, ...]
) -> None:
    kubectl = cluster.plane.kubectl
    kubeconfig = cluster.plane.kubeconfig
    done = cluster.sekisho_cli("migrate", "psa", f"--kubeconfig={kubeconfig}", *options)
    assert done.returncode == 0
    assert labelled not in done.stderr
    names = [policy["metadata"]["name"] for policy in yaml.safe_load_all(done.stdout)]
    try:
        kubectl.check("apply", "-f", "-", input=done.stdout)
        policies = [f"clusterpodpolicy/{name}" for name in names]
        kubectl.check("wait", "--for=condition=Enforced", *policies, f"--timeout={SOON:g}s")
        for namespace, (_, expected) in NAMESPACES.items():
            verdicts = {name: verdict(kubectl, f"{labelled}-{namespace}", pod) for name, pod in PODS.items()}
            assert verdicts == expected, namespace
    finally:
        kubectl("delete", "clusterpodpolicy", *names, "--wait=false")
