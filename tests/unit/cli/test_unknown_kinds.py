"""Workloads of kinds that Sekisho does not know: `check` says that it did not check their pods."""

import pytest

from tests.unit.cli.sekisho_command import sekisho

SPEC = "metadata: {name: web}\nspec: {template: {spec: {hostPID: true, containers: [{name: a, image: x}]}}}\n"
UNKNOWN = [
    ("apiVersion: argoproj.io/v1alpha1\nkind: Rollout\n", "Rollout of argoproj.io", "was not checked\n"),
    ("apiVersion: apps/v1\nkind: Deploymnet\n", "Deploymnet of apps", "; did you mean Deployment?\n"),
    (
        "apiVersion: extensions/v1beta1\nkind: DaemonSet\n",
        "DaemonSet of extensions",
        "; did you mean DaemonSet of apps?",
    ),
    ("apiVersion: v1\nkind: Deployment\n", "Deployment of v1", "; did you mean Deployment of apps?\n"),
    ("apiVersion: serving.knative.dev/v1\nkind: Service\n", "Service of serving.knative.dev", "was not checked\n"),
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
    assert "note: <stdin>:1:1: Rollout of argoproj.io is not a kind with pods that Sekisho knows" in result.stderr


NESTED = "apiVersion: jobset.x-k8s.io/v1alpha2\nkind: JobSet\nspec: {replicatedJobs: [{template: %s}]}\n"


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
