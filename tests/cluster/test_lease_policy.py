"""What a stolen token of the webhook can do to the Leases in Sekisho's namespace."""

import json

import pytest

from tests.cluster.conftest import Cluster
from tests.controlplane.installed import NAMESPACE, RELEASE
from tests.controlplane.kubectl import Completed
from tests.controlplane.waiting import wait_until

ACCOUNT = f"--as=system:serviceaccount:{NAMESPACE}:{RELEASE}-webhook"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
SOON = 30.0


def as_replica(cluster: Cluster, pod: str, *command: str, text: str | None = None) -> Completed:
    """Run kubectl with the webhook's account, bound to a pod as the kubelet's tokens are; "" for an unbound token."""
    extra = (f"--as-user-extra=authentication.kubernetes.io/pod-name={pod}",) if pod else ()
    return cluster.plane.kubectl(*command, "--namespace", NAMESPACE, ACCOUNT, *extra, input=text)


def lease(name: str, holder: str = "x") -> str:
    return json.dumps(
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 2147483647},
        }
    )


@pytest.mark.parametrize("pod", ["", "a", "sekisho-controller"])
def test_the_webhooks_account_cannot_touch_the_leaders_lease(cluster: Cluster, pod: str) -> None:
    # kubectl reads an object before it patches or deletes it, which the account may not do.
    apply = ("apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-")
    answers = (
        as_replica(cluster, pod, *apply, text=lease(f"{RELEASE}-controller", "thief")),
        as_replica(cluster, pod, "delete", "--raw", f"{LEASES}/{RELEASE}-controller"),
        as_replica(cluster, pod, "create", "-f", "-", text=lease("another")),
    )
    for answer in answers:
        assert "writes only the Lease with its own name" in answer.stderr


def test_a_replica_writes_its_own_report_and_no_other(cluster: Cluster) -> None:
    own = as_replica(cluster, "a", "create", "-f", "-", text=lease("sekisho-webhook-a"))
    assert own.returncode == 0, own.stderr
    try:
        ghost = as_replica(cluster, "a", "create", "-f", "-", text=lease("sekisho-webhook-ghost"))
        assert "writes only the Lease with its own name" in ghost.stderr
        other = as_replica(cluster, "b", "delete", "--raw", f"{LEASES}/sekisho-webhook-a")
        assert "writes only the Lease with its own name" in other.stderr
        assert as_replica(cluster, "a", "delete", "--raw", f"{LEASES}/sekisho-webhook-a").returncode == 0
    finally:
        cluster.plane.kubectl("delete", "lease", "sekisho-webhook-a", "--namespace", NAMESPACE, "--ignore-not-found")


def test_the_real_replica_reports(cluster: Cluster) -> None:
    def reports() -> bool:
        answer = cluster.plane.kubectl("get", "leases", "--namespace", NAMESPACE, "--output", "name")
        return f"lease.coordination.k8s.io/{RELEASE}-webhook-" in answer.stdout

    wait_until(reports, SOON, "the replica reports")
