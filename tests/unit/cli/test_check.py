"""`sekisho check`: verdicts and exit codes."""

from pathlib import Path

import pytest

from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, MANIFESTS, POD, RESTRICTED, policy_file, sekisho

TEMPLATES = [
    ("v1", "PodTemplate", "template", 1),
    ("v1", "ReplicationController", "spec.template", 1),
    ("apps/v1", "ReplicaSet", "spec.template", 1),
    ("apps/v1", "Deployment", "spec.template", 1),
    ("apps/v1", "StatefulSet", "spec.template", 1),
    ("apps/v1", "DaemonSet", "spec.template", 1),
    ("batch/v1", "Job", "spec.template", 1),
    ("batch/v1", "CronJob", "spec.jobTemplate.spec.template", 1),
    ("v1", "Pod", "", 1),
    ("extensions/v1beta1", "DaemonSet", "spec.template", 1),
    ("apps/v1beta2", "Deployment", "spec.template", 1),
    ("argoproj.io/v1alpha1", "Rollout", "spec.template", 1),
    ("serving.knative.dev/v1", "Revision", "", 1),
    ("example.com/v1", "Rollout", "spec.template", 0),
    ("example.com/v1", "Deployment", "spec.template", 0),
]


def workload(api_version: str, kind: str, path: str, spec: str) -> str:
    parts = [*filter(None, path.split(".")), "spec"]
    opening = "".join(f"{part}: {{" for part in parts)
    return f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: w}}\n{opening}{spec}{'}' * len(parts)}\n"


@pytest.mark.parametrize(("api_version", "kind", "path", "checked"), TEMPLATES)
def test_every_workload_kind_is_judged_by_its_template(api_version: str, kind: str, path: str, checked: int) -> None:
    result = sekisho("check", "--standard", "baseline", "-", text=workload(api_version, kind, path, "hostPID: true"))
    assert result.exit_code == checked
    assert f"{checked} checked" in result.output
    assert (f"{path}.spec.hostPID is true".lstrip(".") in result.output) is bool(checked)
    result = sekisho("check", "--standard", "baseline", "-", text=workload(api_version, kind, path, "hostPID: false"))
    assert (result.exit_code, f"{checked} checked: {checked} pass, 0 denied" in result.output) == (0, True)


def test_plain_deployment_passes_with_defaults() -> None:
    result = sekisho("check", "-p", RESTRICTED, MANIFESTS / "web.yaml")
    assert (result.exit_code, result.output) == (0, "1 checked: 1 pass, 0 denied\n")


def test_plain_deployment_is_denied_without_defaults() -> None:
    result = sekisho("check", "--standard", "restricted", MANIFESTS / "web.yaml")
    assert result.exit_code == 1
    assert "spec.template.spec.containers[0].securityContext.allowPrivilegeEscalation is unset" in result.output


def test_paths_in_a_fix_are_those_of_the_manifest() -> None:
    result = sekisho("check", "--standard", "restricted", MANIFESTS / "web.yaml")
    assert "Fix: set spec.template.spec.securityContext.runAsNonRoot to true." in result.output


def test_node_exporter_is_denied_for_each_thing_it_uses_of_the_host() -> None:
    result = sekisho("check", "-p", RESTRICTED, MANIFESTS / "node-metrics.yaml")
    assert result.exit_code == 1
    for field in ("hostNetwork", "hostPID", "volumes[0].hostPath", "containers[0].ports[0].hostPort"):
        assert f"spec.template.spec.{field} is" in result.output


def test_each_finding_has_the_place_of_its_field() -> None:
    result = sekisho("check", "-p", RESTRICTED, MANIFESTS / "node-metrics.yaml")
    lines = (MANIFESTS / "node-metrics.yaml").read_text().splitlines()
    locations = [line.split(": ")[0] for line in result.output.splitlines() if ": denied: " in line]
    assert len(locations) == 5
    for location, key in zip(locations, ("hostNetwork", "hostPID", "path", "path", "hostPort"), strict=True):
        _, line, column = location.rsplit(":", 2)
        assert lines[int(line) - 1][int(column) - 1 :].lstrip("{").startswith(key)


def test_root_init_container_is_denied_and_named() -> None:
    result = sekisho("check", "-p", RESTRICTED, MANIFESTS / "database.yaml")
    assert result.exit_code == 1
    assert "spec.template.spec.initContainers[0].securityContext.runAsUser is 0" in result.output
    assert 'init container "own-volume"' in result.output
    assert 'denied: container "database"' not in result.output


def test_lists_and_objects_without_pods() -> None:
    text = (
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n"
        "- {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {hostPID: true}}\n"
    )
    result = sekisho("check", "--standard", "baseline", "-", text=text)
    assert result.exit_code == 1
    assert "<stdin>:5:3: Pod default/p" in result.output
    assert "<stdin>:5:59: denied: the pod" in result.output
    assert "1 checked: 0 pass, 1 denied; 1 object without pods ignored" in result.output


@pytest.mark.parametrize(("value", "code"), [("true", 1), ("false", 0)])
def test_items_of_a_typed_list_have_its_kind(value: str, code: int) -> None:
    text = f"apiVersion: v1\nkind: PodList\nitems: [{{metadata: {{name: p}}, spec: {{hostPID: {value}}}}}]\n"
    result = sekisho("check", "--standard", "baseline", "-", text=text)
    assert (result.exit_code, "1 checked" in result.output) == (code, True)


def test_a_warning_is_shown_and_does_not_fail(tmp_path: Path) -> None:
    for enforcement, shown, code in (("Warn", "warning", 0), ("Audit", "audit note", 0), ("Deny", "denied", 1)):
        policy = policy_file(tmp_path, enforcement=enforcement, controls={"hostNamespaces": {}})
        result = sekisho("check", "-p", policy, "-", text=BAD_POD)
        assert result.exit_code == code
        assert f"<stdin>:4:8: {shown}: the pod for host namespaces" in result.output
    result = sekisho("check", "-p", policy, "-", text=GOOD_POD)
    assert (result.exit_code, result.output) == (0, "1 checked: 1 pass, 0 denied\n")


def test_namespace_decides_which_policies_match(tmp_path: Path) -> None:
    policy = policy_file(
        tmp_path, match={"namespaces": ["shop"]}, controls={"images": {"trustedRegistries": ["other.io"]}}
    )
    assert sekisho("check", "-p", policy, "-", text=POD % "").exit_code == 0
    assert sekisho("check", "-p", policy, "-n", "shop", "-", text=POD % "").exit_code == 1
    named = POD.replace("{name: p}", "{name: p, namespace: shop}")
    assert sekisho("check", "-p", policy, "-", text=named % "").exit_code == 1


def test_a_folder_is_read_in_the_order_of_file_names(tmp_path: Path) -> None:
    for name in ("b.yaml", "sub/c.json", "a.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(BAD_POD)
    (tmp_path / "kustomization.yaml").write_text("resources: [a.yml]\n")
    (tmp_path / "notes.txt").write_text("no manifest")
    result = sekisho("check", "--standard", "baseline", tmp_path)
    titles = [line.split(":")[0] for line in result.output.splitlines() if line.endswith("Pod default/bad")]
    assert titles == [str(tmp_path / name) for name in ("a.yml", "b.yaml", "sub/c.json")]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["-"], "there are no policies"),
        (["--standard", "strict", "-"], "the level must be privileged, baseline or restricted"),
        (["--standard", "baseline:v1.99", "-"], "v1.99"),
        (["-p", "gone.yaml", "-"], "gone.yaml: there is no such file or folder"),
        (["--standard", "baseline", "gone.yaml"], "gone.yaml: cannot be read: No such file or directory"),
        (["--standard", "baseline", "--output", "xml", "-"], "'xml' is not one of"),
        (["--standard", "baseline", "--namespace-labels", "gone.yaml", "-"], "gone.yaml: cannot be read"),
    ],
)
def test_bad_option_is_reported(args: list[str], expected: str) -> None:
    result = sekisho("check", *args, text=POD % "")
    assert result.exit_code == 2
    assert expected in result.output


def test_invalid_policy_is_reported_with_its_place(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, controls={"image": {}})
    result = sekisho("check", "-p", policy, "-", text=POD % "")
    assert result.exit_code == 2
    assert f"Error: {policy}:7:12: spec.controls.image: unknown field; did you mean images?" in result.output


def test_two_policies_with_one_name_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    paths = [policy_file(folder, controls={"privileged": {}}) for folder in (tmp_path, tmp_path / "other")]
    result = sekisho("check", "-p", paths[0], "-p", paths[1], "-", text=GOOD_POD)
    assert (result.exit_code, "two policies have this name" in result.output) == (2, True)
    assert sekisho("check", "-p", paths[0], "-", text=GOOD_POD).exit_code == 0


GATEWAY = """apiVersion: apps/v1
kind: Deployment
metadata: {name: gw}
spec:
  template:
    metadata: {labels: {sidecar.istio.io/inject: "true"}}
    spec: {containers: [{name: istio-proxy, image: auto}]}
"""


def test_the_image_of_an_injected_container_is_noted_and_not_judged(tmp_path: Path) -> None:
    images = {"trustedRegistries": ["docker.io/istio"], "deniedTags": ["latest"]}
    policy = policy_file(tmp_path, controls={"images": images})
    result = sekisho("check", "-p", policy, "-", text=GATEWAY)
    note = 'the image of container "istio-proxy" is a placeholder that Istio\'s injector replaces'
    assert (result.exit_code, f"note: Deployment default/gw: {note}" in result.stderr) == (0, True)
    assert f"    images: not decided: {note}" in sekisho("explain", "-p", policy, "-", text=GATEWAY).output
    assert sekisho("check", "-p", policy, "-", text=GATEWAY.replace("auto", "auto:1")).exit_code == 1
