"""Each policy and waiver of the library admits its good pods and denies each of its bad ones."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from sekisho.cli import main
from tests.policy_library import AUDITED, ENTRIES, LIBRARY, VERIFIED, Entry, documents

PODS = [(entry, pod) for entry in ENTRIES for pod in entry.pods]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The file with the policies and waivers of each entry; waivers have not expired."""
    folder = tmp_path_factory.mktemp("library")
    written = {}
    for entry in ENTRIES:
        written[entry.name] = folder / f"{entry.name.replace('/', '-')}.yaml"
        written[entry.name].write_text("---\n".join(documents(entry)))
    return written


@pytest.mark.parametrize(
    ("entry", "pod"), PODS, ids=lambda value: value.stem if isinstance(value, Path) else value.name
)
def test_good_pods_are_admitted_and_bad_ones_are_denied(entry: Entry, pod: Path, files: dict[str, Path]) -> None:
    result = CliRunner().invoke(main, ["check", "-p", str(files[entry.name]), str(pod)])
    if entry.name in AUDITED:
        assert result.exit_code == 0
        assert "audit note" in result.stdout
    elif pod.parent.name == "good":
        assert result.exit_code == 0, result.output
        assert re.fullmatch(r"1 checked: 1 pass, 0 denied(; 1 object without pods ignored \(1 \w+\))?\n", result.stdout)
    else:
        assert result.exit_code == 1
        assert "Fix: " in result.stdout


@pytest.mark.parametrize("entry", [*ENTRIES, *VERIFIED], ids=lambda entry: entry.name)
def test_every_entry_is_documented_and_has_both_kinds_of_pods(entry: Entry) -> None:
    assert (entry.folder / "README.md").read_text().startswith(f"# {entry.folder.name}\n")
    assert f"]({entry.name}/README.md)" in (LIBRARY / "README.md").read_text()
    kinds = {pod.parent.name for pod in entry.pods}
    assert kinds == ({"good"} if entry.name in AUDITED else {"good", "bad"})


def test_every_policy_has_the_name_of_its_folder() -> None:
    for entry in (*ENTRIES, *VERIFIED):
        if (file := entry.folder / "policy.yaml").exists():
            assert f"metadata:\n  name: {entry.folder.name}\n" in file.read_text()


def test_the_first_two_are_applied_together() -> None:
    text = (LIBRARY / "kustomization.yaml").read_text()
    assert [line.strip() for line in text.splitlines() if "policy.yaml" in line] == [
        "- restricted/policy.yaml",
        "- trusted-registries/policy.yaml",
    ]
