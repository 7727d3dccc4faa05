"""Templates are judged with the LimitRanges and the ServiceAccount that will change their pods."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import POLICIES, SOON, apply_policy, wait_enforced
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.waiting import wait_until

LIMIT_RANGE = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "sizes"},
    "spec": {
        "limits": [
            {
                "type": "Container",
                "default": {"cpu": "200m", "memory": "256Mi"},
                "defaultRequest": {"cpu": "100m", "memory": "128Mi"},
            }
        ]
    },
}


@pytest.fixture
def policy(cluster: Cluster, namespace: str) -> Iterator[None]:
    """Deployments are denied whose pods would have no requests and limits, or a volume for a token."""
    apply_policy(
        cluster,
        namespace,
        templates="Deny",
        controls={
            "resources": {"requiredRequests": ["cpu", "memory"], "requiredLimits": ["memory"]},
            "restrictedVolumes": {"allowed": ["emptyDir"]},
        },
    )
    wait_enforced(cluster, namespace)
    yield
    cluster.plane.call("DELETE", f"{POLICIES}/{namespace}")


def denial(kubectl: Kubectl, **spec: Any) -> str:
    """Why a Deployment of such pods is denied, empty when it is admitted; a dry run."""
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "x"}], **spec}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
    return kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(deployment)).stderr


@pytest.mark.usefixtures("policy")
def test_a_template_is_judged_with_the_requests_of_a_limit_range(kubectl: Kubectl) -> None:
    assert "resources.requests.cpu is unset" in denial(kubectl, automountServiceAccountToken=False)
    kubectl.check("create", "-f", "-", input=json.dumps(LIMIT_RANGE))
    wait_until(lambda: not denial(kubectl, automountServiceAccountToken=False), SOON, "the LimitRange counts")
    kubectl.check("delete", "limitrange", "sizes")
    wait_until(
        lambda: "is unset" in denial(kubectl, automountServiceAccountToken=False), SOON, "the LimitRange counts no more"
    )


@pytest.mark.usefixtures("policy")
def test_a_template_is_judged_with_the_setting_of_its_service_account(kubectl: Kubectl) -> None:
    kubectl.check("create", "-f", "-", input=json.dumps(LIMIT_RANGE))
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
    kubectl.check("create", "-f", "-", input=json.dumps(account | {"automountServiceAccountToken": False}))
    wait_until(lambda: not denial(kubectl, serviceAccountName="robot"), SOON, "the account's setting counts")
    assert "added for the service account's token" in denial(kubectl)
