"""The pytest plugin and the pre-commit hook."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from sekisho.cli import main
from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, RESTRICTED, ROOT, sekisho

TESTS = f"""
import pytest, sekisho

BAD, GOOD = {BAD_POD!r}, {GOOD_POD!r}

def test_good(sekisho_check):
    (checked,) = sekisho_check(GOOD)
    assert not checked.is_denied

def test_bad(sekisho_check):
    sekisho_check(BAD)

def test_unreadable(sekisho_check):
    sekisho_check("a: b: c")

def test_own_policies(sekisho_check):
    sekisho_check(BAD, sekisho.load_policies(standard="privileged"))
"""


def run(folder: Path, configuration: str) -> tuple[str, dict[str, str]]:
    (folder / "test_it.py").write_text(TESTS)
    (folder / "pytest.ini").write_text(f"[pytest]\n{configuration}\n")
    options = ["-p", "no:asyncio", "-p", "no:cacheprovider", "-rA", "-W", "error"]
    done = subprocess.run([sys.executable, "-m", "pytest", *options], cwd=folder, capture_output=True, text=True)
    summary = (line.split() for line in done.stdout.splitlines() if line.startswith(("PASSED ", "FAILED ", "ERROR ")))
    return done.stdout, {words[1].partition("::")[2]: words[0] for words in summary}


@pytest.mark.parametrize(
    "configuration", ["sekisho_standard = baseline", f"sekisho_policies = {RESTRICTED}\nsekisho_standard = baseline"]
)
def test_pods_that_would_be_denied_fail_a_test(configuration: str, tmp_path: Path) -> None:
    output, outcomes = run(tmp_path, configuration)
    assert outcomes == {
        "test_good": "PASSED",
        "test_own_policies": "PASSED",
        "test_bad": "FAILED",
        "test_unreadable": "FAILED",
    }
    assert "<manifest>:4:8: denied: the pod for host namespaces: spec.hostPID is true" in output
    assert "<manifest>:1:5: mapping values" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [("", "sekisho_check needs policies"), ("sekisho_policies = gone.yaml", "gone.yaml: there is no such file")],
)
def test_without_policies_the_plugin_says_what_to_set(configuration: str, expected: str, tmp_path: Path) -> None:
    output, outcomes = run(tmp_path, configuration)
    assert expected in output
    assert outcomes["test_own_policies"] == "PASSED"
    assert "test_good" not in outcomes or outcomes["test_good"] != "PASSED"


def test_the_pre_commit_hook_runs_an_existing_command(tmp_path: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, *args = hook["entry"].split()
    assert program == "sekisho"
    assert main.get_command(click.Context(main), args[0]) is not None
    for text, code in ((BAD_POD, 1), (GOOD_POD, 0)):
        (tmp_path / "pod.yaml").write_text(text)
        assert sekisho(*args, "--standard", "baseline", tmp_path / "pod.yaml").exit_code == code
