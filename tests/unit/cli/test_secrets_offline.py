"""Nothing secret of a manifest is in what the commands say about it; only `fix` writes the manifest itself."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.secret_pods import ALL_CONTROLS, SECRET, pod_with_secrets
from tests.unit.cli.sekisho_command import policy_file, sekisho

VALUES = {"PASSWORD": f"{SECRET}-value", "TOKEN": f"ghp_{SECRET}" + "a1" * 15, "URL": f"postgres://web:{SECRET}@db/x"}


def manifests() -> str:
    """A pod and a Deployment that break every rule, with secrets in every place, and in several forms in variables."""
    pod = pod_with_secrets()
    for key in ("containers", "initContainers"):
        pod["spec"][key][0]["env"] += [{"name": name, "value": value} for name, value in VALUES.items()]
        pod["spec"][key][0]["envFrom"] = [{"secretRef": {"name": f"{SECRET}-login"}}]
    template = {"metadata": {"annotations": pod["metadata"]["annotations"]}, "spec": pod["spec"]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "bad", "annotations": pod["metadata"]["annotations"]},
        "spec": {"template": template},
    }
    return f"{json.dumps(pod)}\n---\n{json.dumps(deployment)}\n"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    controls = ALL_CONTROLS | {
        "annotations": ALL_CONTROLS["annotations"] | {"onWorkloads": True},
        "secretsInEnv": {"denySecretRefs": True},
    }
    defaults = {"profile": "restricted", "container": {"imagePullPolicy": "Always"}}
    standard = {"level": "restricted"}
    return policy_file(tmp_path, podSecurityStandard=standard, controls=controls, defaults=defaults, templates="Deny")


@pytest.mark.parametrize("form", ["text", "json", "github", "junit", "sarif"])
def test_no_report_of_check_holds_a_secret(policy: Path, form: str) -> None:
    result = sekisho("check", "-p", policy, "-o", form, "-", text=manifests())
    assert result.exit_code == 1
    assert "secretsInEnv" in result.output
    assert SECRET not in result.output


def test_explain_holds_no_secret(policy: Path) -> None:
    result = sekisho("explain", "-p", policy, "-", text=manifests())
    assert "secretsInEnv" in result.output
    assert SECRET not in result.output


def test_fix_says_nothing_secret_and_keeps_what_the_manifest_says(policy: Path) -> None:
    result = sekisho("fix", "-p", policy, "--all", "-", text=manifests())
    assert "secretsInEnv" in result.stderr
    assert SECRET not in result.stderr
    fixed: list[dict[str, Any]] = list(yaml.safe_load_all(result.stdout))
    assert fixed[0]["spec"]["containers"][0]["env"][-1]["value"] == VALUES["URL"]


@pytest.mark.parametrize(
    "broken", ['"env": "hunter2"', '"env": [{"name": "A", "value": {"a": "hunter2"}}]', '"stdin": "hunter2"']
)
def test_message_about_a_field_of_another_type_does_not_show_it(policy: Path, broken: str) -> None:
    text = (
        f'{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "p"}}, "spec": {{"containers": [{{{broken}}}]}}}}'
    )
    for command in ("check", "explain", "fix"):
        result = sekisho(command, "-p", policy, "-", text=text)
        assert result.exit_code == 2
        assert "spec.containers[0]" in result.stderr
        assert SECRET not in result.stderr
