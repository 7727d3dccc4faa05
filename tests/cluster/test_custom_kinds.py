"""Objects of others' kinds through the webhook, where the chart's value names them: CRDs as small as an operator's."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chart import CHART
from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import POLICIES, SOON, apply_policy, wait_enforced
from tests.controlplane.installed import NAMESPACE, RELEASE
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.waiting import wait_until

KINDS = {"rollouts": "Rollout", "workflows": "Workflow"}
GROUP = "argoproj.io"


def definition(plural: str, kind: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [version],
        },
    }


def upgrade(cluster: Cluster, *kinds: str) -> None:
    value = f"webhook.customKinds={json.dumps([f'{kind}.{GROUP}' for kind in kinds])}"
    chart = ("upgrade", RELEASE, str(CHART), "--namespace", NAMESPACE, "--reuse-values")
    cluster.sekisho.helm(*chart, "--set-json", value)


def created(kubectl: Kubectl, kind: str, spec: dict[str, Any]) -> str:
    """What the API server says to the creation of an object; a dry run."""
    value = {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": {"name": "w"}, "spec": spec}
    return kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(value)).stderr


@pytest.fixture(scope="module")
def custom_kinds(cluster: Cluster) -> Iterator[None]:
    """The two kinds, which the API server sends to the webhook."""
    definitions = json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": [definition(*names) for names in KINDS.items()]}
    )
    kubectl = cluster.plane.kubectl
    kubectl.check("create", "-f", "-", input=definitions)
    names = [f"crd/{plural}.{GROUP}" for plural in KINDS]
    kubectl.check("wait", "--for=condition=Established", *names, f"--timeout={SOON:g}s")
    upgrade(cluster, *KINDS)
    yield
    upgrade(cluster)
    kubectl.check("delete", *names, "--wait=false")


@pytest.fixture
def policy(cluster: Cluster, namespace: str, custom_kinds: None) -> Iterator[None]:
    """Objects are denied whose pods are not of level baseline."""
    apply_policy(cluster, namespace, templates="Deny")
    wait_enforced(cluster, namespace)
    yield
    cluster.plane.call("DELETE", f"{POLICIES}/{namespace}")


def template(*, host: bool) -> dict[str, Any]:
    return {"template": {"spec": {"hostPID": host, "containers": [{"name": "app", "image": "x"}]}}}


def workflow(*, privileged: bool) -> dict[str, Any]:
    container = {"image": "x", "securityContext": {"privileged": privileged}}
    return {"templates": [{"name": "a", "container": {"image": "x"}}, {"name": "b", "container": container}]}


@pytest.mark.usefixtures("policy")
def test_a_rollout_and_a_workflow_are_denied_as_a_deployment_is(kubectl: Kubectl) -> None:
    wait_until(lambda: "denied the request" in created(kubectl, "Rollout", template(host=True)), SOON, "it is called")
    denial = created(kubectl, "Rollout", template(host=True))
    assert "denies the pod for host namespaces: spec.template.spec.hostPID is true" in denial
    assert "Fix: remove it or set it to false." in denial
    assert created(kubectl, "Rollout", template(host=False)) == ""
    denial = created(kubectl, "Workflow", workflow(privileged=True))
    assert 'container "main" for privileged mode: spec.templates[1].container.securityContext.privileged' in denial
    assert created(kubectl, "Workflow", workflow(privileged=False)) == ""


@pytest.mark.usefixtures("policy")
def test_an_object_that_cannot_be_read_is_denied_and_names_the_field(kubectl: Kubectl) -> None:
    wait_until(lambda: "denied the request" in created(kubectl, "Rollout", template(host=True)), SOON, "it is called")
    assert "the object cannot be read: spec.template is not a template" in created(
        kubectl, "Rollout", {"template": "x"}
    )
    assert "spec.templates: Expected `array`" in created(kubectl, "Workflow", {"templates": {"a": {}}})
    assert created(kubectl, "Rollout", {"workloadRef": {"name": "web"}}) == ""


def test_policies_that_warn_say_so_about_such_an_object(
    cluster: Cluster, namespace: str, kubectl: Kubectl, custom_kinds: None
) -> None:
    apply_policy(cluster, namespace)
    wait_enforced(cluster, namespace)
    try:
        wait_until(
            lambda: "Warning: pods of this Rollout: " in created(kubectl, "Rollout", template(host=True)),
            SOON,
            "a warning",
        )
    finally:
        cluster.plane.call("DELETE", f"{POLICIES}/{namespace}")


def test_objects_of_kinds_that_are_not_named_are_not_judged(
    cluster: Cluster, namespace: str, kubectl: Kubectl, custom_kinds: None
) -> None:
    upgrade(cluster, "workflows")
    apply_policy(cluster, namespace, templates="Deny")
    wait_enforced(cluster, namespace)
    try:
        wait_until(lambda: created(kubectl, "Rollout", template(host=True)) == "", SOON, "it is not called")
        assert "denied the request" in created(kubectl, "Workflow", workflow(privileged=True))
    finally:
        cluster.plane.call("DELETE", f"{POLICIES}/{namespace}")
        upgrade(cluster, *KINDS)
