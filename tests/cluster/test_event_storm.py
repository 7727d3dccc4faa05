"""A storm of denials: all of them are reported to every owner, in few writes."""

import asyncio
import json

import pytest

from tests.cluster.conftest import Cluster
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.waiting import wait_until
from tests.load.storm import from_everybody, make_owners, post

pytestmark = pytest.mark.long
OWNERS, TIMES = 100, 50


def test_every_denial_is_reported_to_its_owner_in_few_writes(
    cluster: Cluster, kubectl: Kubectl, namespace: str
) -> None:
    name = f"{namespace}-no-privilege"
    policy = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": name},
        "spec": {"match": {"namespaces": [namespace]}, "controls": {"privileged": {}}},
    }
    kubectl.check("apply", "-f", "-", input=json.dumps(policy))
    kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{name}", "--timeout=30s")
    owners = make_owners(kubectl, OWNERS, 60)
    sekisho = cluster.sekisho
    sent, dropped = (sekisho.metric(f"sekisho_events_{what}_total") for what in ("sent", "dropped"))
    asyncio.run(post(sekisho.webhook_port, from_everybody(owners, namespace, TIMES, dry_run=True)))
    asyncio.run(post(sekisho.webhook_port, from_everybody(owners, namespace, TIMES)))

    def reported() -> dict[str, int]:
        events = json.loads(kubectl.check("get", "events.events.k8s.io", "-o", "json"))["items"]
        return {
            event["regarding"]["name"]: event.get("series", {}).get("count", 1)
            for event in events
            if event["reason"] == "PodDenied"
        }

    wait_until(lambda: reported() == {owner.deployment: TIMES for owner in owners}, 120, "all denials are reported")
    wait_until(lambda: sekisho.metric("sekisho_events_sent_total") - sent >= OWNERS, 30, "the writes are counted")
    assert sekisho.metric("sekisho_events_sent_total") - sent <= OWNERS * TIMES / 5
    assert sekisho.metric("sekisho_events_dropped_total") == dropped
    kubectl("delete", "clusterpodpolicy", name, "--wait=false")
