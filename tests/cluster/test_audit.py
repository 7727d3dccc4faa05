"""`sekisho audit` on a real cluster: its counts are those of judging pod by pod, and the API server's own answers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import yaml

from sekisho.admission import evaluate
from sekisho.audit import PODS
from sekisho.pods import Workload
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import wait_enforced
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.waiting import wait_until
from tests.pods import container

Json = dict[str, Any]

SOON: Final = 60.0
REPLICAS: Final = 3
GOOD: Final[Json] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [container(image="registry.example.com/app:1")],
}
PLAIN: Final[Json] = {"containers": [{"name": "app", "image": "registry.example.com/app:1"}]}
PRIVILEGED: Final[Json] = {
    "containers": [container(securityContext={"privileged": True, "allowPrivilegeEscalation": True})]
}
HOST_PATH: Final[Json] = {**GOOD, "volumes": [{"name": "host", "hostPath": {"path": "/var/log"}}]}
SPECS: Final[dict[str, Json]] = {"good": GOOD, "plain": PLAIN, "privileged": PRIVILEGED, "host-path": HOST_PATH}
DENIED: Final = {"privileged", "host-path"}
"""Those that no defaults mend."""


def workload(kind: str, name: str, spec: Json, **fields: Any) -> Json:
    labels = {"app": f"{kind}-{name}".lower()}
    group = "batch/v1" if kind in ("Job", "CronJob") else "apps/v1"
    template: Json = {"metadata": {"labels": labels}, "spec": spec}
    if kind in ("Job", "CronJob"):
        template["spec"] = {**spec, "restartPolicy": "Never"}
    below: Json = {"template": template}
    if kind == "CronJob":
        below = {"jobTemplate": {"spec": below}, "schedule": "0 0 1 1 *"}
    elif kind != "Job":
        below["selector"] = {"matchLabels": labels}
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": {**below, **fields}}


def objects() -> Iterator[Json]:
    """For each spec a Deployment, a StatefulSet, a Job, a bare pod, and a suspended CronJob and an idle Deployment."""
    for name, spec in SPECS.items():
        yield workload("Deployment", name, spec, replicas=REPLICAS)
        yield workload("StatefulSet", name, spec, replicas=REPLICAS, serviceName="s", podManagementPolicy="Parallel")
        yield workload("Job", name, spec)
        yield workload("CronJob", name, spec, suspend=True)
        yield workload("Deployment", f"idle-{name}", spec, replicas=0)
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


PODS_OF_SPEC: Final = 2 * REPLICAS + 2


@pytest.fixture
def running(cluster: Cluster, namespace: str, kubectl: Kubectl) -> str:
    """A namespace with pods of all these."""
    kubectl.check("apply", "-f", "-", input=yaml.safe_dump_all(objects()))
    wait_until(lambda: len(pods_of(cluster, namespace)) == PODS_OF_SPEC * len(SPECS), SOON, "all pods exist")
    return namespace


def pods_of(cluster: Cluster, namespace: str) -> list[Json]:
    items: list[Json] = json.loads(cluster.plane.call("GET", PODS.path(namespace)).body)["items"]
    return items


def policy_of(namespace: str, **spec: Any) -> Json:
    spec = {"match": {"namespaces": [namespace]}, "podSecurityStandard": {"level": "restricted"}, **spec}
    head = {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ClusterPodPolicy", "metadata": {"name": namespace}}
    return head | {"spec": spec}


def audited(cluster: Cluster, namespace: str, *args: str) -> Json:
    kubeconfig = str(cluster.plane.kubeconfig)
    done = cluster.sekisho_cli("audit", "--kubeconfig", kubeconfig, "-n", namespace, "-o", "json", *args)
    assert done.returncode in (0, 1), done.stderr
    report: Json = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("defaults", [{}, {"profile": "restricted"}], ids=["no-defaults", "defaults"])
def test_counts_before_a_policy_is_applied_are_what_the_api_server_then_answers(
    cluster: Cluster, running: str, kubectl: Kubectl, tmp_path: Path, defaults: Json
) -> None:
    policy = policy_of(running, **({"defaults": defaults} if defaults else {}))
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump(policy))
    report = audited(cluster, running, "-p", str(file))
    summary = report["summary"]

    # As they run: pod by pod.
    policies = PolicySet.of([msgspec.convert(policy, ClusterPodPolicy)])
    pods = [msgspec.convert(body, Workload) for body in pods_of(cluster, running)]
    violating = sum(bool(evaluate(pod, policies, running, None).violations) for pod in pods)
    assert (summary["pods"], summary["violating"]) == (len(pods), violating)

    # Made again: the API server's answers, once the policy is in force.
    kubectl.check("apply", "-f", str(file))
    try:
        wait_enforced(cluster, running)
        denied = {name for name, spec in SPECS.items() if is_denied(kubectl, spec)}
    finally:
        kubectl.check("delete", "clusterpodpolicy", running)
    assert denied == (DENIED if defaults else {"plain", *DENIED})
    assert summary["wouldBeDenied"] == PODS_OF_SPEC * len(denied)
    assert summary["idleTemplates"] == 2 * len(denied)
    owners = {(one["kind"], one["name"]): one["wouldBeDenied"] for one in report["owners"] if one["findings"]}
    assert owners == {
        (kind, prefix + name): count
        for name in denied
        for kind, prefix, count in (
            ("Deployment", "", REPLICAS),
            ("StatefulSet", "", REPLICAS),
            ("Job", "", 1),
            ("Pod", "", 1),
            ("CronJob", "", 0),
            ("Deployment", "idle-", 0),
        )
    }


def is_denied(kubectl: Kubectl, spec: Json) -> bool:
    """Whether the API server denies a pod."""
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "again"}, "spec": spec}
    done = kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(body))
    assert done.returncode == 0 or "denied the request" in done.stderr, done.stderr
    return done.returncode != 0


def test_pods_of_kube_system_never_count(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    policy = policy_of("kube-system")
    del policy["spec"]["match"]
    file.write_text(yaml.safe_dump(policy))
    cluster.plane.kubectl.check("run", "audited", "--namespace=kube-system", "--image=x", "--privileged")
    try:
        report = audited(cluster, "kube-system", "-p", str(file))
    finally:
        cluster.plane.kubectl.check("delete", "pod", "audited", "--namespace=kube-system", "--now")
    assert report["summary"]["pods"] == 0
