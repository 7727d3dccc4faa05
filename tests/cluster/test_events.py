"""A denial is an Event on the object that the user made, in its namespace."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.conftest import Cluster
from tests.controlplane.installed import NAMESPACE
from tests.controlplane.kubectl import Completed, Kubectl
from tests.controlplane.waiting import wait_until
from tests.load.storm import ReplicaSet, post, privileged_pod

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
    """Privileged containers are denied in the test's namespace."""
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
        listed: list[Json] = json.loads(kubectl.check("get", "events.events.k8s.io", "-o", "json"))["items"]
        return [event for event in listed if event["reason"] == "PodDenied"]

    return read


def reported_events(kubectl: Kubectl, owner: str) -> str:
    """What `kubectl events --for` shows of denials, once there is one."""

    def shown() -> str:
        text = kubectl.check("events", "--for", owner)
        return text if "PodDenied" in text else ""

    return wait_until(shown, SOON, f"kubectl events --for {owner} shows the denial")


def test_events_of_a_deployment_say_why_it_has_no_pods(kubectl: Kubectl, denials: Callable[[], list[Json]]) -> None:
    assert create(kubectl, "Deployment", {"name": "bad"}, workload(BAD, replicas=3)).returncode == 0
    assert create(kubectl, "Deployment", {"name": "good"}, workload(GOOD)).returncode == 0
    shown = reported_events(kubectl, "deployment/bad")
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
    assert (event["type"], event["action"]) == ("Warning", "Admit")
    policy = event["metadata"]["annotations"].pop("sekisho.dev/policies")
    assert event["note"].startswith(f'policy "{policy}" denies container "app"')
    field = "spec.template.spec.containers[0].securityContext.privileged"
    assert event["metadata"]["annotations"] == {
        "sekisho.dev/controls": "privileged",
        "sekisho.dev/fixes": f"{field}: remove it or set it to false",
    }


def test_repeated_denials_are_one_event_with_a_count(kubectl: Kubectl, denials: Callable[[], list[Json]]) -> None:
    assert create(kubectl, "Deployment", {"name": "bad"}, workload(BAD, replicas=3)).returncode == 0
    counted = wait_until(
        lambda: [event for event in denials() if event.get("series", {}).get("count", 0) >= 3], 60.0, "it is a series"
    )
    assert len(denials()) == 1
    assert "(x" in reported_events(kubectl, "deployment/bad")
    assert counted[0]["note"].startswith("policy ")


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job"])
def test_every_kind_of_owner_gets_the_event(kubectl: Kubectl, kind: str) -> None:
    batch = {"template": template(BAD, restartPolicy="Never")}
    spec = {
        "Deployment": workload(BAD),
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
        assert SAID in reported_events(kubectl, f"{kind.lower()}/bad")
        listed = kubectl.check("get", "events", "--field-selector", f"involvedObject.kind={kind},reason=PodDenied")
        assert f"{kind.lower()}/bad" in listed
        assert SAID in listed
        described = kubectl.check("describe", kind.lower(), "bad")
        assert re.search(r"Warning +PodDenied .* sekisho\.dev/webhook +policy ", described)
        assert SAID in described
    finally:
        if kind == "DaemonSet":
            kubectl("delete", "node", "node-for-a-test")


def test_the_event_of_a_pod_without_an_owner_names_the_pod(kubectl: Kubectl, denials: Callable[[], list[Json]]) -> None:
    assert create(kubectl, "Pod", {"name": "good"}, {"containers": [GOOD]}).returncode == 0
    assert create(kubectl, "Pod", {"name": "bad"}, {"containers": [BAD]}).returncode == 1
    assert SAID in reported_events(kubectl, "pod/bad")
    (event,) = denials()
    assert event["regarding"]["name"] == "bad"
    assert "related" not in event


def test_pods_with_generated_names_are_one_event(kubectl: Kubectl, denials: Callable[[], list[Json]]) -> None:
    for _ in range(3):
        assert create(kubectl, "Pod", {"generateName": "bad-"}, {"containers": [BAD]}).returncode == 1
    assert create(kubectl, "Pod", {"name": "last"}, {"containers": [BAD]}).returncode == 1
    reported_events(kubectl, "pod/last")
    wait_until(lambda: len(denials()) >= 2, SOON, "both are told")
    assert sorted(event["regarding"]["name"] for event in denials()) == ["bad-", "last"]


def test_dry_run_gets_the_verdict_and_leaves_no_event(kubectl: Kubectl, denials: Callable[[], list[Json]]) -> None:
    dry = create(kubectl, "Pod", {"name": "dry"}, {"containers": [BAD]}, "--dry-run=server")
    assert dry.returncode == 1
    assert SAID in dry.stderr
    assert create(kubectl, "Pod", {"name": "real"}, {"containers": [BAD]}).returncode == 1
    reported_events(kubectl, "pod/real")
    assert [event["regarding"]["name"] for event in denials()] == ["real"]


def test_event_holds_no_value_of_the_environment(kubectl: Kubectl, denials: Callable[[], list[Json]]) -> None:
    secret = BAD | {"env": [{"name": "PASSWORD", "value": "hunter2"}], "args": ["--token=hunter2"]}
    denied = create(kubectl, "Pod", {"name": "bad"}, {"containers": [secret]})
    assert "hunter2" not in denied.stderr
    reported_events(kubectl, "pod/bad")
    assert "hunter2" not in json.dumps(denials())


def test_the_event_of_a_denied_update_is_on_the_owner(kubectl: Kubectl, denials: Callable[[], list[Json]]) -> None:
    assert create(kubectl, "Deployment", {"name": "web"}, workload(GOOD)).returncode == 0
    pods = wait_until(lambda: kubectl.check("get", "pods", "-o", "name").split(), SOON, "the pod is there")
    debug = {"spec": {"ephemeralContainers": [BAD | {"name": "debug"}]}}
    patched = kubectl("patch", pods[0], "--subresource=ephemeralcontainers", "-p", json.dumps(debug))
    assert patched.returncode == 1
    assert SAID in reported_events(kubectl, "deployment/web")
    (event,) = denials()
    assert (event["related"]["kind"], f"pod/{event['related']['name']}") == ("Pod", pods[0])


@pytest.fixture(scope="module")
def rollouts(cluster: Cluster) -> Iterator[str]:
    """A custom kind that owns ReplicaSets, as Argo's does, by its name."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    spec = {
        "group": "argoproj.io",
        "scope": "Namespaced",
        "names": {"kind": "Rollout", "plural": "rollouts", "singular": "rollout"},
        "versions": [{"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
    }
    name = "rollouts.argoproj.io"
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": spec}
    kubectl = cluster.plane.kubectl
    kubectl.check("apply", "-f", "-", input=json.dumps(definition | {"metadata": {"name": name}}))
    kubectl.check("wait", "--for=condition=Established", f"crd/{name}", f"--timeout={SOON:g}s")
    yield name
    kubectl.check("delete", "crd", name)


def rollout(kubectl: Kubectl) -> Json:
    """A Rollout, as an owner reference."""
    manifest = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "bad"}}
    made = json.loads(kubectl.check("create", "-o", "json", "-f", "-", input=json.dumps(manifest)))
    identity = {"apiVersion": made["apiVersion"], "kind": made["kind"], "name": "bad"}
    return identity | {"uid": made["metadata"]["uid"], "controller": True}


def test_a_custom_owner_of_replica_sets_gets_the_event(
    kubectl: Kubectl, denials: Callable[[], list[Json]], rollouts: str
) -> None:
    account = f"system:serviceaccount:{NAMESPACE}:sekisho-webhook"
    assert kubectl("auth", "can-i", "get", rollouts, "--as", account).returncode == 1
    meta = {"name": "bad-7d9", "ownerReferences": [rollout(kubectl)]}
    assert create(kubectl, "ReplicaSet", meta, workload(BAD)).returncode == 0
    assert SAID in reported_events(kubectl, "rollout/bad")
    assert SAID in kubectl.check("describe", "rollout", "bad")
    (event,) = denials()
    assert (event["regarding"]["kind"], event["related"]["kind"], event["related"]["name"]) == (
        "Rollout",
        "ReplicaSet",
        "bad-7d9",
    )


def test_a_custom_owner_of_pods_gets_the_event(
    kubectl: Kubectl, denials: Callable[[], list[Json]], rollouts: str
) -> None:
    meta = {"name": "bad-0", "ownerReferences": [rollout(kubectl)]}
    assert create(kubectl, "Pod", meta, {"containers": [BAD]}).returncode == 1
    assert SAID in reported_events(kubectl, "rollout/bad")
    (event,) = denials()
    assert (event["related"]["kind"], event["related"]["name"]) == ("Pod", "bad-0")


def test_a_half_fixed_deployment_gets_a_new_event_about_the_rest(
    kubectl: Kubectl, denials: Callable[[], list[Json]]
) -> None:
    pair: Json = {"containers": [BAD, BAD | {"name": "proxy"}]}
    spec = {"selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": pair}}
    assert create(kubectl, "Deployment", {"name": "bad"}, spec).returncode == 0
    assert 'containers "app" and "proxy"' in reported_events(kubectl, "deployment/bad")
    pair["containers"][0] = GOOD
    patch = {"spec": {"template": {"spec": pair}}}
    kubectl.check("patch", "deployment", "bad", "--type=merge", "-p", json.dumps(patch))
    wait_until(lambda: len(denials()) == 2, SOON, "what is wrong now is another Event")
    subjects = {event["note"].partition(" denies ")[2].partition(" for ")[0] for event in denials()}
    assert subjects == {'containers "app" and "proxy"', 'container "proxy"'}
    assert {event["regarding"]["name"] for event in denials()} == {"bad"}


def warned(answer: Completed) -> list[str]:
    assert answer.returncode == 0
    return [line.removeprefix("Warning: ") for line in answer.stderr.splitlines() if line.startswith("Warning: ")]


@pytest.mark.parametrize("kind", ["Deployment", "CronJob"])
def test_applying_a_workload_says_at_once_what_its_event_says_later(
    kubectl: Kubectl, denials: Callable[[], list[Json]], kind: str
) -> None:
    batch = {"template": template(BAD, restartPolicy="Never")}
    specs = {"Deployment": workload(BAD), "CronJob": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": batch}}}
    version = {"Deployment": "apps/v1", "CronJob": "batch/v1"}[kind]
    manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": "bad"}, "spec": specs[kind]}
    (line,) = warned(kubectl("apply", "-f", "-", input=json.dumps(manifest)))
    if kind == "CronJob":
        kubectl.check("create", "job", "now", "--from=cronjob/bad")
    reported_events(kubectl, f"{kind.lower()}/bad")
    (event,) = denials()
    prefix = f"pods of this {kind}: "
    assert line.startswith(prefix)
    assert line.removeprefix(prefix) == event["note"]


def test_a_job_made_by_hand_from_a_cron_job_gets_the_cron_jobs_path_everywhere(
    kubectl: Kubectl, cluster: Cluster, namespace: str, denials: Callable[[], list[Json]]
) -> None:
    policy = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": f"{namespace}-no-privilege"},
        "spec": {"match": {"namespaces": [namespace]}, "controls": {"runAsNonRoot": {}}},
    }
    kubectl.check("apply", "-f", "-", input=json.dumps(policy))
    kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{namespace}-no-privilege")
    batch = {"template": template(GOOD, restartPolicy="Never")}
    cron_job = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": batch}}
    assert create(kubectl, "CronJob", {"name": "bad"}, cron_job).returncode == 0
    fix = "set spec.jobTemplate.spec.template.spec.securityContext.runAsNonRoot to true"
    (line,) = warned(kubectl("create", "job", "by-hand", "--from=cronjob/bad"))
    assert line.startswith("pods of this Job: ")
    assert f"Fix: {fix}." in line
    (event,) = wait_until(denials, SOON, "the denial is an Event")
    assert event["regarding"]["kind"] == "CronJob"
    assert f"Fix: {fix}." in event["note"]
    assert event["metadata"]["annotations"]["sekisho.dev/fixes"].endswith(f": {fix}")
    kubeconfig = str(cluster.plane.kubeconfig)
    shown = cluster.sekisho_cli("denials", "-n", namespace, "--kubeconfig", kubeconfig)
    assert fix in " ".join(shown.stdout.split())
    assert "set spec.template.spec" not in " ".join(shown.stdout.split())


def test_warnings_are_as_many_and_as_long_as_kubectl_shows(kubectl: Kubectl, namespace: str) -> None:
    """The API server cuts a request's warnings off when they are longer than 4,096 characters together."""
    names = [f"{'x' * 40}-{number}" for number in range(20)]
    bad = [
        {"name": name, "image": "registry.example/app", "securityContext": {"privileged": True}, "ports": ports}
        for number, name in enumerate(names)
        for ports in [[{"containerPort": 80, "hostPort": 8000 + number}]]
    ]
    policy = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": f"{namespace}-no-ports"},
        "spec": {"match": {"namespaces": [namespace]}, "controls": {"hostPorts": {}}},
    }
    kubectl.check("apply", "-f", "-", input=json.dumps(policy))
    kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{namespace}-no-ports", f"--timeout={SOON:g}s")
    try:
        spec = workload(GOOD)
        spec["template"]["spec"]["containers"] = bad
        lines = warned(create(kubectl, "Deployment", {"name": "bad"}, spec))
    finally:
        kubectl("delete", "clusterpodpolicy", f"{namespace}-no-ports", "--wait=false")
    assert len(lines) == 9
    assert lines[-1].endswith("more violations; `sekisho check` lists them all")
    assert sum(map(len, lines)) <= 4096
    assert all(line.startswith("pods of this Deployment: ") for line in lines)


@pytest.fixture
def telling_all(cluster: Cluster) -> Iterator[None]:
    """The webhook, started with the Events that are opt-in."""
    webhook = cluster.sekisho.webhook
    usual = webhook.command
    webhook.command = (*usual, "--events=PodDenied,PodWarned,PodDefaulted")
    webhook.restart()
    yield
    webhook.command = usual
    webhook.restart()


def reasons(kubectl: Kubectl) -> dict[str, Json]:
    listed: list[Json] = json.loads(kubectl.check("get", "events.events.k8s.io", "-o", "json"))["items"]
    return {event["reason"]: event for event in listed if event["reason"].startswith("Pod")}


def test_warnings_and_defaults_are_reported_where_enabled(kubectl: Kubectl, namespace: str, telling_all: None) -> None:
    policy = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": f"{namespace}-warns"},
        "spec": {
            "enforcement": "Warn",
            "match": {"namespaces": [namespace]},
            "controls": {"readOnlyRootFilesystem": {}},
            "defaults": {"profile": "restricted"},
        },
    }
    kubectl.check("apply", "-f", "-", input=json.dumps(policy))
    kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{namespace}-warns", f"--timeout={SOON:g}s")
    try:
        assert create(kubectl, "Deployment", {"name": "web"}, workload(GOOD)).returncode == 0
        wait_until(lambda: reasons(kubectl).keys() >= {"PodWarned", "PodDefaulted"}, SOON, "both are told")
    finally:
        kubectl("delete", "clusterpodpolicy", f"{namespace}-warns", "--wait=false")
    listed = reasons(kubectl)
    assert {event["regarding"]["kind"] for event in listed.values()} == {"Deployment"}
    assert (listed["PodWarned"]["type"], listed["PodDefaulted"]["type"]) == ("Warning", "Normal")
    assert listed["PodWarned"]["note"].startswith(f'policy "{namespace}-warns" warns about container "app" for ')
    assert listed["PodDefaulted"]["note"].startswith(f'policy "{namespace}-warns" set spec.')


def test_denials_during_an_outage_are_reported_after_it(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    assert create(kubectl, "Deployment", {"name": "web"}, workload(GOOD, replicas=0)).returncode == 0
    listed = wait_until(
        lambda: json.loads(kubectl.check("get", "replicasets", "-o", "json"))["items"], SOON, "its ReplicaSet is there"
    )
    owner = ReplicaSet(listed[0]["metadata"]["name"], listed[0]["metadata"]["uid"], "web")
    cluster.plane.apiserver.stop()
    try:
        asyncio.run(post(cluster.sekisho.webhook_port, [privileged_pod(owner, namespace, dry_run=False)] * 3, 1))
    finally:
        cluster.plane.apiserver.start()
    wait_until(lambda: "(x3 over" in reported_events(kubectl, "deployment/web"), SOON, "all three are told")
