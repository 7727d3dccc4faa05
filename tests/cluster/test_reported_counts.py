"""What replicas count reaches the statuses: the owners of what is audited, and the uses of waivers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import BAD_POD, GOOD_POD, POLICIES, SOON, apply_policy, get, verdict, wait_enforced
from tests.cluster.test_policy_status import COUNTED, WAIVERS, wait_for, waiver
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.waiting import wait_until

WAIVED = "sekisho.dev/waived"
FORGED = {"metadata": {"annotations": {WAIVED: '{"mine":["privileged"]}'}}}


@pytest.fixture(autouse=True)
def cleanup(cluster: Cluster, namespace: str) -> Iterator[None]:
    """The policy and the waiver of the namespace are gone afterwards."""
    yield
    cluster.plane.call("DELETE", f"{POLICIES}/{namespace}")
    cluster.plane.call("DELETE", f"{WAIVERS}/{namespace}-w")


def deployment(name: str, pod: dict[str, Any]) -> dict[str, Any]:
    labels = {"app": name}
    spec = {
        "replicas": 3,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod["spec"]},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def create(kubectl: Kubectl, name: str, pod: dict[str, Any], **metadata: Any) -> str:
    """Create a pod; gives its annotation about waivers, empty for none."""
    body = {**pod, "metadata": {"name": name} | metadata}
    created = json.loads(kubectl.check("create", "-f", "-", "-o", "json", input=json.dumps(body)))
    value: str = created["metadata"].get("annotations", {}).get(WAIVED, "")
    return value


def test_owners_of_what_is_audited_are_in_the_status_and_once_in_the_log(
    cluster: Cluster, kubectl: Kubectl, namespace: str
) -> None:
    apply_policy(cluster, namespace, enforcement="Audit")
    wait_enforced(cluster, namespace)
    for name, pod in (("web", BAD_POD), ("good", GOOD_POD)):
        kubectl.check("apply", "-f", "-", input=json.dumps(deployment(name, pod)))
    owner = f"Deployment {namespace}/web"

    def examples() -> list[dict[str, Any]]:
        return list(get(cluster, f"{POLICIES}/{namespace}")["status"].get("auditedExamples", []))

    wait_until(examples, COUNTED, "the status names an owner")
    assert examples() == [{"owner": owner, "controls": ["privileged"]}]

    def pods() -> int:
        return len(kubectl.check("get", "pods", "--selector=app=web", "-o", "name").split())

    wait_until(lambda: pods() == 3, SOON, "all pods of the Deployment exist")
    text = cluster.sekisho.webhook.log.read_text().splitlines()
    lines = [json.loads(line) for line in text if line.startswith("{") and '"audited"' in line]
    lines = [line for line in lines if line["message"] == "audited" and line["namespace"] == namespace]
    assert [(line["owner"], line["policies"], line["controls"]) for line in lines] == [
        (owner, [namespace], ["privileged"])
    ]


def test_uses_of_a_waiver_are_counted_over_restarts_and_shown_in_a_row(
    cluster: Cluster, kubectl: Kubectl, namespace: str
) -> None:
    apply_policy(cluster, namespace)
    wait_enforced(cluster, namespace)
    name = waiver(kubectl, namespace, days=30)
    wait_for(kubectl, "Active", f"policywaiver/{name}")

    def status() -> dict[str, Any]:
        return dict(get(cluster, f"{WAIVERS}/{name}")["status"])

    assert status()["daysLeft"] == 30
    assert "uses" not in status()
    assert verdict(kubectl, BAD_POD) == "admitted"  # a dry run, which does not count
    create(kubectl, "good", GOOD_POD)
    for number in range(2):
        create(kubectl, f"bad-{number}", BAD_POD)
    wait_until(lambda: status().get("uses") == 2, COUNTED, "the status has both uses")
    assert sorted(use["owner"] for use in status()["usedBy"]) == [f"Pod {namespace}/bad-{n}" for n in range(2)]
    assert (status()["usesLastHour"], status()["lastUsed"]) == (2, status()["usedBy"][0]["lastUsed"])

    cluster.sekisho.controller.restart()
    apply_policy(cluster, namespace, enforcement="Deny")
    wait_enforced(cluster, namespace)  # the new process leads
    cluster.sekisho.webhook.restart()
    create(kubectl, "bad-2", BAD_POD)
    wait_until(lambda: status().get("uses") == 3, COUNTED, "the status has the third use")
    (header, row) = kubectl.check("get", "pw", name).splitlines()
    assert header.split() == ["NAME", "EXEMPTS", "ACTIVE", "USES", "LAST", "USED", "DAYS", "LEFT", "AGE"]
    assert row.split()[:6] == [name, "privileged", "of", namespace, "True", "3"]
    assert row.split()[7] == "30"


def test_pod_says_which_waiver_exempts_it_whatever_its_user_wrote(
    cluster: Cluster, kubectl: Kubectl, namespace: str
) -> None:
    apply_policy(cluster, namespace)
    wait_enforced(cluster, namespace)
    forged = {**BAD_POD, "metadata": {"name": "forged", **FORGED["metadata"]}}
    assert "privileged" in verdict(kubectl, forged)
    name = waiver(kubectl, namespace, days=30)
    wait_for(kubectl, "Active", f"policywaiver/{name}")
    value = json.dumps({name: ["privileged"]}, separators=(",", ":"))
    assert create(kubectl, "bad", BAD_POD) == value
    assert create(kubectl, "forged", BAD_POD, **FORGED["metadata"]) == value
    assert create(kubectl, "good", GOOD_POD) == ""
    assert create(kubectl, "boasting", GOOD_POD, **FORGED["metadata"]) == ""
