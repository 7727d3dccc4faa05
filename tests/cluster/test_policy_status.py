"""Status: what it says of a policy or a waiver is so on every replica, and what it cannot say it does not."""

import contextlib
import http.client
import json
import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import (
    BAD_POD,
    GOOD_POD,
    POLICIES,
    SOON,
    apply_policy,
    get,
    option,
    verdict,
    wait_enforced,
)
from tests.controlplane.answers import ask, serves
from tests.controlplane.component import Component
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.ports import start_component
from tests.controlplane.waiting import wait_until
from tests.load.replicas import beside, start_beside, trust
from tests.pods import container, restricted_pod
from tests.reviews import review

LEASE_RAN_OUT = 60.0
COUNTED = 90.0
WAIVERS = "/apis/sekisho.dev/v1alpha1/policywaivers"
OLDER = Path(__file__).parent / "older_webhook.py"


class Replicas:
    """The webhook's processes: the release's own, which the API server calls, and others beside it."""

    def __init__(self, cluster: Cluster, others: list[Component]) -> None:
        self.others = others
        self._all = (cluster.sekisho.webhook, *others)
        self._trust = trust(cluster.plane)

    def verdicts(self, namespace: str, pod: dict[str, Any]) -> list[bool]:
        """Whether each of them admits a pod."""
        return [_admits(replica, self._trust, namespace, pod) for replica in self._all]


def _admits(replica: Component, trusted: ssl.SSLContext, namespace: str, pod: dict[str, Any]) -> bool:
    body = review(pod, name="app", namespace=namespace)
    connection = http.client.HTTPSConnection("127.0.0.1", int(option(replica, "--port")), timeout=10, context=trusted)
    answer = ask(connection, "POST", "/validate?timeout=10s", body)
    assert answer.status == 200, answer
    allowed: bool = json.loads(answer.body)["response"]["allowed"]
    return allowed


def start_older(cluster: Cluster, folder: Path) -> Component:
    log = cluster.plane.logs / "older.log"

    def make(ports: dict[str, int]) -> Component:
        metrics = ports["metrics"]
        command = beside(cluster.sekisho.webhook, "older", ports["webhook"], metrics, log).command
        own = command[command.index("webhook") + 1 :]
        return Component("older", (sys.executable, str(OLDER), *own), log, lambda: serves(metrics), metrics)

    return start_component(folder / "older-ports.json", ("webhook", "metrics"), make)


@pytest.fixture
def replicas(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Replicas]:
    """Three replicas."""
    assert namespace
    with contextlib.ExitStack() as running:
        others = []
        for name in ("second", "third"):
            others.append(start_beside(cluster.sekisho.webhook, name, tmp_path, cluster.plane.logs))
            running.callback(others[-1].stop)
        wait_known(cluster, namespace, 3)
        yield Replicas(cluster, others)


def wait_known(cluster: Cluster, namespace: str, replicas: int) -> None:
    """Return when the controller has read the reports of a number of `replicas`: a policy's status counts them."""
    name = f"{namespace}-known"
    apply_policy(cluster, name)
    everybody = f"{replicas}/{replicas}"
    wait_until(
        lambda: get(cluster, f"{POLICIES}/{name}").get("status", {}).get("enforcedBy") == everybody,
        SOON,
        f"the controller knows {replicas} replicas",
    )


@pytest.fixture
def cleanup(cluster: Cluster, namespace: str) -> Iterator[None]:
    """Policies and waivers whose names begin with the namespace's are gone afterwards."""
    yield
    for path in (POLICIES, WAIVERS):
        for item in get(cluster, path)["items"]:
            if item["metadata"]["name"].startswith(namespace):
                cluster.plane.call("DELETE", f"{path}/{item['metadata']['name']}")


pytestmark = pytest.mark.usefixtures("cleanup")


def apply(kubectl: Kubectl, kind: str, name: str, **spec: Any) -> None:
    thing = {"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    kubectl.check("apply", "-f", "-", input=json.dumps(thing))


def wait_for(kubectl: Kubectl, condition: str, thing: str) -> None:
    kubectl.check("wait", f"--for=condition={condition}", thing, f"--timeout={SOON:g}s")


def condition(thing: dict[str, Any], kind: str) -> dict[str, Any]:
    (stored,) = (item for item in thing["status"]["conditions"] if item["type"] == kind)
    return dict(stored)


def waiver(kubectl: Kubectl, namespace: str, suffix: str = "w", **remaining: float) -> str:
    expires = datetime.now(UTC) + timedelta(**remaining)
    apply(
        kubectl,
        "PolicyWaiver",
        f"{namespace}-{suffix}",
        policies=[namespace],
        controls=["privileged"],
        match={"namespaces": [namespace]},
        expires=f"{expires:%Y-%m-%dT%H:%M:%SZ}",
        reason="the driver loads a module",
    )
    return f"{namespace}-{suffix}"


def test_every_replica_obeys_a_generation_once_it_is_enforced(
    cluster: Cluster, kubectl: Kubectl, namespace: str, replicas: Replicas
) -> None:
    for generation, level in enumerate(("restricted", "privileged", "baseline", "privileged", "restricted"), 1):
        apply_policy(cluster, namespace, podSecurityStandard={"level": level})
        wait_enforced(cluster, namespace)
        expected = level == "privileged"
        assert replicas.verdicts(namespace, BAD_POD) == [expected] * 3
        assert replicas.verdicts(namespace, GOOD_POD) == [True] * 3
        assert (verdict(kubectl, BAD_POD) == "admitted") == expected
        stored = get(cluster, f"{POLICIES}/{namespace}")
        assert stored["metadata"]["generation"] == stored["status"]["observedGeneration"] == generation
        assert stored["status"]["enforcedBy"] == "3/3"


def test_every_replica_obeys_an_enforced_pod_policy_and_an_active_waiver(
    cluster: Cluster, kubectl: Kubectl, namespace: str, replicas: Replicas
) -> None:
    apply(kubectl, "PodPolicy", "own", podSecurityStandard={"level": "restricted"})
    wait_for(kubectl, "Enforced", "podpolicy/own")
    root = restricted_pod(container(securityContext={"allowPrivilegeEscalation": None}))
    assert replicas.verdicts(namespace, root) == [False] * 3
    apply_policy(cluster, namespace, podSecurityStandard={"level": "baseline"})
    wait_enforced(cluster, namespace)
    kubectl.check("delete", "podpolicy", "own")
    name = waiver(kubectl, namespace, days=30)
    wait_for(kubectl, "Active", f"policywaiver/{name}")
    wait_until(lambda: replicas.verdicts(namespace, BAD_POD) == [True] * 3, SOON, "the namespace's policy is gone")


def test_a_policy_that_a_replica_cannot_use_is_not_called_enforced(
    cluster: Cluster, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    older = start_older(cluster, tmp_path)
    both = Replicas(cluster, [older])
    try:
        wait_known(cluster, namespace, 2)
        apply_policy(cluster, namespace)
        wait_enforced(cluster, namespace)
        assert both.verdicts(namespace, BAD_POD) == [False, False]
        apply_policy(cluster, namespace, podSecurityStandard={"level": "restricted"}, controls={"probes": {}})
        wait_until(
            lambda: condition(get(cluster, f"{POLICIES}/{namespace}"), "Enforced")["reason"] == "UnusableOnReplicas",
            SOON,
            "the status says that a replica cannot use the policy",
        )
        wait_until(
            lambda: get(cluster, f"{POLICIES}/{namespace}")["status"]["enforcedBy"] == "1/2",
            SOON,
            "the status says that the other replica enforces it",
        )
        stored = get(cluster, f"{POLICIES}/{namespace}")
        assert "older cannot use it" in condition(stored, "Enforced")["message"]
        assert condition(stored, "Accepted")["status"] == "True"
        assert both.verdicts(namespace, BAD_POD) == [False, False]  # by what it could use before
        waited = kubectl("wait", "--for=condition=Enforced", f"clusterpodpolicy/{namespace}", "--timeout=1s")
        assert waited.returncode == 1
        apply_policy(cluster, f"{namespace}-b")
        wait_enforced(cluster, f"{namespace}-b")  # the others are
    finally:
        older.stop()
    wait_enforced(cluster, namespace)


def test_enforced_is_unknown_while_a_replica_does_not_report(
    cluster: Cluster, namespace: str, replicas: Replicas
) -> None:
    apply_policy(cluster, namespace)
    wait_enforced(cluster, namespace)
    frozen = replicas.others[0]
    frozen.pause()
    try:
        wait_until(
            lambda: condition(get(cluster, f"{POLICIES}/{namespace}"), "Enforced")["status"] == "Unknown",
            LEASE_RAN_OUT,
            "the status says that one replica is not known",
        )
        stored = get(cluster, f"{POLICIES}/{namespace}")
        assert stored["status"]["enforcedBy"] == "2/3"
        assert "no report from second" in condition(stored, "Enforced")["message"]
    finally:
        frozen.resume()
    wait_enforced(cluster, namespace)


def test_denials_and_warnings_are_counted_over_all_replicas_and_shown_in_a_row(
    cluster: Cluster, kubectl: Kubectl, namespace: str, replicas: Replicas
) -> None:
    apply_policy(cluster, namespace)
    apply_policy(cluster, f"{namespace}-b", enforcement="Warn", match={"namespaces": [namespace]})
    for name in (namespace, f"{namespace}-b"):
        wait_enforced(cluster, name)
    for _ in range(2):
        assert replicas.verdicts(namespace, BAD_POD) == [False] * 3
        assert "privileged" in verdict(kubectl, BAD_POD)  # a dry run, which does not count

    def counted(name: str) -> tuple[int, int]:
        status = get(cluster, f"{POLICIES}/{name}")["status"]
        return status["denials"], status["warnings"]

    wait_until(lambda: counted(namespace) == (6, 0), COUNTED, "the status has all denials")
    wait_until(lambda: counted(f"{namespace}-b") == (0, 6), COUNTED, "the status has all warnings")
    (header, row) = kubectl.check("get", "cpp", namespace).splitlines()
    assert header.split() == ["NAME", "LEVEL", "ENFORCEMENT", "ENFORCED", "BY", "DENIALS", "IMPACT", "AGE"]
    assert row.split()[:6] == [namespace, "baseline", "Deny", "True", "3/3", "6"]


def test_policies_whose_defaults_contradict_each_other_say_so(
    cluster: Cluster, kubectl: Kubectl, namespace: str
) -> None:
    for suffix, user in (("a", 1000), ("b", 2000)):
        defaults = {"pod": {"securityContext": {"runAsUser": user}}}
        apply_policy(cluster, f"{namespace}-{suffix}", match={"namespaces": [namespace]}, defaults=defaults)
        wait_enforced(cluster, f"{namespace}-{suffix}")

    def reported(suffix: str) -> list[str]:
        status = get(cluster, f"{POLICIES}/{namespace}-{suffix}")["status"]
        return [conflict["message"] for conflict in status.get("conflicts", [])]

    a, b = f"{namespace}-a", f"{namespace}-b"
    wait_until(lambda: bool(reported("a") and reported("b")), SOON, "both say so")
    assert reported("a") == [f"pods that both apply to get 1000, not 2000 of {b}"]
    assert reported("b") == [f"pods that both apply to get 1000 of {a}, not 2000"]
    made = kubectl.check("create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(GOOD_POD))
    assert json.loads(made)["spec"]["securityContext"]["runAsUser"] == 1000
    cluster.plane.call("DELETE", f"{POLICIES}/{a}")
    wait_until(lambda: reported("b") == [], SOON, "the one that is left contradicts nobody")


def test_a_waiver_is_shown_on_its_policy_and_its_end_reported_by_one_event(
    cluster: Cluster, kubectl: Kubectl, namespace: str
) -> None:
    apply_policy(cluster, namespace)
    name = waiver(kubectl, namespace, days=2)
    wait_for(kubectl, "Active", f"policywaiver/{name}")
    wait_until(
        lambda: (
            [item["name"] for item in get(cluster, f"{POLICIES}/{namespace}")["status"].get("waivers", [])] == [name]
        ),
        SOON,
        "the policy names the waiver",
    )
    stored = get(cluster, f"{WAIVERS}/{name}")
    assert stored["status"]["policies"] == [namespace]
    assert stored["status"]["expiresWithinDays"] == 3
    assert "expires at" in kubectl.check("events", "--namespace=default", f"--for=policywaiver/{name}")

    def events() -> list[str]:
        listed = json.loads(kubectl.check("get", "events.events.k8s.io", "--namespace=default", "-o", "json"))["items"]
        return [item["reason"] for item in listed if item["regarding"]["name"] == name]

    assert events() == ["PolicyExpiring"]
    cluster.sekisho.controller.restart()
    apply_policy(cluster, f"{namespace}-after")
    wait_enforced(cluster, f"{namespace}-after")
    assert events() == ["PolicyExpiring"]


def test_the_status_of_a_waiver_changes_when_it_expires(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    apply_policy(cluster, namespace)
    name = waiver(kubectl, namespace, seconds=8)
    wait_for(kubectl, "Active", f"policywaiver/{name}")
    wait_until(
        lambda: condition(get(cluster, f"{WAIVERS}/{name}"), "Active")["reason"] == "Expired", SOON, "it has ended"
    )
    wait_until(
        lambda: "waivers" not in get(cluster, f"{POLICIES}/{namespace}")["status"], SOON, "its policy names it no more"
    )
