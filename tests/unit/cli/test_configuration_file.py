"""`.sekisho.yaml` and `[tool.sekisho]`: options that a repository sets for everybody."""

import re
from pathlib import Path

import pytest
import yaml
from msgspec.structs import fields

from sekisho.cli.configuration import Configuration
from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, RESTRICTED, ROOT, sekisho


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with manifests, which is the current folder."""
    for name, text in {"deploy/good.yaml": GOOD_POD, "tests/bad.yaml": BAD_POD, "deploy/sub/.keep": ""}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


YAML = "standard: baseline\npaths: [.]\nexclude: [tests]\n"
TOML = '[tool.other]\na = 1\n[tool.sekisho]\nstandard = "baseline"\npaths = ["."]\nexclude = ["tests"]\n'


@pytest.mark.parametrize(("name", "text"), [(".sekisho.yaml", YAML), ("pyproject.toml", TOML)])
@pytest.mark.parametrize("below", [".", "deploy/sub"])
def test_the_configuration_stands_for_options(
    name: str, text: str, below: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / name).write_text(text)
    monkeypatch.chdir(repository / below)
    result = sekisho("check")
    assert (result.exit_code, "1 checked: 1 pass, 0 denied" in result.stdout) == (0, True)
    (repository / name).write_text(text.replace("tests", "tasks"))
    assert sekisho("check").exit_code == 1


def test_the_command_line_and_the_environment_override_the_configuration(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / ".sekisho.yaml").write_text(YAML + "output: github\n")
    assert "::error" not in sekisho("check", "-o", "text", "tests", "--exclude", "x").stdout
    assert sekisho("check", "--exclude", "nothing").stdout.startswith("::error file=tests/bad.yaml")
    monkeypatch.setenv("SEKISHO_CHECK_STANDARD", "privileged")
    assert sekisho("check", "--exclude", "nothing").exit_code == 0


def test_paths_are_relative_to_the_file(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "own.yaml").write_text("policies: [policy.yaml]\npaths: [tests]\n")
    (repository / "policy.yaml").write_text(RESTRICTED.read_text())
    monkeypatch.chdir(repository / "deploy")
    result = sekisho("--config", "../own.yaml", "check")
    assert (result.exit_code, "../tests/bad.yaml:1:1: Pod" in result.stdout) == (1, True)
    assert sekisho("--config", "../own.yaml", "explain", "good.yaml").exit_code == 0


def test_only_check_reads_paths_from_the_configuration(repository: Path) -> None:
    (repository / ".sekisho.yaml").write_text(YAML)
    assert sekisho("fix").exit_code == 2
    assert sekisho("fix", "deploy").exit_code == 0


def test_no_configuration_is_read_from_above_the_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / ".sekisho.yaml").write_text(YAML)
    (repository / "deploy/.git").mkdir()
    monkeypatch.chdir(repository / "deploy")
    assert sekisho("check").exit_code == 2
    (repository / "deploy/.git").rmdir()
    assert sekisho("check").exit_code == 0


INVALID = [
    ("polices: [a]\n", ".sekisho.yaml:1:10: there is no polices; did you mean policies?"),
    ("exclude: tests\n", ".sekisho.yaml:1:1: exclude: Expected 'array | null', got 'str'"),
    ("- a\n", ".sekisho.yaml:1:1: Expected `object`, got `array`"),
    ("a: [\n", ".sekisho.yaml:2:1: "),
    ("{}\n---\n{}\n", ".sekisho.yaml: must hold one document, found 2"),
]


@pytest.mark.parametrize(("text", "expected"), INVALID)
def test_an_invalid_configuration_is_an_error_with_its_place(text: str, expected: str, repository: Path) -> None:
    (repository / ".sekisho.yaml").write_text(text)
    result = sekisho("check", "--standard", "baseline", "deploy")
    assert (result.exit_code, expected in result.stderr) == (2, True), result.stderr
    assert sekisho("policies", "controls", "hostPorts").exit_code == 0


INVALID_TOML = [
    ("[tool.sekisho]\nstandart = 'baseline'\n", "[tool.sekisho]: there is no standart; did you mean standard?"),
    ("[tool.sekisho\n", "pyproject.toml: Expected"),
]


@pytest.mark.parametrize(("text", "expected"), INVALID_TOML)
def test_an_invalid_table_is_an_error(text: str, expected: str, repository: Path) -> None:
    (repository / "pyproject.toml").write_text(text)
    result = sekisho("check", "--standard", "baseline", "deploy")
    assert (result.exit_code, expected in result.stderr) == (2, True), result.stderr


def test_warnings_fail_where_the_configuration_says_so(repository: Path) -> None:
    policy = "apiVersion: sekisho.dev/v1alpha1\nkind: ClusterPodPolicy\nmetadata: {name: p}\n"
    (repository / "policy.yaml").write_text(
        f"{policy}spec: {{enforcement: Warn, podSecurityStandard: {{level: baseline}}}}\n"
    )
    for text, code in (("", 0), ("failOn: warn\n", 1)):
        (repository / ".sekisho.yaml").write_text(f"policies: [policy.yaml]\n{text}")
        result = sekisho("check", "tests")
        assert (result.exit_code, "warning: the pod for host namespaces" in result.stdout) == (code, True)


def test_the_baseline_of_the_configuration_leaves_out_known_findings(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / ".sekisho.yaml").write_text("standard: baseline\n")
    assert sekisho("check", "--write-baseline", "known.yaml", "tests").exit_code == 0
    assert sekisho("check", "tests").exit_code == 1
    (repository / ".sekisho.yaml").write_text("standard: baseline\nbaseline: known.yaml\n")
    monkeypatch.chdir(repository / "tests")
    result = sekisho("check", ".")
    assert (result.exit_code, "1 known finding left out" in result.stdout) == (0, True)


@pytest.mark.parametrize("command", ["check", "fix"])
def test_the_configuration_forbids_comments_that_ignore_findings(command: str, repository: Path) -> None:
    written = BAD_POD.replace(
        "spec: {hostPID: true}", "spec:\n  hostPID: true  # sekisho: ignore[hostNamespaces] old\n"
    )
    (repository / "tests/bad.yaml").write_text(written)
    for text, code in (("", 0), ("noIgnoreComments: true\n", 1)):
        (repository / ".sekisho.yaml").write_text(f"standard: baseline\n{text}")
        assert sekisho(command, "tests").exit_code == code


def test_fix_leaves_out_what_the_configuration_excludes(repository: Path) -> None:
    (repository / ".sekisho.yaml").write_text("standard: baseline\nexclude: [tests]\n")
    result = sekisho("fix", "--all", "--write", ".")
    assert (result.exit_code, (repository / "tests/bad.yaml").read_text()) == (0, BAD_POD)
    (repository / ".sekisho.yaml").write_text("standard: baseline\n")
    assert sekisho("fix", "--all", "--write", "--exclude", "tests/*", ".").exit_code == 0
    assert (repository / "tests/bad.yaml").read_text() == BAD_POD
    sekisho("fix", "--all", "--write", ".")
    assert "hostPID: false" in (repository / "tests/bad.yaml").read_text()


def test_an_empty_configuration_changes_nothing(repository: Path) -> None:
    (repository / ".sekisho.yaml").write_text("# nothing yet\n")
    assert sekisho("check", "--standard", "baseline", "deploy").exit_code == 0


def test_a_configuration_that_is_named_must_be_there() -> None:
    result = sekisho("--config", "nowhere.yaml", "check", "--standard", "baseline", "-", text=GOOD_POD)
    assert (result.exit_code, "nowhere.yaml: cannot be read: No such file" in result.stderr) == (2, True)


def test_the_page_names_each_key() -> None:
    page = (ROOT / "docs/cli.md").read_text()
    [block] = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "excludeNamespaces" in block]
    assert [*yaml.safe_load(block)] == [field.encode_name for field in fields(Configuration)]
