"""The suite that Kubernetes runs on its own Pod Security plugin, with Sekisho in the plugin's place."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import Cluster
from tests.controlplane.build import GoModule, built
from tests.controlplane.component import base_environment
from tests.controlplane.kubectl import Completed, run
from tests.controlplane.progress import Progress

SUITE = GoModule(
    folder=Path(__file__).parents[1] / "conformance",
    versioned="k8s.io/pod-security-admission",
    commands={"conformance": "sekisho.dev/conformance"},
)
SUBTESTS = 750
WITHIN = 600.0
BY_LABELS = """\
apiVersion: sekisho.dev/v1alpha1
kind: ClusterPodPolicy
metadata: {name: conformance}
spec:
  match: {namespaces: ["podsecurity-*"]}
  podSecurityStandard: {fromNamespaceLabels: true}
"""


@pytest.fixture
def by_labels(cluster: Cluster) -> Iterator[None]:
    """The suite's namespaces under the levels that their labels ask for."""
    kubectl = cluster.plane.kubectl
    kubectl.check("apply", "-f", "-", input=BY_LABELS)
    kubectl.check("wait", "--for=condition=Enforced", "clusterpodpolicy/conformance", "--timeout=30s")
    yield
    kubectl.check("delete", "clusterpodpolicy/conformance")


def passed(suite: Path, cluster: Cluster, *args: str) -> tuple[int, Completed]:
    environment = base_environment() | {"KUBECONFIG": str(cluster.plane.kubeconfig)}
    completed = run((str(suite), "-test.v", *args), environment, timeout=WITHIN)
    return len(re.findall(r"^    --- PASS", completed.stdout, re.MULTILINE)), completed


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("by_labels")
def test_every_subtest_of_the_pod_security_suite_passes(cluster: Cluster) -> None:
    suite = built(SUITE, {"conformance"}, Progress())["conformance"]
    count, completed = passed(suite, cluster)
    assert "--- FAIL" not in completed.stdout, completed.stdout
    assert "--- SKIP" not in completed.stdout
    assert (count, completed.returncode) == (SUBTESTS, 0)
