"""`--baseline` and `--write-baseline`: only findings that are not in the file fail; and `--fail-on`."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, policy_file, sekisho

BASELINE = ("--standard", "baseline")
PORTS = (
    "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n"
    "  - {name: a, image: x, ports: [{containerPort: 1, hostPort: 1}]}\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/pod.yaml").write_text(BAD_POD)
    return tmp_path


def written(folder: Path) -> Any:
    return yaml.safe_load((folder / "known.yaml").read_text())["findings"]


def run(folder: Path, option: str = "--baseline", code: int = 0) -> str:
    result = sekisho("check", *BASELINE, option, folder / "known.yaml", folder / "deploy")
    assert result.exit_code == code, result.output
    return result.output


def test_only_new_findings_are_reported(folder: Path) -> None:
    assert "1 checked: 1 pass, 0 denied; 1 known finding left out\n" in run(folder, "--write-baseline")
    assert written(folder) == [
        {
            "file": "deploy/pod.yaml",
            "object": "Pod default/bad",
            "control": "hostNamespaces",
            "subject": "the pod",
            "field": "spec.hostPID",
            "value": "true",
        }
    ]
    run(folder)
    (folder / "deploy/pod.yaml").write_text("# one line more\n" + BAD_POD)
    run(folder)
    (folder / "deploy/pod.yaml").write_text(BAD_POD.replace("{hostPID", "{hostIPC: true, hostPID"))
    output = run(folder, code=1)
    assert ("spec.hostIPC is true" in output, "spec.hostPID" in output) == (True, False)


@pytest.mark.parametrize(
    "text",
    [
        PORTS.replace("{name: a", "{name: b"),
        PORTS.replace("hostPort: 1}", "hostPort: 1}, {containerPort: 1, hostPort: 1}"),
        PORTS.replace("hostPort: 1}", "hostPort: 2}"),
        PORTS.replace("{name: p}", "{name: q}"),
    ],
    ids=["another container", "once more", "another value", "another object"],
)
def test_what_differs_is_new(folder: Path, text: str) -> None:
    (folder / "deploy/pod.yaml").write_text(PORTS)
    run(folder, "--write-baseline")
    moved = PORTS.replace("  - {name: a", "  - {name: first, image: x}\n  - {name: a")
    (folder / "deploy/pod.yaml").write_text(moved)
    run(folder)
    (folder / "deploy/pod.yaml").write_text(text)
    run(folder, code=1)


def test_a_finding_in_another_file_is_new(folder: Path) -> None:
    run(folder, "--write-baseline")
    (folder / "deploy/other.yaml").write_text(BAD_POD)
    run(folder, code=1)


def test_the_same_findings_are_counted(folder: Path) -> None:
    text = PORTS.replace("hostPort: 1}", "hostPort: 1}, {containerPort: 1, hostPort: 1}")
    (folder / "deploy/pod.yaml").write_text(text)
    run(folder, "--write-baseline")
    assert [entry["count"] for entry in written(folder)] == [2]
    run(folder)


def test_values_that_begin_alike_are_not_the_same(folder: Path) -> None:
    policy = policy_file(folder, controls={"images": {"trustedRegistries": ["trusted.io"]}})
    image = f"evil.io/{'x' * 150}"
    arguments = ("check", "-p", policy, folder / "deploy")
    (folder / "deploy/pod.yaml").write_text(PORTS.replace("image: x", f"image: {image}"))
    assert sekisho(*arguments, "--write-baseline", folder / "known.yaml").exit_code == 0
    assert sekisho(*arguments, "--baseline", folder / "known.yaml").exit_code == 0
    (folder / "deploy/pod.yaml").write_text(PORTS.replace("image: x", f"image: {image}y"))
    assert sekisho(*arguments, "--baseline", folder / "known.yaml").exit_code == 1


def test_no_hidden_value_is_written(folder: Path) -> None:
    policy = policy_file(folder, controls={"secretsInEnv": {}})
    secret = PORTS.replace("image: x", "image: x, env: [{name: DB_PASSWORD, value: hunter2-hunter2}]")
    (folder / "deploy/pod.yaml").write_text(secret)
    result = sekisho("check", "-p", policy, folder / "deploy", "--write-baseline", folder / "known.yaml")
    assert result.exit_code == 0
    [entry] = written(folder)
    assert (entry["control"], "hunter2" in str(entry), len(entry["value"]) < 40) == ("secretsInEnv", False, True)


def test_findings_that_are_gone_are_counted_in_a_note(folder: Path) -> None:
    run(folder, "--write-baseline")
    (folder / "deploy/pod.yaml").write_text(GOOD_POD)
    assert "known.yaml: 1 of its findings are gone; --write-baseline removes them from it" in run(folder)


def test_standard_input_has_a_baseline_too(folder: Path) -> None:
    arguments = ("check", *BASELINE, "-")
    assert sekisho(*arguments, "--write-baseline", folder / "known.yaml", text=BAD_POD).exit_code == 0
    result = sekisho(*arguments, "--baseline", folder / "known.yaml", "-o", "json", text=BAD_POD)
    assert (result.exit_code, json.loads(result.stdout)["summary"]["known"]) == (0, 1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not a baseline: it must hold one document with findings"),
        ("a: 1\n", ":1:1: is not a baseline: Object contains unknown field `a`"),
        ("findings: [{file: a}]\n", "is not a baseline: findings[0]: Object missing required field 'object'"),
        ("findings: {{\n", "known.yaml:"),
    ],
)
def test_a_file_that_is_not_a_baseline_is_an_error(folder: Path, text: str, problem: str) -> None:
    (folder / "known.yaml").write_text(text)
    assert problem in run(folder, code=2)


def test_a_missing_baseline_is_an_error(folder: Path) -> None:
    assert "known.yaml: cannot be read: No such file" in run(folder, code=2)


def test_a_baseline_cannot_be_read_and_written_in_one_run(folder: Path) -> None:
    both = ("--baseline", folder / "a", "--write-baseline", folder / "b")
    result = sekisho("check", *BASELINE, *both, folder / "deploy")
    assert (result.exit_code, "use either" in result.stderr) == (2, True)


def test_an_object_that_cannot_be_judged_fails_although_a_baseline_was_written(folder: Path) -> None:
    (folder / "deploy/pod.yaml").write_text("apiVersion: v1\nkind: Pod\nspec: {hostPID: 1}\n")
    run(folder, "--write-baseline", code=2)
    run(folder, code=2)


@pytest.mark.parametrize(("enforcement", "codes"), [("Deny", (1, 1)), ("Warn", (0, 1)), ("Audit", (0, 0))])
def test_warnings_fail_only_if_an_option_says_so(enforcement: str, codes: tuple[int, int], tmp_path: Path) -> None:
    policy = policy_file(tmp_path, enforcement=enforcement, controls={"hostNamespaces": {}})
    assert codes == tuple(
        sekisho("check", "--fail-on", level, "-p", policy, "-", text=BAD_POD).exit_code for level in ("deny", "warn")
    )
    assert sekisho("check", "--fail-on", "warn", "-p", policy, "-", text=GOOD_POD).exit_code == 0
