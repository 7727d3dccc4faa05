"""`sekisho check`: verdicts, exit codes, and bad input with its place."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sekisho.cli import main

MANIFESTS = Path(__file__).parents[2] / "manifests"
LIBRARY = Path(__file__).parents[3] / "policies"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: app, image: trusted.io/x%s}]\n"


def check(*args: str | Path, text: str | None = None) -> Result:
    result = CliRunner().invoke(main, ["check", *map(str, args)], input=text)
    assert "Traceback" not in result.output
    return result


def test_plain_deployment_passes_with_the_defaults_filled_in() -> None:
    result = check("-p", LIBRARY / "restricted/policy.yaml", MANIFESTS / "web.yaml")
    assert (result.exit_code, result.output) == (0, "1 checked: 1 pass, 0 refused\n")


def test_without_the_policys_defaults_the_plain_deployment_is_refused() -> None:
    result = check("--standard", "restricted", MANIFESTS / "web.yaml")
    assert result.exit_code == 1
    assert "spec.template" not in result.output
    assert "securityContext.allowPrivilegeEscalation is unset" in result.output


def test_node_exporter_is_refused_for_each_thing_it_takes_from_the_host() -> None:
    result = check("-p", LIBRARY / "restricted/policy.yaml", MANIFESTS / "node-metrics.yaml")
    assert result.exit_code == 1
    for field in (
        "spec.hostNetwork",
        "spec.hostPID",
        "spec.volumes[0].hostPath",
        "spec.containers[0].ports[0].hostPort",
    ):
        assert f"{field} is" in result.output


def test_root_init_container_is_refused_and_named() -> None:
    result = check("-p", LIBRARY / "restricted/policy.yaml", MANIFESTS / "database.yaml")
    assert result.exit_code == 1
    assert 'init container "own-volume" for the user it runs as: ' in result.output
    assert "spec.initContainers[0].securityContext.runAsUser is 0" in result.output
    assert 'container "database": ' not in result.output.replace('init container "own-volume"', "")


def test_standard_input_lists_and_objects_without_pods() -> None:
    text = (
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n"
        "- {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {hostPID: true}}\n"
    )
    result = check("--standard", "baseline", "-", text=text)
    assert result.exit_code == 1
    assert "<stdin>:5:3: Pod default/p" in result.output
    assert "1 checked: 0 pass, 1 refused; 1 objects without pods passed over" in result.output


def test_cron_job_is_judged_by_its_template() -> None:
    head = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\n"
    text = head + "spec: {jobTemplate: {spec: {template: {spec: {hostIPC: true}}}}}\n"
    assert check("--standard", "baseline", "-", text=text).exit_code == 1
    assert check("--standard", "baseline", "-", text=text.replace("hostIPC: true", "hostIPC: false")).exit_code == 0


def test_namespace_decides_which_policies_match(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "apiVersion: sekisho.dev/v1alpha1\nkind: ClusterPodPolicy\nmetadata: {name: p}\n"
        "spec: {match: {namespaces: [shop]}, controls: {images: {trustedRegistries: [other.io]}}}\n"
    )
    assert check("-p", policy, "-", text=POD % "").exit_code == 0
    assert check("-p", policy, "-n", "shop", "-", text=POD % "").exit_code == 1


BAD_INPUT = [
    (POD % "" + "  containers: []\n", "<stdin>:6:3: the key 'containers' is there twice"),
    ("kind: Pod\n", "<stdin>:1:1: is not a Kubernetes object: it needs apiVersion and kind"),
    ("- a\n", "<stdin>:1:1: is not a Kubernetes object"),
    ("a: b: c\n", "<stdin>:1:5: mapping values are not allowed"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {}\nspec:\n\thostPID: true\n", "<stdin>:5:1: a tab cannot indent YAML"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {}\nspec:\n  hostPID: maybe\n", "<stdin>:5:3: spec.hostPID: Expected"),
    (
        "apiVersion: v1\nkind: Pod\nmetadata: {}\nspec: {containers: [{image: 5}]}\n",
        "spec.containers[0].image: Expected",
    ),
]


@pytest.mark.parametrize(("text", "expected"), BAD_INPUT)
def test_bad_manifest_is_named_with_its_place(text: str, expected: str) -> None:
    result = check("--standard", "baseline", "-", text=text)
    assert result.exit_code == 2
    assert expected in result.output


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["-"], "nothing to check against"),
        (["--standard", "strict", "-"], "the level must be privileged, baseline or restricted"),
        (["--standard", "baseline:v1.99", "-"], "v1.99"),
        (["-p", "gone.yaml", "-"], "gone.yaml: there is no such file or folder"),
        (["--standard", "baseline", "gone.yaml"], "gone.yaml: cannot be read: No such file or directory"),
    ],
)
def test_bad_option_is_named(args: list[str], expected: str) -> None:
    result = check(*args, text=POD % "")
    assert result.exit_code == 2
    assert expected in result.output


def test_wrong_policy_is_named_with_its_place(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "apiVersion: sekisho.dev/v1alpha1\nkind: ClusterPodPolicy\nmetadata: {name: p}\n"
        "spec:\n  controls:\n    image: {}\n"
    )
    result = check("-p", policy, "-", text=POD % "")
    assert result.exit_code == 2
    assert f"error: {policy}:6:12: spec.controls.image: unknown field; did you mean images?" in result.output
