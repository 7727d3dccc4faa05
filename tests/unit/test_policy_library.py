"""Each policy of the library admits its good pods and denies each of its bad ones."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from sekisho.cli import main

LIBRARY = Path(__file__).parents[2] / "policies"
FOLDERS = sorted(path.parent for path in LIBRARY.glob("*/policy.yaml"))
GOOD = [(folder, pod) for folder in FOLDERS for pod in sorted((folder / "pods/good").iterdir())]
BAD = [(folder, pod) for folder in FOLDERS for pod in sorted((folder / "pods/bad").iterdir())]


def check(folder: Path, pod: Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["check", "-p", str(folder / "policy.yaml"), str(pod)])
    return result.exit_code, result.output


@pytest.mark.parametrize(("folder", "pod"), GOOD, ids=lambda path: path.name)
def test_good_pod_is_admitted(folder: Path, pod: Path) -> None:
    code, output = check(folder, pod)
    assert (code, output) == (0, "1 checked: 1 pass, 0 denied\n")


@pytest.mark.parametrize(("folder", "pod"), BAD, ids=lambda path: path.name)
def test_bad_pod_is_denied(folder: Path, pod: Path) -> None:
    code, output = check(folder, pod)
    assert code == 1
    assert "Fix: " in output


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_policy_is_documented(folder: Path) -> None:
    assert (folder / "README.md").read_text().startswith(f"# {folder.name}\n")
    assert f"- {folder.name}/policy.yaml" in (LIBRARY / "kustomization.yaml").read_text()
