"""The suite that Kubernetes runs on its own Pod Security plugin, with Sekisho in the plugin's place."""

import json
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
SEEN_SINCE = {"procMount": 33}
"""Fields, and the minor version of Kubernetes since which its API server does not drop them by default."""
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


def results(suite: Path, cluster: Cluster) -> Completed:
    environment = base_environment() | {"KUBECONFIG": str(cluster.plane.kubeconfig)}
    return run((str(suite), "-test.v"), environment, timeout=WITHIN)


def never_seen(cluster: Cluster) -> set[str]:
    """Fields that the API server drops by default before a webhook sees them, so that their pods violate nothing."""
    minor = int(json.loads(cluster.plane.call("GET", "/version").body)["minor"])
    return {field for field, first in SEEN_SINCE.items() if minor < first}


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("by_labels")
def test_every_subtest_of_the_pod_security_suite_passes(cluster: Cluster) -> None:
    completed = results(built(SUITE, {"conformance"}, Progress())["conformance"], cluster)
    outcomes = re.findall(r"^    --- (PASS|FAIL|SKIP): PodSecurity/(\S+)", completed.stdout, re.MULTILINE)
    others = {name for outcome, name in outcomes if outcome != "PASS"}
    unseen = never_seen(cluster)
    assert {re.sub(r".*_fail_([A-Za-z]+).*", r"\1", name) for name in others} == unseen, completed.stdout
    assert (len(outcomes), completed.returncode) == (SUBTESTS, 1 if unseen else 0)
