"""`sekisho check --cluster` and `sekisho diff` on real API servers: the policies that are applied there decide."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from sekisho.timestamps import rfc3339
from tests.cluster.conftest import Cluster
from tests.controlplane.installed import NAMESPACE
from tests.controlplane.kubectl import Completed, Kubectl
from tests.controlplane.plane import ControlPlane
from tests.pods import container
from tests.unit.images.signing import P256, pem

CONTEXTS = ("here", "there")
VERSION = "sekisho.dev/v1alpha1"


def policy(name: str, namespace: str, level: str = "baseline") -> str:
    match = {"namespaceSelector": {"matchLabels": {"judged": namespace}}}
    spec = {"podSecurityStandard": {"level": level}, "match": match}
    return json.dumps({"apiVersion": VERSION, "kind": "ClusterPodPolicy", "metadata": {"name": name}, "spec": spec})


def waiver(name: str) -> str:
    expires = rfc3339(datetime.now(UTC) + timedelta(days=1))
    spec = {"policies": [name], "controls": ["hostNamespaces"], "reason": "agents", "expires": expires}
    return json.dumps({"apiVersion": VERSION, "kind": "PolicyWaiver", "metadata": {"name": name}, "spec": spec})


@pytest.fixture
def applied(cluster: Cluster, kubectl: Kubectl, namespace: str) -> Iterator[str]:
    """A policy for namespaces with a label that the test's namespace has; its name is the namespace's."""
    kubectl.check("label", "namespace", namespace, f"judged={namespace}")
    kubectl.check("apply", "-f", "-", input=policy(namespace, namespace))
    yield namespace
    kubectl.check("delete", "clusterpodpolicy", namespace)


@pytest.fixture
def contexts(cluster: Cluster, bare_plane: ControlPlane, tmp_path: Path) -> Path:
    """A kubeconfig with a context for each of two clusters; the second one has no policies, and is the current one."""
    merged: dict[str, list[dict[str, object]]] = {"clusters": [], "contexts": [], "users": []}
    for name, plane in zip(CONTEXTS, (cluster.plane, bare_plane), strict=True):
        one = yaml.safe_load(plane.kubeconfig.read_text())
        merged["clusters"].append({**one["clusters"][0], "name": name})
        merged["users"].append({**one["users"][0], "name": name})
        merged["contexts"].append({"name": name, "context": {"cluster": name, "user": name}})
    file = tmp_path / "two-clusters"
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "there", **merged}))
    return file


def check(cluster: Cluster, tmp_path: Path, namespace: str, *options: str) -> Completed:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace}}
    file = tmp_path / "pod.json"
    file.write_text(json.dumps({**pod, "spec": {"hostPID": True, "containers": [container()]}}))
    return cluster.sekisho_cli("check", *options, str(file))


def test_manifests_are_judged_by_what_is_applied(
    cluster: Cluster, kubectl: Kubectl, applied: str, tmp_path: Path
) -> None:
    options = ("--cluster", "--kubeconfig", str(cluster.plane.kubeconfig))
    denied = check(cluster, tmp_path, applied, *options)
    assert (denied.returncode, f'[hostNamespaces, policy "{applied}"]' in denied.stdout) == (1, True), denied.stderr
    assert check(cluster, tmp_path, "default", *options).returncode == 0
    kubectl.check("apply", "-f", "-", input=waiver(applied))
    try:
        assert check(cluster, tmp_path, applied, *options).returncode == 0
    finally:
        kubectl.check("delete", "policywaiver", applied)


def test_a_policy_of_a_file_replaces_the_applied_one(cluster: Cluster, applied: str, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text(policy(applied, applied, "privileged"))
    options = ("--cluster", "--kubeconfig", str(cluster.plane.kubeconfig), "-p", str(own))
    assert check(cluster, tmp_path, applied, *options).returncode == 0


def test_pods_of_kube_system_are_not_judged_as_in_the_cluster(cluster: Cluster, applied: str, tmp_path: Path) -> None:
    options = ("--cluster", "--kubeconfig", str(cluster.plane.kubeconfig), "--standard", "baseline")
    assert check(cluster, tmp_path, "kube-system", *options).returncode == 0
    assert check(cluster, tmp_path, "default", *options).returncode == 1


def test_a_context_names_the_cluster(cluster: Cluster, applied: str, contexts: Path, tmp_path: Path) -> None:
    here = check(cluster, tmp_path, applied, "--kubeconfig", str(contexts), "--context", "here")
    assert here.returncode == 1, here.stderr
    there = check(cluster, tmp_path, applied, "--kubeconfig", str(contexts), "--cluster")
    assert (there.returncode, "there are no policies" in there.stderr) == (2, True)
    nowhere = check(cluster, tmp_path, applied, "--kubeconfig", str(contexts), "--context", "nowhere")
    assert (nowhere.returncode, "nowhere" in nowhere.stderr) == (2, True)


def test_diff_shows_where_two_clusters_differ(cluster: Cluster, applied: str, contexts: Path) -> None:
    two = ("--kubeconfig", str(contexts), "--context", "here", "--context", "there")
    result = cluster.sekisho_cli("diff", *two)
    assert (result.returncode, f"- ClusterPodPolicy {applied}\n" in result.stdout) == (1, True), result.stderr
    same = cluster.sekisho_cli("diff", "--kubeconfig", str(contexts), "--context", "here", "--context", "here")
    assert (same.returncode, same.stdout) == (0, "")
    one = cluster.sekisho_cli("diff", "--kubeconfig", str(contexts), "--context", "here")
    assert (one.returncode, "for each of two clusters, found 1" in one.stderr) == (2, True)


def test_verify_reads_the_keys_of_the_cluster_and_says_which_are_missing(
    cluster: Cluster, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    authority = {"kind": "ImageAuthority", "spec": {"keys": [{"secret": {"name": namespace}}]}}
    rule = {"images": ["127.0.0.1:1"], "by": {"anyOf": [namespace]}}
    signed = {"kind": "ClusterPodPolicy", "spec": {"controls": {"images": {"signatures": [rule]}}}}
    own = tmp_path / "signed.yaml"
    written = [{"apiVersion": VERSION, "metadata": {"name": namespace}, **one} for one in (authority, signed)]
    own.write_text(yaml.safe_dump_all(written))
    options = ("verify", "-p", str(own), "--cluster", "--kubeconfig", str(cluster.plane.kubeconfig))
    image = f"127.0.0.1:1/acme/pay@sha256:{'a' * 64}"
    missing = cluster.sekisho_cli(*options, image)
    assert f"note: Secret {namespace} of namespace {NAMESPACE} does not exist" in missing.stderr
    assert f"note: ImageAuthority {namespace} is unusable" in missing.stderr
    secret = ("secret", "generic", namespace, f"--from-literal=cosign.pub={pem(P256)}", "--namespace", NAMESPACE)
    cluster.plane.kubectl.check("create", *secret)
    there = cluster.sekisho_cli(*options, image)
    assert (there.returncode, "unusable" in there.stderr, "Secret" in there.stderr) == (2, False, False), there.stderr
