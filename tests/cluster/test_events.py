"""A denial is told where its user looks: as an Event on the object that the user made, in its namespace."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.controlplane.kubectl import Completed, Kubectl
from tests.controlplane.waiting import wait_until

SOON = 30.0
SAID = "privileged is true (allowed: unset or false). Fix: "
BAD = {"name": "app", "image": "registry.example/app", "securityContext": {"privileged": True}}
GOOD = {"name": "app", "image": "registry.example/app"}

Json = dict[str, Any]


def create(kubectl: Kubectl, kind: str, meta: Json, spec: Json, *args: str) -> Completed:
    version = {"Pod": "v1", "Job": "batch/v1", "CronJob": "batch/v1"}.get(kind, "apps/v1")
    manifest = {"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec}
    return kubectl("create", *args, "-f", "-", input=json.dumps(manifest))


def template(container: Json, **spec: Any) -> Json:
    return {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container], **spec}}


def workload(container: Json, **spec: Any) -> Json:
    return {"selector": {"matchLabels": {"app": "x"}}, "template": template(container), **spec}


@pytest.fixture(autouse=True)
def no_privilege(kubectl: Kubectl, namespace: str) -> Iterator[None]:
    """Privileged containers are refused in the test's namespace."""
    name = f"{namespace}-no-privilege"
    policy = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": name},
        "spec": {"match": {"namespaces": [namespace]}, "controls": {"privileged": {}}},
    }
    kubectl.check("apply", "-f", "-", input=json.dumps(policy))
    kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{name}", f"--timeout={SOON:g}s")
    yield
    kubectl("delete", "clusterpodpolicy", name, "--wait=false")


@pytest.fixture
def denials(kubectl: Kubectl) -> Callable[[], list[Json]]:
    """Reads the Events about denials in the test's namespace."""

    def read() -> list[Json]:
        found: list[Json] = json.loads(kubectl.check("get", "events.events.k8s.io", "-o", "json"))["items"]
        return [event for event in found if event["reason"] == "PodDenied"]

    return read


def told(kubectl: Kubectl, owner: str) -> str:
    """What `kubectl events --for` shows of denials, once there is one."""

    def shown() -> str:
        text = kubectl.check("events", "--for", owner)
        return text if "PodDenied" in text else ""

    return wait_until(shown, SOON, f"kubectl events --for {owner} shows the denial")


def test_deployment_tells_why_it_has_no_pods(kubectl: Kubectl, denials: Callable[[], list[Json]]) -> None:
    assert create(kubectl, "Deployment", {"name": "bad"}, workload(BAD, replicas=3)).returncode == 0
    assert create(kubectl, "Deployment", {"name": "good"}, workload(GOOD)).returncode == 0
    shown = told(kubectl, "deployment/bad")
    line = next(line for line in shown.splitlines() if "PodDenied" in line)
    assert "Warning" in line
    assert "Deployment/bad" in line
    assert SAID in line
    wait_until(lambda: "good-" in kubectl.check("get", "pods", "-o", "name"), SOON, "the good one has its pod")
    assert "PodDenied" not in kubectl.check("events", "--for", "deployment/good")
    (event,) = denials()
    replica_set = kubectl.check("get", "replicasets", "-o", "name").split()
    assert f"replicaset.apps/{event['related']['name']}" in replica_set
    assert event["related"]["kind"] == "ReplicaSet"
    assert (event["reportingController"], event["reportingInstance"]) == ("sekisho.dev/webhook", "local")


def test_attempts_without_end_are_one_event_that_counts(kubectl: Kubectl, denials: Callable[[], list[Json]]) -> None:
    assert create(kubectl, "Deployment", {"name": "bad"}, workload(BAD, replicas=3)).returncode == 0
    counted = wait_until(
        lambda: [event for event in denials() if event.get("series", {}).get("count", 0) >= 3], 60.0, "it is a series"
    )
    assert len(denials()) == 1
    assert "(x" in told(kubectl, "deployment/bad")
    assert counted[0]["note"].startswith("policy ")


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet", "CronJob", "Job"])
def test_owner_of_each_kind_is_told(kubectl: Kubectl, kind: str) -> None:
    batch = {"template": template(BAD, restartPolicy="Never")}
    spec = {
        "StatefulSet": workload(BAD, serviceName="x"),
        "DaemonSet": workload(BAD),
        "CronJob": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": batch}},
        "Job": batch,
    }[kind]
    if kind == "DaemonSet":  # its controller makes a pod for each node only
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-for-a-test"}}
        kubectl.check("create", "-f", "-", input=json.dumps(node))
    try:
        assert create(kubectl, kind, {"name": "bad"}, spec).returncode == 0
        if kind == "CronJob":
            kubectl.check("create", "job", "now", "--from=cronjob/bad")
        assert SAID in told(kubectl, f"{kind.lower()}/bad")
    finally:
        if kind == "DaemonSet":
            kubectl("delete", "node", "node-for-a-test")


def test_pod_without_an_owner_is_told_by_its_own_name(kubectl: Kubectl, denials: Callable[[], list[Json]]) -> None:
    assert create(kubectl, "Pod", {"name": "good"}, {"containers": [GOOD]}).returncode == 0
    assert create(kubectl, "Pod", {"name": "bad"}, {"containers": [BAD]}).returncode == 1
    assert SAID in told(kubectl, "pod/bad")
    (event,) = denials()
    assert event["regarding"]["name"] == "bad"
    assert "related" not in event


def test_pods_with_generated_names_are_one_event(kubectl: Kubectl, denials: Callable[[], list[Json]]) -> None:
    for _ in range(3):
        assert create(kubectl, "Pod", {"generateName": "bad-"}, {"containers": [BAD]}).returncode == 1
    assert create(kubectl, "Pod", {"name": "last"}, {"containers": [BAD]}).returncode == 1
    told(kubectl, "pod/last")
    assert sorted(event["regarding"]["name"] for event in denials()) == ["bad-", "last"]


def test_dry_run_gets_the_verdict_and_leaves_no_event(kubectl: Kubectl, denials: Callable[[], list[Json]]) -> None:
    dry = create(kubectl, "Pod", {"name": "dry"}, {"containers": [BAD]}, "--dry-run=server")
    assert dry.returncode == 1
    assert SAID in dry.stderr
    assert create(kubectl, "Pod", {"name": "real"}, {"containers": [BAD]}).returncode == 1
    told(kubectl, "pod/real")
    assert [event["regarding"]["name"] for event in denials()] == ["real"]


def test_event_holds_no_value_of_the_environment(kubectl: Kubectl, denials: Callable[[], list[Json]]) -> None:
    secret = BAD | {"env": [{"name": "PASSWORD", "value": "hunter2"}], "args": ["--token=hunter2"]}
    refused = create(kubectl, "Pod", {"name": "bad"}, {"containers": [secret]})
    assert "hunter2" not in refused.stderr
    told(kubectl, "pod/bad")
    assert "hunter2" not in json.dumps(denials())


def test_refused_change_of_a_running_pod_is_told_on_its_owner(
    kubectl: Kubectl, denials: Callable[[], list[Json]]
) -> None:
    assert create(kubectl, "Deployment", {"name": "web"}, workload(GOOD)).returncode == 0
    pods = wait_until(lambda: kubectl.check("get", "pods", "-o", "name").split(), SOON, "the pod is there")
    debug = {"spec": {"ephemeralContainers": [BAD | {"name": "debug"}]}}
    patched = kubectl("patch", pods[0], "--subresource=ephemeralcontainers", "-p", json.dumps(debug))
    assert patched.returncode == 1
    assert SAID in told(kubectl, "deployment/web")
    (event,) = denials()
    assert (event["related"]["kind"], f"pod/{event['related']['name']}") == ("Pod", pods[0])
