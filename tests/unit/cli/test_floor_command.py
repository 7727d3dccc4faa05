"""`sekisho floor`: the objects on standard output, what they lack on standard error."""

from pathlib import Path
from typing import Any

import yaml

from tests.unit.cli.sekisho_command import policy_file, sekisho


def objects(output: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(output))


def namespaces(output: str) -> list[str]:
    selector = objects(output)[0]["spec"]["matchConstraints"]["namespaceSelector"]
    values: list[str] = selector["matchExpressions"][0]["values"]
    return values


def test_output_has_a_policy_and_its_binding(tmp_path: Path) -> None:
    result = sekisho("floor", "-p", policy_file(tmp_path, controls={"privileged": {}}))
    assert result.exit_code == 0
    assert [one["kind"] for one in objects(result.stdout)] == [
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ]
    assert result.stderr == "p: privileged\n"


def test_standard_error_says_in_80_columns_what_the_floor_lacks_and_why(tmp_path: Path) -> None:
    result = sekisho("floor", "-p", policy_file(tmp_path, podSecurityStandard={"level": "restricted"}))
    lines = result.stderr.splitlines()
    assert lines[0].startswith("p: privileged, hostNamespaces")
    assert "  without capabilities: capabilities.drop, which defaults set: only the webhook" in lines
    assert max(map(len, lines)) <= 80


def test_namespaces_that_are_not_judged_are_those_of_the_options(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, controls={"privileged": {}})
    assert namespaces(sekisho("floor", "-p", policy).stdout) == ["kube-system", "sekisho-system"]
    result = sekisho("floor", "-p", policy, "--sekisho-namespace", "guard", "--exclude-namespace", "cni")
    assert namespaces(result.stdout) == ["cni", "guard", "kube-system"]


def test_policies_of_which_the_floor_has_nothing_are_bad_input(tmp_path: Path) -> None:
    result = sekisho("floor", "-p", policy_file(tmp_path, controls={"runAsNonRoot": {}}))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "p: nothing\n  without runAsNonRoot: only the webhook judges it\n" in result.stderr
    assert "no ClusterPodPolicy denies anything that the floor can judge" in result.stderr


def test_waivers_of_the_files_count(tmp_path: Path) -> None:
    policy_file(tmp_path, controls={"privileged": {}})
    waiver = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "PolicyWaiver",
        "metadata": {"name": "w"},
        "spec": {"policies": ["p"], "controls": ["privileged"], "expires": "2999-01-01T00:00:00Z", "reason": "a test"},
    }
    (tmp_path / "waiver.yaml").write_text(yaml.safe_dump(waiver))
    result = sekisho("floor", "-p", tmp_path)
    [variable] = [one for one in objects(result.stdout)[0]["spec"]["variables"] if one["name"].startswith("privileged")]
    assert "variables.waiver_0" in variable["expression"]
