"""The controller on the real control plane, with the chart's own RBAC: certificates, status, succession."""

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import Cluster
from tests.controlplane.answers import serves
from tests.controlplane.component import Component
from tests.controlplane.installed import NAMESPACE, RELEASE
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.ports import choose_ports
from tests.controlplane.waiting import wait_until
from tests.pods import container, restricted_pod

SOON = 20.0
LEASE_SECONDS = 15.0

CONFIGURATIONS = tuple(
    f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/{RELEASE}"
    for kind in ("validating", "mutating")
)
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
SERVING = f"{RELEASE}-webhook-tls"
AUTHORITY = f"{RELEASE}-ca"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
POLICIES = "/apis/sekisho.dev/v1alpha1/clusterpodpolicies"

BAD_POD = restricted_pod(container(securityContext={"privileged": True, "allowPrivilegeEscalation": True}))
GOOD_POD = restricted_pod()


@pytest.fixture
def policy(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A policy on the test's namespace that refuses BAD_POD, and that every replica enforces."""
    apply_policy(cluster, namespace)
    wait_enforced(cluster, namespace)
    yield namespace
    cluster.plane.call("DELETE", f"{POLICIES}/{namespace}")


@pytest.fixture
def controller(cluster: Cluster) -> Iterator[Component]:
    """The controller, to stop and kill at will: the tests that follow find it leading."""
    yield cluster.sekisho.controller
    if not cluster.sekisho.controller.running:
        cluster.sekisho.controller.start()


def apply_policy(cluster: Cluster, namespace: str, **spec: Any) -> None:
    manifest = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": namespace},
        "spec": {"match": {"namespaces": [namespace]}, "podSecurityStandard": {"level": "baseline"}, **spec},
    }
    cluster.plane.kubectl.check("apply", "-f", "-", input=json.dumps(manifest))


def wait_enforced(cluster: Cluster, name: str) -> None:
    cluster.plane.kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{name}", f"--timeout={SOON:g}s")


def get(cluster: Cluster, path: str) -> dict[str, Any]:
    """An object; an empty one where there is none."""
    answer = cluster.plane.call("GET", path)
    found: dict[str, Any] = json.loads(answer.body) if answer.status == 200 else {}
    return found


def verdict(kubectl: Kubectl, pod: dict[str, Any]) -> str:
    """`admitted`, or why not."""
    completed = kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod))
    return "admitted" if completed.returncode == 0 else completed.stderr


def judges(kubectl: Kubectl) -> bool:
    """Whether the webhook was asked, could be asked, and told a bad pod from a good one."""
    return verdict(kubectl, GOOD_POD) == "admitted" and "privileged" in verdict(kubectl, BAD_POD)


def bundles(cluster: Cluster) -> set[bytes]:
    """The different caBundles of all webhooks."""
    return {
        base64.b64decode(webhook["clientConfig"].get("caBundle", ""))
        for path in CONFIGURATIONS
        for webhook in get(cluster, path)["webhooks"]
    }


def contents(cluster: Cluster, secret: str) -> dict[str, bytes]:
    encoded = get(cluster, f"{SECRETS}/{secret}").get("data") or {}
    return {name: base64.b64decode(value) for name, value in encoded.items()}


def option(component: Component, name: str) -> str:
    return next(part.removeprefix(f"{name}=") for part in component.command if part.startswith(f"{name}="))


def served(cluster: Cluster) -> bytes:
    """The certificate that the webhook shows."""
    port = int(option(cluster.sekisho.webhook, "--port"))
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=5.0).encode()


def leader(cluster: Cluster) -> str:
    holder: str = get(cluster, f"{LEASES}/{RELEASE}-controller")["spec"].get("holderIdentity", "")
    return holder


def clobber(cluster: Cluster, path: str, bundle: bytes | None) -> None:
    indices = range(len(get(cluster, path)["webhooks"]))
    value = None if bundle is None else base64.b64encode(bundle).decode()
    patch = [
        {"op": "remove", "path": f"/webhooks/{index}/clientConfig/caBundle"}
        if value is None
        else {"op": "replace", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": value}
        for index in indices
    ]
    kind, name = path.split("/")[-2:]
    cluster.plane.kubectl.check("patch", kind, name, "--type=json", "--patch", json.dumps(patch))


@pytest.mark.parametrize("path", CONFIGURATIONS)
@pytest.mark.parametrize("another", [True, False], ids=["replaced", "removed"])
def test_a_clobbered_ca_bundle_is_repaired(
    cluster: Cluster, kubectl: Kubectl, policy: str, path: str, another: bool
) -> None:
    before = bundles(cluster)
    assert before == {contents(cluster, AUTHORITY)["ca.crt"]}
    clobber(cluster, path, cluster.plane.ca.read_bytes() if another else None)
    wait_until(lambda: bundles(cluster) == before, SOON, "every webhook has the caBundle again")
    wait_until(lambda: judges(kubectl), SOON, "the API server uses it")


Damage = Callable[[Cluster], None]


def delete_serving(cluster: Cluster) -> None:
    cluster.plane.kubectl.check("delete", "secret", SERVING, "--namespace", NAMESPACE)


def patch_serving(cluster: Cluster, patch: dict[str, Any]) -> None:
    cluster.plane.kubectl.check(
        "patch", "secret", SERVING, "--namespace", NAMESPACE, "--type=merge", "--patch", json.dumps(patch)
    )


def empty_serving(cluster: Cluster) -> None:
    patch_serving(cluster, {"data": None})


def corrupt_key(cluster: Cluster) -> None:
    patch_serving(cluster, {"stringData": {"tls.key": "-----BEGIN PRIVATE KEY-----\nrubbish"}})


@pytest.mark.parametrize("damage", [delete_serving, empty_serving, corrupt_key])
def test_a_damaged_serving_secret_is_made_anew_and_the_webhook_serves_it(
    cluster: Cluster, kubectl: Kubectl, policy: str, damage: Damage
) -> None:
    authority, old = contents(cluster, AUTHORITY), contents(cluster, SERVING)
    damage(cluster)
    wait_until(
        lambda: contents(cluster, SERVING).get("tls.crt", old["tls.crt"]) != old["tls.crt"],
        SOON,
        "there is another certificate",
    )
    new = contents(cluster, SERVING)
    assert set(new) == {"tls.crt", "tls.key", "ca.crt"}
    wait_until(lambda: served(cluster) == new["tls.crt"], SOON, "the webhook serves it")
    assert contents(cluster, AUTHORITY) == authority
    assert judges(kubectl)


def test_a_lost_authority_is_replaced_while_every_pod_is_judged(
    cluster: Cluster, kubectl: Kubectl, policy: str
) -> None:
    old = contents(cluster, SERVING)
    cluster.plane.kubectl.check("delete", "secret", AUTHORITY, "--namespace", NAMESPACE)
    both: set[bytes] = set()

    def replaced() -> bool:
        assert judges(kubectl)
        both.update(bundle for bundle in bundles(cluster) if bundle.count(b"BEGIN CERTIFICATE") == 2)
        new = contents(cluster, SERVING)
        return new.get("tls.crt") != old["tls.crt"] and served(cluster) == new["tls.crt"]

    wait_until(replaced, 2 * SOON, "the webhook serves a certificate of the new authority")
    assert judges(kubectl)
    assert len(both) == 1
    (bundle,) = both
    assert bundle == contents(cluster, AUTHORITY)["ca.crt"] + old["ca.crt"]


def test_once_a_policy_is_enforced_a_violating_pod_is_refused_at_once(
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


def test_a_policys_status_says_what_is_so(cluster: Cluster, policy: str) -> None:
    found = get(cluster, f"{POLICIES}/{policy}")
    status = found["status"]
    assert status["observedGeneration"] == found["metadata"]["generation"]
    assert status["enforcedBy"] == "1/1"
    assert [(c["type"], c["status"], c["reason"]) for c in status["conditions"]] == [
        ("Accepted", "True", "Valid"),
        ("Enforced", "True", "EnforcedByAllReplicas"),
    ]


def test_nothing_is_left_on_a_policy_but_its_status(cluster: Cluster, policy: str) -> None:
    metadata = get(cluster, f"{POLICIES}/{policy}")["metadata"]
    assert "finalizers" not in metadata
    assert set(metadata["annotations"]) == {"kubectl.kubernetes.io/last-applied-configuration"}
    managers = {(entry["manager"], entry.get("subresource")) for entry in metadata["managedFields"]}
    assert managers == {("kubectl-client-side-apply", None), ("sekisho-controller", "status")}


def test_a_status_with_nothing_new_is_not_written(cluster: Cluster, policy: str) -> None:
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


def test_of_two_controllers_one_acts_and_the_other_takes_over_when_it_is_killed(
    cluster: Cluster, controller: Component, namespace: str, policy: str, tmp_path: Path
) -> None:
    first = leader(cluster)
    port = choose_ports(tmp_path / "ports.json", ["metrics"])["metrics"]
    metrics = [f"--metrics-port={port}" if part.startswith("--metrics-port=") else part for part in controller.command]
    second = Component(
        "second-controller", (*metrics, "--identity=second"), tmp_path / "second.log", lambda: serves(port)
    )
    second.start()
    try:
        assert leader(cluster) == first
        assert '"leading"' not in second.log.read_text()

        controller.kill()
        wait_until(lambda: leader(cluster) == "second", 2 * LEASE_SECONDS, "the second controller leads")
        apply_policy(cluster, namespace, templates="Ignore")
        wait_enforced(cluster, namespace)
        clobber(cluster, CONFIGURATIONS[0], None)
        wait_until(lambda: b"" not in bundles(cluster), SOON, "the second controller repairs the caBundle")

        controller.start()
        assert leader(cluster) == "second"
    finally:
        second.stop()
    wait_until(lambda: leader(cluster) == first, LEASE_SECONDS, "a lease that was released goes back")


def test_a_controller_that_stops_ends_well_and_lets_the_lease_go(cluster: Cluster, controller: Component) -> None:
    wait_until(lambda: leader(cluster), LEASE_SECONDS, "there is a leader")
    controller.stop()
    assert leader(cluster) == ""


def test_deleting_a_policy_does_not_wait_for_a_dead_controller(
    cluster: Cluster, controller: Component, policy: str
) -> None:
    controller.stop()
    cluster.plane.kubectl.check("delete", "clusterpodpolicy", policy, "--timeout=10s")
    assert get(cluster, f"{POLICIES}/{policy}") == {}
