"""A default that keeps a container from running is reported on the object that its user made.

Nothing runs pods here, so the test writes what a node says of a container into the status of its pod.
"""

import json
from typing import Any, Final

import yaml

from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import wait_enforced
from tests.cluster.test_audit import AUDITED, PLAIN, SOON, pods_of, policy_of, workload
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.waiting import wait_until

Json = dict[str, Any]

ROOT: Final = "container has runAsNonRoot and image will run as root"


def set_state(kubectl: Kubectl, pod: Json, state: Json) -> None:
    status = {"name": "app", "image": "a", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    patch = json.dumps({"status": {"containerStatuses": [status]}})
    kubectl.check("patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge", "-p", patch)


def test_default_that_keeps_a_container_from_running_is_reported_on_the_deployment(
    cluster: Cluster, namespace: str, kubectl: Kubectl
) -> None:
    """Its near-twin waits for its image, which no default is to blame for."""
    policy = policy_of(namespace, defaults={"profile": "restricted"})
    kubectl.check("apply", "-f", "-", input=yaml.safe_dump(policy))
    try:
        wait_enforced(cluster, namespace)
        deployments = [workload("Deployment", name, PLAIN) for name in ("root", "pulled")]
        kubectl.check("apply", "-f", "-", input=yaml.safe_dump_all(deployments))
        wait_until(lambda: len(pods_of(cluster, namespace)) == 2, SOON, "the pods exist")
        for pod in pods_of(cluster, namespace):
            name = pod["metadata"]["name"]
            message = f"{ROOT} (pod: {name}_{namespace}({pod['metadata']['uid']}), container: app)"
            reasons = {"root": "CreateContainerConfigError", "pulled": "ImagePullBackOff"}
            set_state(
                kubectl,
                pod,
                {
                    "waiting": {
                        "reason": reasons[name.split("-")[0]],
                        "message": message if name.startswith("root") else "Back-off pulling image",
                    }
                },
            )
        kubectl.check(
            "label", "namespace", namespace, "audited=now"
        )  # so that the next audit does not wait ten minutes

        def events() -> list[Json]:
            listed = json.loads(kubectl.check("events", "--for=deployment/root", "-o", "json"))["items"]
            return [event for event in listed if event["reason"] == "DefaultBreaksPod"]

        [event] = wait_until(events, AUDITED, "the Deployment has an Event")
        field = "spec.template.spec.securityContext.runAsNonRoot"
        assert (
            f'container "app" cannot run: {ROOT}. The default of policy "{namespace}" set {field}.' in event["message"]
        )
        assert "DefaultBreaksPod" not in kubectl.check("events", "--for=deployment/pulled")
    finally:
        kubectl.check("delete", "clusterpodpolicy", namespace)
