"""`sekisho audit` on a real cluster: its counts are those of judging pod by pod, and the API server's own answers."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import yaml

from sekisho.admission import Context, evaluate
from sekisho.audit import PODS
from sekisho.pods import Workload
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import POLICIES, get, wait_enforced
from tests.controlplane.build import Binaries
from tests.controlplane.component import base_environment
from tests.controlplane.kubectl import Completed, Kubectl
from tests.controlplane.waiting import wait_until
from tests.pods import container

Json = dict[str, Any]

SOON: Final = 180.0
AUDITED: Final = 180.0
"""A pass waits for the end of the one before, and for changes that come together."""
REPLICAS: Final = 3
GOOD: Final[Json] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [container(image="registry.example.com/app:1")],
}
PLAIN: Final[Json] = {"containers": [{"name": "app", "image": "registry.example.com/app:1"}]}
PRIVILEGED: Final[Json] = {
    "containers": [container(securityContext={"privileged": True, "allowPrivilegeEscalation": True})]
}
HOST_PATH: Final[Json] = {**GOOD, "volumes": [{"name": "host", "hostPath": {"path": "/var/log"}}]}
SPECS: Final[dict[str, Json]] = {"good": GOOD, "plain": PLAIN, "privileged": PRIVILEGED, "host-path": HOST_PATH}
DENIED: Final = {"privileged", "host-path"}
"""Those that no defaults mend."""


def workload(kind: str, name: str, spec: Json, **fields: Any) -> Json:
    labels = {"app": f"{kind}-{name}".lower()}
    group = "batch/v1" if kind in ("Job", "CronJob") else "apps/v1"
    template: Json = {"metadata": {"labels": labels}, "spec": spec}
    if kind in ("Job", "CronJob"):
        template["spec"] = {**spec, "restartPolicy": "Never"}
    below: Json = {"template": template}
    if kind == "CronJob":
        below = {"jobTemplate": {"spec": below}, "schedule": "0 0 1 1 *"}
    elif kind != "Job":
        below["selector"] = {"matchLabels": labels}
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": {**below, **fields}}


def objects() -> Iterator[Json]:
    """For each spec a Deployment, a StatefulSet, a Job, a bare pod, and a suspended CronJob and an idle Deployment."""
    for name, spec in SPECS.items():
        yield workload("Deployment", name, spec, replicas=REPLICAS)
        yield workload("StatefulSet", name, spec, replicas=REPLICAS, serviceName="s", podManagementPolicy="Parallel")
        yield workload("Job", name, spec)
        yield workload("CronJob", name, spec, suspend=True)
        yield workload("Deployment", f"idle-{name}", spec, replicas=0)
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


PODS_OF_SPEC: Final = 2 * REPLICAS + 2


@pytest.fixture
def running(cluster: Cluster, namespace: str, kubectl: Kubectl) -> str:
    """A namespace with pods of all these."""
    kubectl.check("apply", "-f", "-", input=yaml.safe_dump_all(objects()))
    wait_until(lambda: len(pods_of(cluster, namespace)) == PODS_OF_SPEC * len(SPECS), SOON, "all pods exist")
    return namespace


def pods_of(cluster: Cluster, namespace: str) -> list[Json]:
    items: list[Json] = json.loads(cluster.plane.call("GET", PODS.path(namespace)).body)["items"]
    return items


def policy_of(namespace: str, **spec: Any) -> Json:
    spec = {"match": {"namespaces": [namespace]}, "podSecurityStandard": {"level": "restricted"}, **spec}
    head = {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ClusterPodPolicy", "metadata": {"name": namespace}}
    return head | {"spec": spec}


def audited(cluster: Cluster, namespace: str, *args: str) -> Json:
    kubeconfig = str(cluster.plane.kubeconfig)
    done = cluster.sekisho_cli("audit", "--kubeconfig", kubeconfig, "-n", namespace, "-o", "json", *args)
    assert done.returncode in (0, 1), done.stderr
    report: Json = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("defaults", [{}, {"profile": "restricted"}], ids=["no-defaults", "defaults"])
def test_counts_before_a_policy_is_applied_are_what_the_api_server_then_answers(
    cluster: Cluster, running: str, kubectl: Kubectl, tmp_path: Path, defaults: Json
) -> None:
    policy = policy_of(running, **({"defaults": defaults} if defaults else {}))
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump(policy))
    report = audited(cluster, running, "-p", str(file))
    summary = report["summary"]

    # As they run: pod by pod.
    policies = PolicySet.of([msgspec.convert(policy, ClusterPodPolicy)])
    pods = [msgspec.convert(body, Workload) for body in pods_of(cluster, running)]
    violating = sum(bool(evaluate(pod, Context(policies, running, None)).violations) for pod in pods)
    assert (summary["pods"], summary["violating"]) == (len(pods), violating)

    # Created again: the API server's answers, once the policy is in effect.
    kubectl.check("apply", "-f", str(file))
    try:
        wait_enforced(cluster, running)
        denied = {name for name, spec in SPECS.items() if is_denied(kubectl, spec)}
    finally:
        kubectl.check("delete", "clusterpodpolicy", running)
    assert denied == (DENIED if defaults else {"plain", *DENIED})
    assert summary["wouldBeDenied"] == PODS_OF_SPEC * len(denied)
    assert summary["idleTemplates"] == 2 * len(denied)
    owners = {(one["kind"], one["name"]): one["wouldBeDenied"] for one in report["owners"] if one["findings"]}
    assert owners == {
        (kind, prefix + name): count
        for name in denied
        for kind, prefix, count in (
            ("Deployment", "", REPLICAS),
            ("StatefulSet", "", REPLICAS),
            ("Job", "", 1),
            ("Pod", "", 1),
            ("CronJob", "", 0),
            ("Deployment", "idle-", 0),
        )
    }


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_counts_of_10_000_pods_of_400_owners_are_those_of_judging_pod_by_pod(binaries: Binaries) -> None:
    done = subprocess.run(  # its own cluster: no controller may make or delete pods meanwhile
        (sys.executable, "-m", "tests.load.running", "--pods=10000", "--owners=400"),
        cwd=Path(__file__).parents[2],
        env=base_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "The counts of the first one are those of judging pod by pod." in done.stderr
    assert "| lists of pods | 40.00, budget 40: met |" in done.stderr


def is_denied(kubectl: Kubectl, spec: Json) -> bool:
    """Whether the API server denies a pod."""
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "again"}, "spec": spec}
    done = kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(body))
    assert done.returncode == 0 or "denied the request" in done.stderr, done.stderr
    return done.returncode != 0


def test_pods_of_kube_system_never_count(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    policy = policy_of("kube-system")
    del policy["spec"]["match"]
    file.write_text(yaml.safe_dump(policy))
    cluster.plane.kubectl.check("run", "audited", "--namespace=kube-system", "--image=x", "--privileged")
    try:
        report = audited(cluster, "kube-system", "-p", str(file))
    finally:
        cluster.plane.kubectl.check("delete", "pod", "audited", "--namespace=kube-system", "--now")
    assert report["summary"]["pods"] == 0


# The leader's audit


def impact_of(cluster: Cluster, policy: str) -> Json:
    """What the status of a policy says about its present generation; empty before that was audited."""
    stored = get(cluster, f"{POLICIES}/{policy}")
    impact: Json = stored.get("status", {}).get("impact") or {}
    return impact if impact.get("observedGeneration") == stored["metadata"]["generation"] else {}


def wait_impact(cluster: Cluster, policy: str) -> Json:
    return wait_until(lambda: impact_of(cluster, policy), AUDITED, f"the impact of {policy} is known")


@pytest.fixture
def audit_policy(cluster: Cluster, running: str, kubectl: Kubectl) -> Iterator[str]:
    """A policy that audits the pods of the namespace."""
    defaults = {"profile": "restricted"}
    kubectl.check("apply", "-f", "-", input=yaml.safe_dump(policy_of(running, enforcement="Audit", defaults=defaults)))
    yield running
    kubectl.check("delete", "clusterpodpolicy", running, "--ignore-not-found")


def test_status_has_the_counts_of_the_command(cluster: Cluster, audit_policy: str, kubectl: Kubectl) -> None:
    (of_command,) = [one for one in audited(cluster, audit_policy)["policies"] if one["policy"] == audit_policy]
    impact = wait_impact(cluster, audit_policy)
    examples = impact.pop("examples")
    assert impact == {
        "observedGeneration": 1,
        **{key: count for key, count in of_command.items() if key not in ("policy", "enforcement")},
    }
    assert impact["wouldBeDenied"] == PODS_OF_SPEC * len(DENIED)
    assert [(one["owner"], one["pods"]) for one in examples[:2]] == [
        (f"Deployment {audit_policy}/host-path", REPLICAS),
        (f"Deployment {audit_policy}/privileged", REPLICAS),
    ]
    assert examples[1]["controls"][0] == "privileged"
    (header, row) = (line.split() for line in kubectl.check("get", "cpp", audit_policy).splitlines())
    assert row[-2] == str(impact["wouldBeDenied"])
    assert header[-2] == "IMPACT"


def test_changes_reach_the_status_and_an_unchanged_pass_writes_nothing(
    cluster: Cluster, audit_policy: str, kubectl: Kubectl
) -> None:
    wait_impact(cluster, audit_policy)

    def patch(spec: Json) -> None:
        kubectl.check("patch", "clusterpodpolicy", audit_policy, "--type=merge", "-p", json.dumps({"spec": spec}))

    # The policy itself.
    patch({"defaults": None})
    assert wait_impact(cluster, audit_policy)["wouldBeDenied"] == PODS_OF_SPEC * (len(DENIED) + 1)
    # Labels of the namespace.
    patch({"match": {"namespaceSelector": {"matchLabels": {"audited": "true"}}}})
    assert wait_impact(cluster, audit_policy)["pods"] == 0
    kubectl.check("label", "namespace", audit_policy, "audited=true")
    count = PODS_OF_SPEC * len(SPECS)
    wait_until(lambda: impact_of(cluster, audit_policy)["pods"] == count, AUDITED, "the label counts")
    # A waiver, and a pass in which nothing changes for the policy.
    version = get(cluster, f"{POLICIES}/{audit_policy}")["metadata"]["resourceVersion"]
    other = policy_of("no-such-namespace")
    kubectl.check("apply", "-f", "-", input=yaml.safe_dump(other))
    try:
        wait_impact(cluster, "no-such-namespace")
        assert get(cluster, f"{POLICIES}/{audit_policy}")["metadata"]["resourceVersion"] == version
    finally:
        kubectl.check("delete", "clusterpodpolicy", "no-such-namespace")


def test_next_leader_completes_what_a_killed_one_began(cluster: Cluster, audit_policy: str, kubectl: Kubectl) -> None:
    before = wait_impact(cluster, audit_policy)
    patch = {"spec": {"defaults": None}}
    kubectl.check("patch", "clusterpodpolicy", audit_policy, "--type=merge", "-p", json.dumps(patch))
    cluster.sekisho.controller.kill()
    assert impact_of(cluster, audit_policy) == {}
    assert get(cluster, f"{POLICIES}/{audit_policy}")["status"]["impact"] == before
    cluster.sekisho.repair()
    assert wait_impact(cluster, audit_policy)["wouldBeDenied"] > before["wouldBeDenied"]


def test_policy_that_denies_from_now_on_warns_of_pods_that_run(
    cluster: Cluster, audit_policy: str, kubectl: Kubectl
) -> None:
    impact = wait_impact(cluster, audit_policy)
    patch = json.dumps({"spec": {"enforcement": "Deny"}})
    done = kubectl("patch", "clusterpodpolicy", audit_policy, "--type=merge", "-p", patch)
    assert (
        f'Warning: policy "{audit_policy}" denies {impact["wouldBeDenied"]} of {impact["pods"]} running pods'
        in done.stderr
    )
    assert done.returncode == 0


@contextmanager
def promoting(cluster: Cluster, policy: str, folder: Path) -> Iterator[Callable[[str], Completed]]:
    """`sekisho promote` at a terminal, when it has asked: give the answer, and get what it did then."""
    answers, terminal = pty.openpty()
    command = (sys.executable, "-m", "sekisho", "promote", policy, "--kubeconfig", str(cluster.plane.kubeconfig))
    outputs = folder / "output", folder / "errors"
    with outputs[0].open("w") as output, outputs[1].open("w") as errors:
        process = subprocess.Popen(command, stdin=terminal, stdout=output, stderr=errors, env=base_environment())

    def answer(text: str) -> Completed:
        os.write(answers, f"{text}\n".encode())
        return Completed(process.wait(SOON), outputs[0].read_text(), outputs[1].read_text())

    try:
        wait_until(lambda: "deny? [y/N]" in outputs[1].read_text(), SOON, "it has asked")
        yield answer
    finally:
        process.kill()
        process.wait()
        os.close(answers)
        os.close(terminal)


def test_promotion_shows_the_impact_and_asks_before_the_policy_denies(
    cluster: Cluster, audit_policy: str, kubectl: Kubectl, tmp_path: Path
) -> None:
    def enforcement() -> str:
        return str(get(cluster, f"{POLICIES}/{audit_policy}")["spec"]["enforcement"])

    with promoting(cluster, audit_policy, tmp_path) as answer:
        assert answer("n").returncode == 1
    assert enforcement() == "Audit"

    with promoting(cluster, audit_policy, tmp_path) as answer:
        patch = json.dumps({"spec": {"defaults": None}})
        kubectl.check("patch", "clusterpodpolicy", audit_policy, "--type=merge", "-p", patch)
        done = answer("y")
    assert done.returncode == 2
    assert done.stderr.endswith(f"Error: {audit_policy} was changed meanwhile: run the command again\n")
    assert enforcement() == "Audit"

    with promoting(cluster, audit_policy, tmp_path) as answer:
        done = answer("y")
    assert done.returncode == 0, done.stderr
    assert f"{PODS_OF_SPEC * (len(DENIED) + 1)} pods of " in done.stdout
    assert f"Deployment {audit_policy}/host-path: {REPLICAS} pods would be denied" in done.stdout
    assert done.stdout.endswith(f"{audit_policy} denies now\n")
    assert enforcement() == "Deny"


def test_waivers_from_the_audit_let_what_runs_be_created_again_and_nothing_else(
    cluster: Cluster, audit_policy: str, kubectl: Kubectl
) -> None:
    kubeconfig = str(cluster.plane.kubeconfig)
    done = cluster.sekisho_cli(
        *("waive", "--kubeconfig", kubeconfig, "--from-audit", audit_policy, "--for", "60d", "--reason", "it runs")
    )
    assert done.returncode == 0, done.stderr
    kubectl.check("apply", "-f", "-", input=done.stdout)
    names = [one["metadata"]["name"] for one in yaml.safe_load_all(done.stdout)]
    try:
        kubectl.check(
            "patch", "clusterpodpolicy", audit_policy, "--type=merge", "-p", '{"spec":{"enforcement":"Deny"}}'
        )
        wait_enforced(cluster, audit_policy)
        for name in names:
            kubectl.check("wait", "--for=condition=Active", f"policywaiver/{name}", f"--timeout={SOON:g}s")
        before = {pod["metadata"]["uid"] for pod in pods_of(cluster, audit_policy)}
        kubectl.check("delete", "pods", "--all", "--now")
        owned = (PODS_OF_SPEC - 1) * len(SPECS)  # nobody makes bare pods again

        def are_created_again() -> bool:
            pods = [pod for pod in pods_of(cluster, audit_policy) if "deletionTimestamp" not in pod["metadata"]]
            return len(pods) == owned and before.isdisjoint(pod["metadata"]["uid"] for pod in pods)

        wait_until(are_created_again, AUDITED, "all pods are created again")
        assert is_denied(kubectl, PRIVILEGED)
    finally:
        kubectl.check("delete", "policywaivers", *names)
