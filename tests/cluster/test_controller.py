"""The controller on the real control plane, with the chart's own RBAC: status, succession."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import (
    BAD_POD,
    CONFIGURATIONS,
    GOOD_POD,
    LEASE_SECONDS,
    LEASES,
    POLICIES,
    SOON,
    apply_policy,
    bundles,
    clobber,
    enforced_policy,
    get,
    holder,
    leader,
    option,
    verdict,
    wait_enforced,
)
from tests.controlplane.answers import serves
from tests.controlplane.component import Component
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.ports import start_component
from tests.controlplane.waiting import wait_until


@pytest.fixture
def policy(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A policy on the test's namespace that denies BAD_POD, that every replica enforces and that is proven."""
    with enforced_policy(cluster, namespace):
        cluster.plane.kubectl.check(
            "wait", "--for=condition=Proven", f"clusterpodpolicy/{namespace}", f"--timeout={SOON:g}s"
        )
        yield namespace


@pytest.fixture
def controller(cluster: Cluster) -> Iterator[Component]:
    """The controller, to stop and kill at will: the tests that follow find it leading."""
    yield cluster.sekisho.controller
    if not cluster.sekisho.controller.running:
        cluster.sekisho.controller.start()


def test_once_a_policy_is_enforced_a_violating_pod_is_denied_at_once(
    cluster: Cluster, kubectl: Kubectl, namespace: str
) -> None:
    try:
        for level in ("restricted", "privileged", "baseline"):
            apply_policy(cluster, namespace, podSecurityStandard={"level": level})
            wait_enforced(cluster, namespace)
            assert (verdict(kubectl, BAD_POD) == "admitted") == (level == "privileged")
            assert verdict(kubectl, GOOD_POD) == "admitted"
    finally:
        cluster.plane.call("DELETE", f"{POLICIES}/{namespace}")


def test_the_status_of_a_policy_is_true(cluster: Cluster, policy: str) -> None:
    stored = get(cluster, f"{POLICIES}/{policy}")
    status = stored["status"]
    assert status["observedGeneration"] == stored["metadata"]["generation"]
    assert status["enforcedBy"] == "1/1"
    assert [(c["type"], c["status"], c["reason"]) for c in status["conditions"]] == [
        ("Accepted", "True", "Valid"),
        ("Enforced", "True", "EnforcedByAllReplicas"),
        ("Proven", "True", "TriedByDryRun"),
    ]


def test_the_controller_changes_only_the_status_of_a_policy(cluster: Cluster, policy: str) -> None:
    metadata = get(cluster, f"{POLICIES}/{policy}")["metadata"]
    assert "finalizers" not in metadata
    assert set(metadata["annotations"]) == {"kubectl.kubernetes.io/last-applied-configuration"}
    managers = {(entry["manager"], entry.get("subresource")) for entry in metadata["managedFields"]}
    assert managers == {("kubectl-client-side-apply", None), ("sekisho-controller", "status")}


def test_an_unchanged_status_is_not_written(cluster: Cluster, policy: str) -> None:
    version = get(cluster, f"{POLICIES}/{policy}")["metadata"]["resourceVersion"]
    replica = f"{LEASES}/sekisho-webhook-{option(cluster.sekisho.webhook, '--replica')}"

    def renewed_at() -> str:
        at: str = get(cluster, replica)["spec"]["renewTime"]
        return at

    before = renewed_at()
    wait_until(lambda: renewed_at() != before, SOON, "the replica reports again")
    assert get(cluster, f"{POLICIES}/{policy}")["metadata"]["resourceVersion"] == version


def test_without_a_replica_no_policy_is_called_enforced(cluster: Cluster, policy: str) -> None:
    cluster.sekisho.webhook.stop()
    try:
        wait_until(
            lambda: get(cluster, f"{POLICIES}/{policy}")["status"]["enforcedBy"] == "0/0", SOON, "nobody enforces it"
        )
        enforced = get(cluster, f"{POLICIES}/{policy}")["status"]["conditions"][1]
        assert (enforced["status"], enforced["reason"]) == ("False", "NoReplicas")
    finally:
        cluster.sekisho.webhook.start()
    wait_enforced(cluster, policy)


def test_of_two_controllers_of_one_host_name_one_acts_and_the_other_takes_over_when_it_is_killed(
    cluster: Cluster, controller: Component, namespace: str, policy: str, tmp_path: Path
) -> None:
    first, host = holder(cluster), leader(cluster)

    def make(ports: dict[str, int]) -> Component:
        port = ports["metrics"]
        command = (*controller.command, f"--metrics-port={port}", f"--identity={host}")
        return Component("second-controller", command, tmp_path / "second.log", lambda: serves(port), port)

    second = start_component(tmp_path / "ports.json", ("metrics",), make)
    try:
        assert holder(cluster) == first
        assert '"leading"' not in second.log.read_text()

        controller.kill()
        wait_until(lambda: holder(cluster) != first, 2 * LEASE_SECONDS, "the second controller leads")
        second_holder = holder(cluster)
        assert leader(cluster) == host
        apply_policy(cluster, namespace, templates="Ignore")
        wait_enforced(cluster, namespace)
        clobber(cluster, CONFIGURATIONS[0], None)
        wait_until(lambda: b"" not in bundles(cluster), SOON, "the second controller repairs the caBundle")

        controller.start()
        assert holder(cluster) == second_holder
    finally:
        second.stop()
    wait_until(
        lambda: holder(cluster) not in ("", second_holder), LEASE_SECONDS, "a lease that was released goes to the other"
    )


def test_a_stopped_controller_exits_cleanly_and_releases_the_lease(cluster: Cluster, controller: Component) -> None:
    wait_until(lambda: leader(cluster), LEASE_SECONDS, "there is a leader")
    controller.stop()
    assert leader(cluster) == ""


def test_deleting_a_policy_does_not_wait_for_a_dead_controller(
    cluster: Cluster, controller: Component, policy: str
) -> None:
    controller.stop()
    cluster.plane.kubectl.check("delete", "clusterpodpolicy", policy, "--timeout=10s")
    assert get(cluster, f"{POLICIES}/{policy}") == {}
