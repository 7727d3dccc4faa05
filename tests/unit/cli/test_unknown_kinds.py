"""Workloads of kinds that Sekisho does not know: `check` says that it did not check their pods."""

from pathlib import Path

import pytest

from tests.unit.cli.sekisho_command import sekisho

SPEC = "metadata: {name: web}\nspec: {template: {spec: {hostPID: true, containers: [{name: a, image: x}]}}}\n"
UNKNOWN = [
    ("apiVersion: example.com/v1\nkind: Widget\n", "Widget of example.com", "was not checked\n"),
    ("apiVersion: argoproj.io/v1alpha1\nkind: Rolout\n", "Rolout of argoproj.io", "; did you mean Rollout?\n"),
    ("apiVersion: apps/v1\nkind: Deploymnet\n", "Deploymnet of apps", "; did you mean Deployment?\n"),
    ("apiVersion: v1\nkind: Deployment\n", "Deployment of v1", "; did you mean Deployment of apps?\n"),
    (
        "apiVersion: argoproj.io/v1\nkind: JobSet\n",
        "JobSet of argoproj.io",
        "; did you mean JobSet of jobset.x-k8s.io?\n",
    ),
]


@pytest.mark.parametrize(("head", "kind", "end"), UNKNOWN)
def test_unknown_kind_with_containers_is_reported(head: str, kind: str, end: str) -> None:
    result = sekisho("check", "--standard", "baseline", "-", text=head + SPEC)
    assert result.exit_code == 0
    note = f"note: <stdin>:1:1: {kind} is not a kind with pods that Sekisho knows, so spec.template.spec.containers "
    assert note in result.stderr
    assert end in result.stderr


def test_explain_reports_an_unknown_kind_too() -> None:
    result = sekisho("explain", "--standard", "baseline", "-", text=UNKNOWN[0][0] + SPEC)
    assert result.exit_code == 2
    assert "note: <stdin>:1:1: Widget of example.com is not a kind with pods that Sekisho knows" in result.stderr


NESTED = "apiVersion: example.com/v1\nkind: Jobs\nspec: {replicatedJobs: [{template: %s}]}\n"


def test_nested_containers_are_found() -> None:
    text = NESTED % "{spec: {template: {spec: {containers: [{image: x}]}}}}"
    stderr = sekisho("check", "--standard", "baseline", "-", text=text).stderr
    assert "so spec.replicatedJobs[0].template.spec.template.spec.containers was not checked" in stderr


KNOWN = [
    "apiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {containers: [{image: x}]}}}\n",
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {containers: x}\n",
    "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {app: x}}\n",
    NESTED % "{spec: {containers: {type: array}}}",
    NESTED % "{spec: {containers: [a]}}",
]


@pytest.mark.parametrize("text", KNOWN)
def test_objects_without_containers_are_not_reported(text: str) -> None:
    result = sekisho("check", "--standard", "baseline", "-", text=text)
    assert (result.exit_code, "was not checked" in result.stderr) == (0, False)


@pytest.mark.parametrize(("kind", "meant"), [("Deploymnet", "Deployment"), ("StatefulSets", "StatefulSet")])
def test_a_misspelt_kind_without_containers_is_reported_too(kind: str, meant: str) -> None:
    text = (
        f"apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{template: {{spec: {{hostPID: true}}}}}}\n"
    )
    stderr = sekisho("check", "--standard", "baseline", "-", text=text).stderr
    assert f"note: <stdin>:1:1: {kind} of apps is not a kind of that group; did you mean {meant}?\n" in stderr


PIECES = [
    "apiVersion: example.com/v1alpha1\nkind: Flow\nspec: {templates: [{name: a, container: {image: x}}]}\n",
    "apiVersion: example.com/v1\nkind: Step\nspec: {steps: [{name: a, image: x}]}\n",
    "apiVersion: example.com/v1\nkind: StepRun\nspec: {taskSpec: {steps: [{name: a, image: x}]}}\n",
    "apiVersion: example.com/v1alpha1\nkind: CronFlow\nspec: {workflowSpec: {templates: [{script: {image: x}}]}}\n",
]


@pytest.mark.parametrize("text", PIECES)
def test_kinds_that_build_pods_from_pieces_are_reported(text: str) -> None:
    assert "was not checked\n" in sekisho("check", "--standard", "baseline", "-", text=text).stderr


@pytest.mark.parametrize("text", [UNKNOWN[0][0] + SPEC, "apiVersion: v1\nkind: Poodle\n", *PIECES])
def test_an_unknown_kind_fails_where_an_option_says_so(text: str) -> None:
    result = sekisho("check", "--standard", "baseline", "--fail-on-unknown", "-", text=text)
    assert (result.exit_code, result.stderr.startswith("Error: <stdin>:1:1: ")) == (2, True)
    assert sekisho("check", "--standard", "baseline", "-", text=text).exit_code == 0


@pytest.mark.parametrize("text", KNOWN[1:])
def test_known_kinds_do_not_fail_then(text: str) -> None:
    assert sekisho("check", "--standard", "baseline", "--fail-on-unknown", "-", text=text).exit_code == 0


def test_a_template_that_is_not_rendered_fails_then(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text("kind: {{ .Values.kind }}\n")
    (tmp_path / "values.yaml").write_text("a: b\n")
    arguments = ("check", "--standard", "baseline", tmp_path)
    assert sekisho(*arguments).exit_code == 0
    result = sekisho(*arguments, "--fail-on-unknown")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {tmp_path}/pod.yaml: Helm template, and so not judged\n")
