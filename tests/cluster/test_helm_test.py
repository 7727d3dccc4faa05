"""`helm test`: the command of its pod runs here as a real process, with a token of the pod's own account."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import bundles
from tests.controlplane.component import base_environment
from tests.controlplane.installed import CHART, NAMESPACE, RELEASE
from tests.controlplane.kubeconfig import Token, write_kubeconfig
from tests.controlplane.kubectl import CommandError
from tests.controlplane.waiting import wait_until

SOON = 30.0
OWN = ("--namespace", NAMESPACE)
NAME = f"{RELEASE}-test"
POD = f"/api/v1/namespaces/{NAMESPACE}/pods/{NAME}"
CONFIGURATIONS = "validatingwebhookconfiguration,mutatingwebhookconfiguration"


@pytest.fixture
def with_image(cluster: Cluster) -> Iterator[None]:
    """The release has an image, so that it has a pod for `helm test`. Afterwards it is as it was."""
    cluster.sekisho.repair()
    values = ("--reuse-values", "--set", "image.repository=registry.example/sekisho")
    cluster.sekisho.helm("upgrade", RELEASE, str(CHART), *OWN, *values)
    yield
    cluster.sekisho.helm("rollback", RELEASE, *OWN)
    cluster.plane.call("DELETE", POD)
    wait_until(lambda: b"" not in bundles(cluster), SOON, "every webhook has its caBundle")


def run_helm_test(cluster: Cluster, folder: Path) -> str:
    """Run `helm test`, and the command of its pod, as a kubelet would. Returns the command's output.

    Raises CommandError if `helm test` fails.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        running = pool.submit(cluster.sekisho.helm, "test", RELEASE, *OWN, "--timeout=50s")
        wait_until(lambda: running.done() or is_pending(cluster), SOON, "the pod is there")
        output = "" if running.done() else run_pod(cluster, folder)
        running.result()
    return output


def is_pending(cluster: Cluster) -> bool:
    answer = cluster.plane.call("GET", POD)
    return answer.status == 200 and json.loads(answer.body)["status"]["phase"] == "Pending"


def run_pod(cluster: Cluster, folder: Path) -> str:
    """Run the pod's command as its account, and set the pod's phase according to the exit code."""
    spec = json.loads(cluster.plane.call("GET", POD).body)["spec"]
    token = cluster.plane.kubectl.check("create", "token", spec["serviceAccountName"], *OWN).strip()
    kubeconfig = folder / "kubeconfig"
    write_kubeconfig(kubeconfig, cluster.plane.server, cluster.plane.ca, Token(token))
    (container,) = spec["containers"]
    command = (sys.executable, "-m", "sekisho", *container["args"], f"--kubeconfig={kubeconfig}")
    done = subprocess.run(command, env=base_environment(), capture_output=True, text=True, timeout=SOON, check=False)
    phase = json.dumps({"status": {"phase": "Succeeded" if done.returncode == 0 else "Failed"}})
    cluster.plane.kubectl.check("patch", "pod", NAME, *OWN, "--subresource=status", "--type=merge", "--patch", phase)
    return done.stdout + done.stderr


@pytest.mark.usefixtures("with_image")
def test_helm_test_succeeds_only_if_a_violating_pod_is_denied(cluster: Cluster, tmp_path: Path) -> None:
    assert run_helm_test(cluster, tmp_path).startswith("a violating pod was denied")
    cluster.plane.kubectl.check("delete", CONFIGURATIONS, RELEASE)
    with pytest.raises(CommandError, match=NAME):
        run_helm_test(cluster, tmp_path)
