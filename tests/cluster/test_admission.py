"""Verdicts through the real API server: what a user may and may not do under the library's policies."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import Cluster
from tests.controlplane.kubectl import Completed, Kubectl
from tests.controlplane.waiting import wait_until
from tests.pods import container, restricted_pod, with_container_in

MANIFESTS = Path(__file__).parents[1] / "manifests"
SOON = 30.0


def policy(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    match = {"namespaces": [namespace]} | spec.pop("match", {})
    return {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": name},
        "spec": {"match": match, **spec},
    }


def apply(kubectl: Kubectl, manifest: dict[str, Any], *args: str) -> Completed:
    return kubectl("apply", *args, "-f", "-", input=json.dumps(manifest))


def create(kubectl: Kubectl, manifest: dict[str, Any], *args: str) -> Completed:
    return kubectl("create", *args, "-f", "-", input=json.dumps(manifest))


def enforce(kubectl: Kubectl, manifest: dict[str, Any]) -> None:
    """Apply a policy and wait until every replica enforces it."""
    applied = apply(kubectl, manifest)
    assert applied.returncode == 0, applied.stderr
    name = manifest["metadata"]["name"]
    kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{name}", f"--timeout={SOON:g}s")


@pytest.fixture
def restricted(kubectl: Kubectl, namespace: str) -> Any:
    """The namespace under `restricted` and trusted registries, without defaults that would help a pod along."""
    name = f"{namespace}-restricted"
    controls = {"images": {"trustedRegistries": ["trusted.io"]}}
    enforce(kubectl, policy(name, namespace, podSecurityStandard={"level": "restricted"}, controls=controls))
    yield name
    kubectl("delete", "clusterpodpolicy", name, "--wait=false")


@pytest.fixture
def with_defaults(kubectl: Kubectl, namespace: str) -> Any:
    """The namespace under `restricted` with its defaults."""
    name = f"{namespace}-with-defaults"
    spec = {"podSecurityStandard": {"level": "restricted"}, "defaults": {"profile": "restricted"}}
    enforce(kubectl, policy(name, namespace, **spec))
    yield name
    kubectl("delete", "clusterpodpolicy", name, "--wait=false")


DENIED = [
    (
        "privileged",
        container(securityContext={"privileged": True, "allowPrivilegeEscalation": True}),
        "privileged is true",
    ),
    ("escalation", container(securityContext={"allowPrivilegeEscalation": True}), "allowPrivilegeEscalation is true"),
    ("non-root", container(securityContext={"runAsNonRoot": False}), "runAsNonRoot is false"),
    ("root", container(securityContext={"runAsUser": 0, "runAsNonRoot": True}), "runAsUser is 0"),
    ("capability", container(securityContext={"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}), '"NET_ADMIN"'),
    ("keeps", container(securityContext={"capabilities": {"drop": ["all"]}}), "capabilities.drop is"),
    ("seccomp", container(securityContext={"seccompProfile": {"type": "Unconfined"}}), '"Unconfined"'),
    ("registry", container(image="docker.io/library/nginx"), 'for its image "docker.io/library/nginx"'),
    ("look-alike", container(image="trusted.io.evil.com/x"), 'for its image "trusted.io.evil.com/x"'),
    ("short-name", container(image="nginx"), 'for its image "nginx"'),
    ("no-reference", container(image="trusted.io/X@y"), "a valid image reference"),
]


@pytest.mark.parametrize("where", ["containers", "initContainers", "sidecar"])
@pytest.mark.usefixtures("restricted")
def test_bad_container_is_denied_in_every_list_and_good_one_admitted(kubectl: Kubectl, where: str) -> None:
    for name, bad, said in DENIED:
        answer = create(kubectl, with_container_in(where, bad), "--dry-run=server")
        assert answer.returncode == 1, f"{name} was admitted"
        assert "(Forbidden)" in answer.stderr
        assert '"tested"' in answer.stderr
        assert said in answer.stderr
        assert "Fix: " in answer.stderr
    assert create(kubectl, with_container_in(where, container()), "--dry-run=server").returncode == 0


HYGIENE: dict[str, dict[str, Any]] = {
    "imagePullPolicy": {},
    "stdinAndTty": {},
    "flexVolumes": {"allowed": ["example.com/cifs"]},
    "priorityClass": {},
    "serviceAccounts": {"denied": ["default"]},
    "terminationGracePeriod": {"maxSeconds": 60},
    "labels": {"required": ["team"]},
    "tolerations": {"allowed": [{"key": "team", "values": ["shop"]}]},
}
"""Controls of fields that the API server fills in or that no standard restricts, with parameters."""


def hygienic(control: str, *, good: bool) -> dict[str, Any]:
    """A pod that all controls of HYGIENE admit, or one that differs from it in what this control denies."""
    is_bad = {name: name == control and not good for name in HYGIENE}
    app = container(imagePullPolicy="Always", stdin=is_bad["stdinAndTty"])
    if is_bad["imagePullPolicy"]:
        del app["imagePullPolicy"]  # the API server sets it to IfNotPresent, as the image has a tag
    pod = restricted_pod(app, terminationGracePeriodSeconds=61 if is_bad["terminationGracePeriod"] else 60)
    driver = "example.com/lvm" if is_bad["flexVolumes"] else "example.com/cifs"
    pod["spec"]["volumes"] = [{"name": "share", "flexVolume": {"driver": driver}}]
    if not is_bad["serviceAccounts"]:
        pod["spec"]["serviceAccountName"] = "app"
    pod["spec"]["tolerations"] = [{"key": "team", "value": "search" if is_bad["tolerations"] else "shop"}]
    if not is_bad["labels"]:
        pod["metadata"]["labels"] = {"team": "shop"}
    if is_bad["priorityClass"]:
        pod["spec"]["priorityClassName"] = "system-cluster-critical"
    return pod


def test_fields_that_the_api_server_fills_in_are_judged(kubectl: Kubectl, namespace: str) -> None:
    name = f"{namespace}-hygiene"
    kubectl.check("create", "serviceaccount", "app")
    enforce(kubectl, policy(name, namespace, controls=HYGIENE))
    try:
        for control in HYGIENE:
            answer = create(kubectl, hygienic(control, good=False), "--dry-run=server")
            assert answer.stderr.count(f"[{control}]") == answer.stderr.count("Fix: ") == 1, answer.stderr
        answer = create(kubectl, hygienic("", good=True), "--dry-run=server")
        assert answer.returncode == 0, answer.stderr
    finally:
        kubectl("delete", "clusterpodpolicy", name, "--wait=false")


@pytest.mark.usefixtures("restricted")
def test_bad_ephemeral_container_is_denied_and_good_one_admitted(
    kubectl: Kubectl, cluster: Cluster, namespace: str
) -> None:
    assert create(kubectl, restricted_pod()).returncode == 0
    path = f"/api/v1/namespaces/{namespace}/pods/pod/ephemeralcontainers"

    def add(added: dict[str, Any]) -> tuple[int, str]:
        pod = json.loads(cluster.plane.call("GET", f"/api/v1/namespaces/{namespace}/pods/pod").body)
        pod["spec"].setdefault("ephemeralContainers", []).append(added | {"name": "debug"})
        answer = cluster.plane.call("PUT", path, pod)
        return answer.status, answer.body.decode()

    for name, bad, said in DENIED:
        status, text = add(bad)
        assert status == 403, f"{name} was admitted: {text}"
        assert said in json.loads(text)["message"]
    status, text = add(container())
    assert status == 200, text


@pytest.mark.usefixtures("restricted")
def test_image_of_a_running_pod_may_change_to_a_trusted_one_only(kubectl: Kubectl) -> None:
    assert create(kubectl, restricted_pod()).returncode == 0
    bad = kubectl("set", "image", "pod/pod", "app=trusted.io.evil.com/app:1")
    assert bad.returncode == 1
    assert "trusted.io.evil.com/app" in bad.stderr
    assert kubectl("set", "image", "pod/pod", "app=trusted.io/app:2").returncode == 0


def test_pod_that_violates_already_can_be_edited_and_deleted(kubectl: Kubectl, namespace: str) -> None:
    pod = restricted_pod(container(image="untrusted.io/app"))
    pod["metadata"]["finalizers"] = ["example.com/hold"]
    assert create(kubectl, pod).returncode == 0
    name = f"{namespace}-later"
    enforce(kubectl, policy(name, namespace, controls={"images": {"trustedRegistries": ["trusted.io"]}}))
    try:
        assert kubectl("label", "pod/pod", "a=b").returncode == 0
        assert kubectl("set", "image", "pod/pod", "app=other.io/app").returncode == 1
        assert kubectl("delete", "pod/pod", "--wait=false").returncode == 0
        assert kubectl("set", "image", "pod/pod", "app=other.io/app").returncode == 1  # terminating, still judged
        assert kubectl("set", "image", "pod/pod", "app=trusted.io/app").returncode == 0
        assert (
            kubectl(
                "patch", "pod/pod", "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]'
            ).returncode
            == 0
        )
    finally:
        kubectl("delete", "clusterpodpolicy", name, "--wait=false")


@pytest.mark.usefixtures("with_defaults")
def test_plain_pod_gets_defaults_once(kubectl: Kubectl) -> None:
    plain = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "a", "image": "x"}]},
    }
    stored = json.loads(create(kubectl, plain, "-o", "json").stdout)
    assert stored["spec"]["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert stored["spec"]["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "spec.securityContext.runAsNonRoot" in stored["metadata"]["annotations"]["sekisho.dev/defaulted"]
    again = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q"}, "spec": stored["spec"]}
    second = json.loads(create(kubectl, again, "-o", "json").stdout)
    assert "sekisho.dev/defaulted" not in second["metadata"].get("annotations", {})


EXPLICIT = [
    ({"privileged": True}, False),
    ({"capabilities": {"add": ["SYS_ADMIN"]}}, False),
    ({"runAsUser": 0}, False),
    ({"runAsNonRoot": False}, False),
    ({"allowPrivilegeEscalation": True}, False),
    ({"runAsUser": 1000}, True),
    ({"capabilities": {"drop": ["NET_RAW"]}}, True),
]


@pytest.mark.usefixtures("with_defaults")
def test_explicit_value_is_neither_masked_nor_made_unacceptable_to_the_api(kubectl: Kubectl) -> None:
    for context, admitted in EXPLICIT:
        one = {"name": "a", "image": "x", "securityContext": context}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [one]}}
        answer = create(kubectl, pod, "--dry-run=server")
        assert (answer.returncode == 0) is admitted, (context, answer.stderr)
        assert admitted or "denied the request: policy" in answer.stderr, answer.stderr


@pytest.mark.usefixtures("with_defaults")
def test_windows_pod_is_admitted_without_linux_fields(kubectl: Kubectl) -> None:
    spec = {"os": {"name": "windows"}, "containers": [{"name": "a", "image": "x"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    answer = create(kubectl, pod, "--dry-run=server")
    assert answer.returncode == 0, answer.stderr


@pytest.mark.usefixtures("with_defaults")
def test_only_a_new_ephemeral_container_gets_defaults(kubectl: Kubectl, cluster: Cluster, namespace: str) -> None:
    assert create(kubectl, restricted_pod()).returncode == 0
    path = f"/api/v1/namespaces/{namespace}/pods/pod"
    pod = json.loads(cluster.plane.call("GET", path).body)
    pod["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "x", "terminationMessagePolicy": "File"}]
    answer = cluster.plane.call("PUT", f"{path}/ephemeralcontainers", pod)
    assert answer.status == 200, answer.body
    stored = json.loads(answer.body)
    assert stored["spec"]["ephemeralContainers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert stored["spec"]["containers"] == pod["spec"]["containers"]


@pytest.mark.usefixtures("restricted")
def test_mirror_annotation_gives_no_exemption(kubectl: Kubectl) -> None:
    pod = restricted_pod(container(securityContext={"privileged": True, "allowPrivilegeEscalation": True}))
    pod["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    answer = create(kubectl, pod, "--dry-run=server")
    assert answer.returncode == 1


def test_label_on_the_namespace_does_not_avoid_a_policy_by_name(
    kubectl: Kubectl, namespace: str, restricted: str
) -> None:
    bad = restricted_pod(container(image="untrusted.io/x"))
    kubectl.check(
        "label", "namespace", namespace, "sekisho.dev/exempt=true", "pod-security.kubernetes.io/enforce=privileged"
    )
    assert restricted in create(kubectl, bad, "--dry-run=server").stderr


def test_policy_by_namespace_label_follows_the_label(kubectl: Kubectl, namespace: str) -> None:
    name = f"{namespace}-labels"
    match = {"namespaceSelector": {"matchLabels": {"tier": "prod"}}}
    enforce(kubectl, policy(name, namespace, match=match, controls={"images": {"trustedRegistries": ["trusted.io"]}}))
    bad = restricted_pod(container(image="untrusted.io/x"))
    try:
        assert create(kubectl, bad, "--dry-run=server").returncode == 0
        kubectl.check("label", "namespace", namespace, "tier=prod")
        wait_until(lambda: create(kubectl, bad, "--dry-run=server").returncode == 1, SOON, "the label counts")
        kubectl.check("label", "namespace", namespace, "tier-")
        wait_until(lambda: create(kubectl, bad, "--dry-run=server").returncode == 0, SOON, "the label is gone")
    finally:
        kubectl("delete", "clusterpodpolicy", name, "--wait=false")


def test_policy_for_one_namespace_does_not_match_a_similar_name(
    kubectl: Kubectl, namespace: str, restricted: str
) -> None:
    other = f"{namespace}-too"
    kubectl.check("create", "namespace", other)
    bad = restricted_pod(container(image="untrusted.io/x"))
    try:
        elsewhere = kubectl.in_namespace(other)
        kubectl.check("wait", "--for=create", "serviceaccount/default", "--namespace", other, f"--timeout={SOON:g}s")
        assert create(elsewhere, bad, "--dry-run=server").returncode == 0
        assert restricted in create(kubectl, bad, "--dry-run=server").stderr
    finally:
        kubectl("delete", "namespace", other, "--wait=false")


def test_warn_admits_with_a_warning_and_deny_denies(kubectl: Kubectl, namespace: str) -> None:
    name = f"{namespace}-stages"
    bad = restricted_pod(container(image="untrusted.io/x"))
    controls = {"images": {"trustedRegistries": ["trusted.io"]}}
    try:
        enforce(kubectl, policy(name, namespace, enforcement="Warn", controls=controls))
        answer = create(kubectl, bad, "--dry-run=server")
        assert answer.returncode == 0
        assert f'Warning: policy "{name}" warns about container "app" for its image' in answer.stderr
        enforce(kubectl, policy(name, namespace, enforcement="Deny", controls=controls))
        assert create(kubectl, bad, "--dry-run=server").returncode == 1
    finally:
        kubectl("delete", "clusterpodpolicy", name, "--wait=false")


def test_workload_is_judged_itself_its_pods_are_made_and_their_nodes_and_probes_judged(
    kubectl: Kubectl, namespace: str
) -> None:
    name = f"{namespace}-workloads"
    controls = {
        "labels": {"required": ["owner"], "onWorkloads": True},
        "nodeSelectors": {"allowed": [{"key": "team", "values": ["shop"]}]},
        "probes": {"denyEqual": True},
    }
    template = {"metadata": {"labels": {"app": "w", "owner": "shop"}}, "spec": restricted_pod()["spec"]}
    spec = {"selector": {"matchLabels": {"app": "w"}}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": spec}
    probe, same = {"grpc": {"port": 80}}, {"grpc": {"port": 80, "service": ""}, "periodSeconds": 10}
    bank = {"matchExpressions": [{"key": "team", "operator": "In", "values": ["bank"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [bank]}}
    pod = restricted_pod(container(livenessProbe=probe, readinessProbe=same), affinity={"nodeAffinity": required})
    try:
        enforce(kubectl, policy(name, namespace, controls=controls, templates="Deny"))
        denied = create(kubectl, deployment)
        assert f'policy "{name}" denies Deployment "w" for its labels: metadata.labels.owner is unset' in denied.stderr
        deployment["metadata"] = {"name": "w", "labels": {"owner": "shop"}}
        assert create(kubectl, deployment).returncode == 0
        wait_until(lambda: kubectl.check("get", "pods", "-l", "app=w", "-o", "name"), SOON, "its pod is made")
        pod["metadata"]["labels"] = {"owner": "shop"}
        answer = create(kubectl, pod, "--dry-run=server")
        assert "team=bank (allowed: team=shop)" in answer.stderr.replace('"', "")
        assert "livenessProbe is equal to readinessProbe" in answer.stderr
        pod["spec"]["containers"][0]["readinessProbe"]["periodSeconds"] = 11
        bank["matchExpressions"][0]["values"] = ["shop"]
        assert create(kubectl, pod, "--dry-run=server").returncode == 0
    finally:
        kubectl("delete", "clusterpodpolicy", name, "--wait=false")


def test_causes_reach_the_client(cluster: Cluster, namespace: str, restricted: str) -> None:
    bad = restricted_pod(container("a", image="x.io/y"), container("b", image="x.io/z"))
    answer = cluster.plane.call("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", bad)
    status = json.loads(answer.body)
    assert answer.status == 403
    assert [cause["field"] for cause in status["details"]["causes"]] == [
        "spec.containers[0].image",
        "spec.containers[1].image",
    ]
    assert restricted in status["message"]


WRONG_POLICIES = [
    ({"enforcment": "Deny"}, "spec.enforcment: unknown field; did you mean enforcement?"),
    ({"controls": {"previleged": {}}}, "spec.controls.previleged: unknown field; did you mean privileged?"),
    ({"controls": {"images": {"trusted": []}}}, "spec.controls.images.trusted: unknown field"),
    ({"enforcement": "deny"}, 'spec.enforcement: Unsupported value: "deny"'),
    ({"podSecurityStandard": {"level": "strict"}}, "spec.podSecurityStandard.level: Unsupported value"),
    ({"podSecurityStandard": {"level": "baseline", "version": "v1.99"}}, "spec.podSecurityStandard.version"),
    ({"podSecurityStandard": {"version": "v1.30"}}, "set either level"),
    ({"match": {"namespaces": "payments"}}, "spec.match.namespaces"),
]


@pytest.mark.parametrize(("spec", "said"), WRONG_POLICIES)
def test_wrong_policy_is_denied_with_the_fields_path(kubectl: Kubectl, spec: dict[str, Any], said: str) -> None:
    manifest = policy("wrong", "nowhere") | {"spec": spec}
    answer = apply(kubectl, manifest, "--dry-run=server")
    assert answer.returncode == 1
    assert said in answer.stderr


def test_right_policy_is_accepted_and_explained(kubectl: Kubectl) -> None:
    spec = {
        "enforcement": "Deny",
        "controls": {"privileged": {}},
        "podSecurityStandard": {"level": "baseline", "version": "v1.30"},
    }
    assert apply(kubectl, policy("right", "nowhere") | {"spec": spec}, "--dry-run=server").returncode == 0
    explained = kubectl.check("explain", "cpp.spec.controls.images.trustedRegistries")
    assert "Registries and repositories that images may come from" in explained


@pytest.mark.parametrize("name", ["web", "node-metrics", "database"])
def test_apply_and_check_agree_on_well_known_workloads(
    kubectl: Kubectl, cluster: Cluster, namespace: str, with_defaults: str, name: str, tmp_path: Path
) -> None:
    manifest = MANIFESTS / f"{name}.yaml"
    stored = json.loads(kubectl.check("get", "clusterpodpolicy", with_defaults, "-o", "json"))
    file = tmp_path / "policy.yaml"
    file.write_text(json.dumps(stored))
    checked = cluster.sekisho_cli("check", "-p", str(file), "--namespace", namespace, str(manifest))
    applied = kubectl("apply", "-f", str(manifest))
    assert applied.returncode == 0
    assert checked.returncode == (0 if name == "web" else 1), checked.stderr
    assert ("Warning" in applied.stderr) is (name != "web")
    kind = {"web": "deployment", "node-metrics": "daemonset", "database": "statefulset"}[name]
    if name == "web":
        wait_until(lambda: len(kubectl.check("get", "pods", "-o", "name").split()) == 2, SOON, "its pods are there")
    elif name == "database":
        shown = wait_until(lambda: _events(kubectl, f"{kind}/{name}"), SOON, "an Event says why there is no pod")
        assert _fields(checked.stdout) >= {"spec.initContainers[0].securityContext.runAsUser"}
        assert 'init container "own-volume"' in shown
        assert "securityContext.runAsUser is 0" in shown
    for field in _fields(checked.stdout):
        assert re.sub(r"^spec\.\w*[cC]ontainers\[\d+\]\.", "", field) in applied.stderr


def _events(kubectl: Kubectl, owner: str) -> str:
    shown = kubectl.check("events", "--for", owner)
    return shown if "PodDenied" in shown else ""


def _fields(text: str) -> set[str]:
    """The fields that a text names, from the pod's root, whether it names them in the pod or in the template."""
    words = (word.removeprefix("spec.template.") for word in text.split())
    return {word for word in words if word.startswith(("spec.", "securityContext."))}
