"""docs/denials.md and the README's picture show what a cluster shows; `sekisho denials` works for a viewer."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.cluster.conftest import Cluster
from tests.controlplane.component import base_environment
from tests.controlplane.kubeconfig import Token, write_kubeconfig
from tests.controlplane.kubectl import Completed, Kubectl
from tests.controlplane.waiting import wait_until
from tests.docs import NAMESPACE, PAGE, shown, table_of_denials
from tests.terminal_picture import PICTURE, picture, transcript

BAD = {"name": "app", "image": "registry.example/app", "securityContext": {"privileged": True}}

FIX = "spec.containers[0].securityContext.privileged: remove it or set it to false"


def test_the_page_shows_the_present_output_of_a_cluster(cluster: Cluster, namespace: str) -> None:
    kubectl = cluster.plane.kubectl
    kubectl.check("create", "namespace", NAMESPACE)
    account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
    wait_until(lambda: cluster.plane.call("GET", account).status == 200, 30, "the namespace has its service account")
    try:
        present = shown(kubectl.in_namespace(NAMESPACE), lambda: table_of_denials(cluster.plane))
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    assert present == PAGE.read_text(), "run: make docs"


def test_the_picture_shows_the_present_output_of_a_cluster(kubectl: Kubectl, namespace: str) -> None:
    assert picture(transcript(kubectl, namespace)) == PICTURE.read_text(), "run: make docs"


def deny(kubectl: Kubectl, name: str) -> None:
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [BAD]}}
    assert "Fix: remove it" in kubectl("create", "-f", "-", input=json.dumps(manifest)).stderr


def test_viewer_of_a_namespace_reads_and_follows_its_denials(
    cluster: Cluster, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    policy = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": f"{namespace}-p"},
        "spec": {"match": {"namespaces": [namespace]}, "controls": {"privileged": {}}},
    }
    kubectl.check("apply", "-f", "-", input=json.dumps(policy))
    kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{namespace}-p", "--timeout=30s")
    kubectl.check("create", "serviceaccount", "viewer")
    kubectl.check("create", "rolebinding", "viewer", "--clusterrole=view", f"--serviceaccount={namespace}:viewer")
    token = kubectl.check("create", "token", "viewer").strip()
    write_kubeconfig(tmp_path / "kubeconfig", cluster.plane.server, cluster.plane.ca, Token(token))

    def denials(*args: str) -> Completed:
        return cluster.sekisho_cli("denials", f"--kubeconfig={tmp_path / 'kubeconfig'}", "-n", namespace, *args)

    wait_until(lambda: denials().returncode == 0, 30, "the viewer's role applies")
    assert denials().stderr == f"no denials in namespace {namespace}\n"
    deny(kubectl, "bad")
    row = wait_until(lambda: denials("--owner=po/bad").stdout, 30, "the denial is shown").splitlines()[1].split()
    assert row[1:5] == [namespace, "Pod/bad", "1", "PodDenied"]
    assert " ".join(row[6:]) == f"privileged {FIX}"
    assert denials("--owner=deploy/bad").stdout == ""
    everywhere = denials("-A")
    assert everywhere.returncode == 2
    assert everywhere.stderr.startswith("Error: events.events.k8s.io is forbidden: ")
    unknown = denials("--owner=deploymnet/bad")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (2, 1)

    # What a shell starts in the background ignores interrupts, and so do its children.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listening}; from sekisho.cli import main; main()"
    command = (sys.executable, "-c", code, "denials", f"--kubeconfig={tmp_path / 'kubeconfig'}", "-n", namespace)
    watch = subprocess.Popen(
        (*command, "--watch"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=base_environment()
    )
    try:
        assert watch.stdout is not None
        assert watch.stdout.readline().startswith("AGE")
        assert "Pod/bad" in watch.stdout.readline()
        deny(kubectl, "worse")
        assert "Pod/worse" in watch.stdout.readline()
    finally:
        watch.send_signal(signal.SIGINT)
        _, errors = watch.communicate(timeout=30)
    assert (watch.returncode, errors) == (130, "")
    kubectl("delete", "clusterpodpolicy", f"{namespace}-p", "--wait=false")
