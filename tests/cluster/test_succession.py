"""Two controllers, each with a token of its own: who wrote what, when the leader is killed or frozen, and deletions
while none is alive.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.cluster.audit import Request, credential_of
from tests.cluster.conftest import Cluster, Lab
from tests.cluster.release_helpers import (
    CONFIGURATIONS,
    LEASE_SECONDS,
    POLICIES,
    SOON,
    apply_policy,
    bundles,
    clobber,
    enforced_policy,
    get,
    judges,
    leader,
    wait_enforced,
)
from tests.controlplane.answers import serves
from tests.controlplane.component import Component
from tests.controlplane.installed import NAMESPACE, RELEASE, Sekisho
from tests.controlplane.kubeconfig import Token, write_kubeconfig
from tests.controlplane.ports import start_component
from tests.controlplane.waiting import wait_until

RETRY_SECONDS = 2.4
"""The longest time between two attempts of the standby."""
TAKEN_OVER = LEASE_SECONDS + RETRY_SECONDS + 10.0
"""Within this somebody else leads; the last seconds are for a slow machine."""
GUARDED = "guarded"


class Controller(msgspec.Struct, frozen=True):
    """One of the controllers, and the id of the token that it signs in with."""

    identity: str
    process: Component
    credential: str


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Iterator[Cluster]:
    """Sekisho in the plane that writes down who wrote what; its own controller does not run, those of the tests do."""
    sekisho = Sekisho(lab.plane)
    try:
        sekisho.install()
        lab.plane.kubectl("create", "namespace", GUARDED)
        sekisho.controller.stop()
        yield Cluster(lab.plane, sekisho)
    finally:
        sekisho.stop()
        sekisho.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found")


_PROOFS = ("pods", "podpolicies")


@pytest.fixture
def controllers(cluster: Cluster, tmp_path: Path) -> Iterator[list[Controller]]:
    """Two controllers, the first of which leads."""
    cluster.sekisho.repair()
    cluster.sekisho.controller.stop()
    both: list[Controller] = []
    try:
        for identity in ("first", "second"):
            both.append(start_controller(cluster, identity, tmp_path))
            wait_until(lambda: leader(cluster) == "first", TAKEN_OVER, "the first one leads")
        yield both
    finally:
        for controller in both:
            controller.process.stop()


def start_controller(cluster: Cluster, identity: str, folder: Path) -> Controller:
    plane = cluster.plane
    account = cluster.sekisho.controller.name
    token = plane.kubectl.check("create", "token", account, "--namespace", NAMESPACE, "--duration=24h").strip()
    kubeconfig = folder / f"{identity}.kubeconfig"
    write_kubeconfig(kubeconfig, plane.server, plane.ca, Token(token))
    own = (f"--kubeconfig={kubeconfig}", f"--identity={identity}")

    def make(ports: dict[str, int]) -> Component:
        port = ports["metrics"]
        command = (*cluster.sekisho.controller.command, *own, f"--metrics-port={port}")
        return Component(identity, command, folder / f"{identity}.log", lambda: serves(port), port)

    process = start_component(folder / f"{identity}-ports.json", ("metrics",), make)
    return Controller(identity, process, credential_of(token))


def work(lab: Lab, controller: Controller, after: int = 0) -> list[Request]:
    """What a controller wrote, or tried to, other than to the Lease that it was after.

    Its proofs are left out: they are dry runs that must be denied.
    """
    writes = lab.audit.writes(controller.credential, after)
    return [write for write in writes if write.resource not in ("leases", "selfsubjectreviews", *_PROOFS)]


def repaired(cluster: Cluster) -> None:
    """Wait until somebody put the caBundles right."""
    wait_until(lambda: b"" not in bundles(cluster), SOON, "the caBundles are repaired")


def test_the_standby_takes_over_within_the_lease_duration_after_a_kill(
    lab: Lab, cluster: Cluster, controllers: list[Controller]
) -> None:
    first, second = controllers
    with enforced_policy(cluster, GUARDED):
        clobber(cluster, CONFIGURATIONS[0], None)
        repaired(cluster)
        assert {write.resource for write in work(lab, first)} >= {
            "clusterpodpolicies/status",
            "validatingwebhookconfigurations",
        }
        assert lab.audit.writes(second.credential) == []

        first.process.kill()
        killed = len(lab.audit)
        apply_policy(cluster, GUARDED, templates="Ignore")
        clobber(cluster, CONFIGURATIONS[0], None)
        wait_until(lambda: leader(cluster) == second.identity, TAKEN_OVER, "the second one leads")
        repaired(cluster)
        wait_enforced(cluster, GUARDED)
        assert work(lab, first, killed) == []
        # 409: an Event about the proof, which the first one wrote already, as its name is derived from its content.
        rejected = [write for write in work(lab, second) if write.status >= 300]
        assert [write for write in rejected if (write.resource, write.status) != ("events", 409)] == []
        assert judges(lab.plane.kubectl.in_namespace(GUARDED))


def test_a_leader_that_was_paused_briefly_continues(lab: Lab, cluster: Cluster, controllers: list[Controller]) -> None:
    first, second = controllers
    first.process.pause()
    frozen = len(lab.audit)
    clobber(cluster, CONFIGURATIONS[0], None)
    first.process.resume()
    repaired(cluster)
    assert "validatingwebhookconfigurations" in {write.resource for write in work(lab, first, frozen)}
    assert lab.audit.writes(second.credential) == []


def test_a_leader_that_resumes_after_another_took_over_writes_nothing_and_exits(
    lab: Lab, cluster: Cluster, controllers: list[Controller]
) -> None:
    first, second = controllers
    with enforced_policy(cluster, GUARDED):
        first.process.pause()
        frozen = len(lab.audit)
        wait_until(lambda: leader(cluster) == second.identity, TAKEN_OVER, "the second one leads")
        wait_until(lambda: '"leading"' in second.process.log.read_text(), SOON, "it knows")
        # With the second one frozen too, whatever is done about this is done by the first one.
        second.process.pause()
        apply_policy(cluster, GUARDED, templates="Ignore")
        clobber(cluster, CONFIGURATIONS[0], None)
        first.process.resume()
        wait_until(lambda: not first.process.running, SOON, "the first one ends")
        assert "lost" in first.process.log.read_text()
        assert lab.audit.writes(first.credential, frozen) == []
        assert b"" in bundles(cluster)

        second.process.resume()
        repaired(cluster)
        wait_enforced(cluster, GUARDED)


@pytest.mark.parametrize("is_alive", [True, False], ids=["alive", "dead"])
def test_deleting_policies_crds_and_the_namespace_never_hangs(
    lab: Lab, cluster: Cluster, controllers: list[Controller], is_alive: bool
) -> None:
    kubectl = lab.plane.kubectl
    for name in ("one", "two"):
        apply_policy(cluster, name)
    wait_enforced(cluster, "two")
    if not is_alive:
        for controller in controllers:
            controller.process.kill()
        cluster.sekisho.webhook.kill()
    kubectl.check("delete", "clusterpodpolicy", "one", "--timeout=20s")
    assert get(cluster, f"{POLICIES}/one") == {}
    kubectl.check("delete", "crd", "clusterpodpolicies.sekisho.dev", "--timeout=20s")
    wait_until(lambda: lab.plane.call("GET", POLICIES).status == 404, SOON, "the API server serves no policies")
    kubectl.check("delete", "namespace", NAMESPACE, "--timeout=40s")
    assert get(cluster, f"/api/v1/namespaces/{NAMESPACE}") == {}
