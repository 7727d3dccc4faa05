"""What CI and releases run on GitHub: the versions are those that the project says, and the commands exist."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.controlplane.build import HELM, older_versions

ROOT = Path(__file__).parents[2]
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text())["jobs"] for path in (ROOT / ".github" / "workflows").glob("*.yml")
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SUPPORT = (ROOT / "docs" / "support.md").read_text()


def steps(workflow: str, job: str) -> dict[str, dict[str, Any]]:
    """The steps of a job by their names; those without a name are left out."""
    return {step["name"]: step for step in WORKFLOWS[workflow][job]["steps"] if "name" in step}


def run(step: dict[str, Any], tmp_path: Path, **environment: str) -> dict[str, str] | None:
    """The variables that the command of a step sets for the next ones; None if it fails."""
    variables = tmp_path / "variables"
    variables.touch()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | environment | {"GITHUB_ENV": str(variables), "PATH": path}
    done = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=ROOT, env=environment)
    return None if done.returncode else dict(line.split("=", 1) for line in variables.read_text().splitlines())


def test_tests_run_on_every_older_kubernetes_that_can_be_built() -> None:
    assert WORKFLOWS["test"]["older"]["strategy"]["matrix"]["kubernetes"] == [*older_versions()]
    (row,) = (line for line in SUPPORT.splitlines() if line.startswith("| Kubernetes |"))
    assert [version for version in older_versions() if f" {version}" not in row] == []


def test_the_helm_that_tests_run_is_the_one_that_is_supported() -> None:
    (major, minor) = re.findall(r"helm\.sh/helm/v\d+ v(\d+)\.(\d+)\.", (HELM.folder / "go.mod").read_text())[0]
    assert f"\n| Helm | {major} | all run on {major}.{minor} |\n" in SUPPORT


def test_tests_run_on_every_python_that_is_supported() -> None:
    first = WORKFLOWS["test"]["test"]["steps"][1]["with"]["python-version"]
    tested = [first, *WORKFLOWS["test"]["unit"]["strategy"]["matrix"]["python"]]
    classifiers = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: Python :: " in line]
    assert classifiers == tested
    assert f" {tested[0]} to {tested[-1]} " in SUPPORT


def test_the_page_about_support_says_what_each_job_tests_and_on_which_versions() -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", SUPPORT, re.MULTILINE))
    assert list(table) == list(WORKFLOWS["test"])
    for job, row in table.items():
        python = WORKFLOWS["test"][job]["steps"][1]["with"]["python-version"]
        matrix = WORKFLOWS["test"][job].get("strategy", {}).get("matrix", {})
        versions = {python}.union(*matrix.values()) - {"${{ matrix.python }}"}
        assert versions <= set(re.findall(r"\d\.\d+", row)), job


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_the_commands_of_a_workflow_are_shell_and_make_has_their_targets(workflow: str) -> None:
    commands = [step["run"] for job in WORKFLOWS[workflow].values() for step in job.get("steps", ()) if "run" in step]
    assert commands
    for command in commands:
        checked = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, ""), command
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {target for command in commands for target in re.findall(r"\bmake ([a-z-]+)", command)} <= targets


def test_only_a_tag_of_the_packages_version_is_released(tmp_path: Path) -> None:
    step = steps("release", "release")["The tag is the package's version"]
    assert run(step, tmp_path, GITHUB_REF_NAME=f"v{PROJECT['version']}") == {"VERSION": PROJECT["version"]}
    assert run(step, tmp_path, GITHUB_REF_NAME="v0.0.1") is None


def shell(command: str, **environment: str) -> str:
    """What a command of a step writes. Raises CalledProcessError if it fails."""
    bash = ["bash", "-euo", "pipefail", "-c", command]
    return subprocess.run(
        bash, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def test_the_files_of_a_release_are_built_for_the_image_and_the_repository_of_the_workflow() -> None:
    repository = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "acme/sekisho"}
    command = steps("release", "release")["Files"]["run"]
    planned = shell(command, IMAGE="ghcr.io/acme/sekisho", DIGEST="sha256:d", MAKEFLAGS="n", **repository)
    image = '--image "ghcr.io/acme/sekisho" --digest "sha256:d"'
    assert f'-m tools.release {image} --source "https://github.com/acme/sekisho" ' in planned


def test_the_image_of_an_owner_with_capitals_has_a_name_that_registries_allow(tmp_path: Path) -> None:
    step = steps("release", "release")["The image's name, in small letters as registries require"]
    assert run(step, tmp_path, REGISTRY="ghcr.io", GITHUB_REPOSITORY="Acme/Sekisho") == {
        "IMAGE": "ghcr.io/acme/sekisho"
    }


def test_nothing_is_published_before_the_tests_have_passed() -> None:
    jobs = WORKFLOWS["release"]
    assert jobs["test"]["uses"] == "./.github/workflows/test.yml"
    assert jobs["release"]["needs"] == "test"
    assert "The tag is of a commit on main" in steps("release", "release")


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_actions_are_pinned_by_commit(workflow: str) -> None:
    used = [step["uses"] for job in WORKFLOWS[workflow].values() for step in job.get("steps", ()) if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)] == []


def test_the_base_image_of_a_release_is_the_one_that_the_dockerfile_names() -> None:
    first, _, rest = steps("release", "release")["The base image, by digest"]["run"].partition("\n")
    assert rest.startswith('digest=$(docker buildx imagetools inspect "$base" ')
    (named,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert shell(f'{first}\necho "$base"') == f"{named}\n"
