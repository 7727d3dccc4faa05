"""`sekisho policies`: list, show and controls."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given

from sekisho.controls import CONTROLS
from sekisho.policies import ClusterPodPolicy, compile_policy
from tests.strategies import SPECS
from tests.unit.cli.sekisho_command import RESTRICTED, policy_file, sekisho


def test_list_has_a_line_for_each_policy(tmp_path: Path) -> None:
    match = {"namespaces": ["shop", "team-*"], "podSelector": {"matchLabels": {"app": "x"}}}
    policy_file(tmp_path, "one", match=match, controls={"images": {"trustedRegistries": ["a.io"]}, "privileged": {}})
    policy_file(tmp_path, "two", enforcement="Warn", podSecurityStandard={"fromNamespaceLabels": True})
    result = sekisho("policies", "list", "-p", tmp_path, "--standard", "baseline:v1.30")
    assert result.exit_code == 0
    lines = [line.split("  ") for line in result.output.splitlines()]
    assert [[cell.strip() for cell in line if cell] for line in lines] == [
        ["NAME", "ENFORCEMENT", "STANDARD", "CONTROLS", "MATCH"],
        [
            "one",
            "Deny",
            "-",
            "privileged, images",
            'podSelector: {"matchLabels": {"app": "x"}}, namespaces: shop team-*',
        ],
        ["two", "Warn", "from namespace labels", "-", "every pod"],
        ["baseline:v1.30", "Deny", "baseline v1.30", "-", "every pod"],
    ]


def test_show_has_the_parameters_of_the_standard(tmp_path: Path) -> None:
    policy = policy_file(
        tmp_path,
        enforcement="Warn",
        podSecurityStandard={"level": "restricted", "version": "v1.30"},
        controls={
            "capabilities": {"allowedAdd": ["CHOWN"], "enforcement": "Deny"},
            "sysctls": {"enforcement": "Off"},
        },
        defaults={"profile": "restricted", "container": {"securityContext": {"readOnlyRootFilesystem": True}}},
    )
    shown = yaml.safe_load(sekisho("policies", "show", "-p", policy).output)
    assert shown["controls"]["capabilities"] == {
        "enforcement": "Deny",
        "allowedAdd": ["CHOWN"],
        "requiredDrop": ["ALL"],
    }
    assert shown["controls"]["privileged"] == {"enforcement": "Warn"}
    assert "sysctls" not in shown["controls"]
    assert shown["podSecurityStandard"] == "restricted v1.30"
    assert shown["defaults"]["container"]["readOnlyRootFilesystem"] is True
    assert shown["defaults"]["pod"]["runAsNonRoot"] is True


@given(SPECS)
def test_show_has_the_controls_that_are_judged(spec: Any) -> None:
    policy = msgspec.convert({"metadata": {"name": "p"}, "spec": spec}, ClusterPodPolicy)
    with TemporaryDirectory() as folder:
        shown = yaml.safe_load(sekisho("policies", "show", "-p", policy_file(Path(folder), **spec)).output)
    rules = [(rule.control, str(rule.enforcement)) for rule in compile_policy(policy).rules]
    assert [(name, control["enforcement"]) for name, control in shown["controls"].items()] == rules


def test_show_of_a_policy_by_namespace_labels_has_the_controls_that_it_names(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, podSecurityStandard={"fromNamespaceLabels": True}, controls={"capabilities": {}})
    shown = yaml.safe_load(sekisho("policies", "show", "-p", policy).output)
    assert list(shown["controls"]) == ["capabilities"]
    assert shown["controls"]["capabilities"]["requiredDrop"] == ["ALL"]


def test_show_requires_a_name_if_there_are_several(tmp_path: Path) -> None:
    for name in ("one", "two"):
        policy_file(tmp_path, name, controls={"privileged": {}})
    for args, expected in (
        ((), "there are several policies; NAME must be one of one, two"),
        (("three",), "there is no policy three"),
    ):
        result = sekisho("policies", "show", *args, "-p", tmp_path)
        assert (result.exit_code, expected in result.output) == (2, True)
    result = sekisho("policies", "show", "two", "-p", tmp_path)
    assert (result.exit_code, result.output.splitlines()[0]) == (0, "name: two")


@pytest.mark.parametrize("command", ["list", "show"])
def test_invalid_policies_are_reported(command: str, tmp_path: Path) -> None:
    result = sekisho("policies", command, "-p", policy_file(tmp_path, controls={"image": {}}))
    assert (result.exit_code, "unknown field; did you mean images?" in result.output) == (2, True)
    result = sekisho("policies", command)
    assert (result.exit_code, "there are no policies" in result.output) == (2, True)
    assert sekisho("policies", command, "-p", RESTRICTED).exit_code == 0


def test_controls_lists_all() -> None:
    lines = sekisho("policies", "controls").output.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(CONTROLS)


@pytest.mark.parametrize("name", CONTROLS)
def test_each_control_is_documented_with_its_parameters(name: str) -> None:
    result = sekisho("policies", "controls", name)
    assert result.exit_code == 0
    assert result.output.startswith(f"{name}: ")
    for parameter in CONTROLS[name].parameters.__struct_encode_fields__:
        assert f"\n  {parameter} (" in result.output
    assert "): \n" not in result.output


def test_an_unknown_control_is_reported() -> None:
    result = sekisho("policies", "controls", "previleged")
    assert (result.exit_code, "there is no control previleged; NAME must be one of privileged," in result.output) == (
        2,
        True,
    )
