"""The commands in the documentation that need a cluster do what the pages show, and their benchmarks work."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import Cluster
from tests.controlplane.waiting import wait_until
from tests.documented import ROOT, commands_of, pages_with, run_page, run_short

KINDS = ("clusterpodpolicies", "policywaivers")
BAD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "bad"},
    "spec": {"containers": [{"name": "app", "image": "x", "securityContext": {"privileged": True}}]},
}
SOON = 30.0
IN_TESTS_OF_ITS_OWN = "make worst"
"""tests/worst/test_worst.py runs it."""


def delete_policies(cluster: Cluster) -> None:
    for kind in KINDS:
        assert cluster.plane.call("DELETE", f"/apis/sekisho.dev/v1alpha1/{kind}").status == 200


@pytest.fixture
def without_policies(cluster: Cluster, namespace: str) -> Iterator[None]:
    """No policies and waivers before and after a page, because pages apply some to all namespaces."""
    delete_policies(cluster)
    yield
    delete_policies(cluster)
    pods = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    wait_until(lambda: cluster.plane.call("POST", pods, BAD).status == 201, SOON, "no policy applies any more")


@pytest.mark.usefixtures("without_policies")
@pytest.mark.parametrize("page", pages_with("cluster", "dry run"), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_a_cluster_do_what_the_page_shows(page: Path, cluster: Cluster, tmp_path: Path) -> None:
    plane = cluster.plane
    homes = {f"HELM_{home}_HOME": str(tmp_path / "helm") for home in ("CACHE", "CONFIG", "DATA")}
    environment = homes | {
        "KUBECONFIG": str(plane.kubeconfig),
        "KUBECACHEDIR": str(plane.folder / ".cache-documented"),
        "BINARIES": f"{plane.binaries.kubectl.parent}:{plane.binaries.helm.parent}",
    }
    run_page(page, ("cluster", "dry run"), tmp_path, environment)


@pytest.mark.long
@pytest.mark.parametrize("command", [command for command in commands_of("short") if command != IN_TESTS_OF_ITS_OWN])
def test_a_benchmark_of_a_page_works(command: str) -> None:
    run_short(command)
