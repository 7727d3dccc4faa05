"""The files of a release: the same bytes each time, complete, and usable."""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from sekisho import __version__
from tests.chart import REPOSITORY, helm_binary, identities, manifests, render
from tools.release import ReleaseError, build

pytestmark = pytest.mark.timeout(1800)  # the first test may have to build helm

IMAGE = "registry.example/platform/sekisho"
SOURCE = "https://git.example/platform/sekisho"
DIGEST = f"sha256:{'d' * 64}"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    build(folder, IMAGE, SOURCE, helm_binary(), DIGEST)
    return folder


def test_a_release_has_these_files(release: Path) -> None:
    assert {file.name for file in release.iterdir()} == {
        f"sekisho-{__version__}-py3-none-any.whl",
        f"sekisho-{__version__}.tar.gz",
        f"sekisho-{__version__}.tgz",
        f"sekisho-{__version__}-install.yaml",
        f"sekisho-{__version__}.cdx.json",
        "SHA256SUMS",
    }


def test_the_same_sources_give_the_same_bytes(release: Path, tmp_path: Path) -> None:
    build(tmp_path, IMAGE, SOURCE, helm_binary(), DIGEST)
    for file in release.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_checksums_are_of_every_file(release: Path) -> None:
    lines = [line.split("  ") for line in (release / "SHA256SUMS").read_text().splitlines()]
    files = {file.name for file in release.iterdir()} - {"SHA256SUMS"}
    assert {name: digest for digest, name in lines} == {
        name: hashlib.sha256((release / name).read_bytes()).hexdigest() for name in files
    }


def test_helm_renders_the_archive_as_it_renders_the_chart(release: Path) -> None:
    archive = release / f"sekisho-{__version__}.tgz"
    assert render(chart=archive) == render()
    with tarfile.open(archive) as opened:
        assert {entry.name.partition("/")[0] for entry in opened} == {"sekisho"}


def test_the_install_manifest_has_the_chart_and_its_namespace(release: Path) -> None:
    text = (release / f"sekisho-{__version__}-install.yaml").read_text()
    objects = manifests(text)
    assert identities(objects) == identities(render()) | {"Namespace/sekisho-system"}
    assert set(re.findall(r"^ *(?:- )?image: \"?([^\"\s]+)", text, re.M)) == {f"{IMAGE}:{__version__}@{DIGEST}"}


def test_the_sbom_has_every_locked_dependency(release: Path) -> None:
    sbom = json.loads((release / f"sekisho-{__version__}.cdx.json").read_text())
    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["specVersion"] == "1.6"
    sekisho = sbom["metadata"]["component"]
    assert (sekisho["type"], sekisho["name"], sekisho["version"]) == ("application", "sekisho", __version__)
    assert [entry["license"]["id"] for entry in sekisho["licenses"]] == ["Apache-2.0"]
    lock = (REPOSITORY / "requirements/runtime.txt").read_text()
    locked: dict[str, set[str]] = {}
    for entry in re.split(r"\n(?=\S)", lock):
        name, version = re.sub(r"\[.*?\]", "", entry.split()[0]).split("==")
        locked[f"pkg:pypi/{name}@{version}"] = set(re.findall(r"sha256:(\S+)", entry))
    assert all(locked.values())
    parts = sbom["components"]
    assert {part["purl"]: {hashed["content"] for hashed in part["hashes"]} for part in parts} == locked
    assert len(parts) == len(locked)
    assert all(part["purl"] == f"pkg:pypi/{part['name']}@{part['version']}" for part in parts)
    assert {hashed["alg"] for part in parts for hashed in part["hashes"]} == {"SHA-256"}


def test_the_sbom_says_what_sekisho_itself_requires(release: Path) -> None:
    sbom = json.loads((release / f"sekisho-{__version__}.cdx.json").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["keyless"]]
    depends = {entry["ref"]: entry.get("dependsOn", []) for entry in sbom["dependencies"]}
    names = {part["bom-ref"]: part["name"] for part in sbom["components"]}
    assert sorted(names[ref] for ref in depends["sekisho"]) == sorted(re.split("[>=]", entry)[0] for entry in required)


def test_the_wheel_holds_only_the_package(release: Path) -> None:
    with zipfile.ZipFile(release / f"sekisho-{__version__}-py3-none-any.whl") as wheel:
        folders = {name.partition("/")[0] for name in wheel.namelist()}
        metadata = wheel.read(f"sekisho-{__version__}.dist-info/METADATA").decode().partition("\n\n")[0]
    assert folders == {"sekisho", f"sekisho-{__version__}.dist-info"}
    assert {"Author", "Keywords", "Summary", "License-Expression"} <= {
        line.partition(":")[0] for line in metadata.splitlines()
    }
    assert f"Project-URL: Source, {SOURCE}" in metadata.splitlines()
    assert f"Project-URL: Issues, {SOURCE}/issues" in metadata.splitlines()


def test_the_sdist_has_the_package_and_the_addresses(release: Path) -> None:
    with tarfile.open(release / f"sekisho-{__version__}.tar.gz") as sdist:
        files = {entry.name.partition("/")[2] for entry in sdist}
        project = sdist.extractfile(f"sekisho-{__version__}/pyproject.toml")
        assert project is not None
        assert tomllib.loads(project.read().decode())["project"]["urls"]["Source"] == SOURCE
    package = {file.relative_to(REPOSITORY).as_posix() for file in (REPOSITORY / "controller").rglob("*.py")}
    assert files >= package | {"README.md", "LICENSE", "CHANGELOG.md", "PKG-INFO"}


def test_the_chart_of_a_release_says_where_it_comes_from(release: Path) -> None:
    with tarfile.open(release / f"sekisho-{__version__}.tgz") as archive:
        chart = archive.extractfile("sekisho/Chart.yaml")
        assert chart is not None
        described = yaml.safe_load(chart)
        values = archive.extractfile("sekisho/values.yaml")
        assert values is not None
        runbooks = yaml.safe_load(values)["prometheusRule"]["runbookUrl"]
    assert (described["home"], described["sources"]) == (SOURCE, [SOURCE])
    assert runbooks == f"{SOURCE}/blob/v{__version__}/docs/runbooks"


@pytest.mark.parametrize(
    "address", ["", "git.example/sekisho", "http://git.example/sekisho", "https://a b", "https://a/\n"]
)
def test_an_invalid_address_is_an_error(tmp_path: Path, address: str) -> None:
    with pytest.raises(ReleaseError, match="is not the address of a source repository"):
        build(tmp_path / "dist", IMAGE, address, helm_binary())
    assert not (tmp_path / "dist").exists()


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ReleaseError, match="is not empty"):
        build(tmp_path, IMAGE, SOURCE, helm_binary())
    assert [file.name for file in tmp_path.iterdir()] == ["notes"]


def test_a_tool_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"(?s)helm failed: .*image/repository"):
        build(tmp_path, "registry.example/sekisho:latest", SOURCE, helm_binary())


def test_the_command_line_reports_a_failure_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    command = [
        sys.executable,
        "-m",
        "tools.release",
        "--image",
        IMAGE,
        "--source",
        SOURCE,
        "--helm",
        str(helm_binary()),
    ]
    finished = subprocess.run([*command, "--output", str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (1, f"Error: {tmp_path} is not empty: remove it first\n")
