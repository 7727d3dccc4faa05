"""Builds the files of a release, the same bytes each time: `make release IMAGE=REPOSITORY SOURCE=URL DIGEST=DIGEST`.

Wheel and sdist, the chart's archive, an install manifest for users without Helm, an SBOM of the locked dependencies
(CycloneDX), and checksums of all of them.
"""

import argparse
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.this.builders import this_component
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "sekisho"
PACKED = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "controller", "charts/sekisho")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION: str = PROJECT["version"]
NAMESPACE = "sekisho-system"
MANIFEST_HEADER = f"""\
# Sekisho {VERSION}, as `helm template` renders it with the chart's defaults. Install it with:
#   kubectl apply --server-side -f THIS_FILE
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
"""

# A package with extras has two entries in the lock: this matches only the one without them.
LOCKED = re.compile(r"^([a-z0-9.-]+)==([^\s;]+)[^\n]*\n((?: +--hash=[^\n]+\n)+)", re.MULTILINE)
SHA256 = re.compile(r"--hash=sha256:([0-9a-f]{64})")
ADDRESS = re.compile(r"https://[A-Za-z0-9.:-]+(/[A-Za-z0-9._~-]+)*")


class ReleaseError(Exception):
    """The release cannot be built; the message says why."""


def build(target: Path, image: str, source: str, helm: Path, digest: str = "") -> list[Path]:
    """Build the release into a new or empty folder, and return its files.

    image: the repository that the image was pushed to. The install manifest adds the version as its tag.
    source: the https address of the source repository, which wheel, sdist and chart name: a fork has another one.
    helm: the binary that renders the install manifest.
    digest: the image's, which pins it in the install manifest; empty for the tag alone.

    Raises ReleaseError if the address is none, if the folder is not empty, or if a tool fails.
    """
    if not ADDRESS.fullmatch(source):
        raise ReleaseError(f"{source!r} is not the address of a source repository, such as https://git.example/sekisho")
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise ReleaseError(f"{target} is not empty: remove it first")
    with tempfile.TemporaryDirectory() as copy:
        sources = _copy_of_sources(Path(copy), source)
        build = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--target", "wheel"]
        _run([*build, "--directory", target.absolute()], sources)
        (target / f"sekisho-{VERSION}.tgz").write_bytes(_archive(sources / "charts" / "sekisho"))
    _write_sbom(target / f"sekisho-{VERSION}.cdx.json")
    values = ("--set", f"image.repository={image}", "--set", f"image.digest={digest}")
    rendered = _run([helm, "template", "sekisho", CHART, "--skip-tests", "--namespace", NAMESPACE, *values])
    (target / f"sekisho-{VERSION}-install.yaml").write_text(MANIFEST_HEADER + rendered)
    files = sorted(target.iterdir())
    sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    (target / "SHA256SUMS").write_text(sums)
    return sorted(target.iterdir())


def _copy_of_sources(folder: Path, source: str) -> Path:
    """Copy the files of the repository into a folder, with the addresses that only this release knows."""
    for name in _run_git("ls-files", "-z", *PACKED).split("\0"):
        if name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    addresses = {"Source": source, "Issues": f"{source}/issues"}
    with (folder / "pyproject.toml").open("a") as project:
        project.write("\n[project.urls]\n" + "".join(f'{name} = "{url}"\n' for name, url in addresses.items()))
    with (folder / "charts/sekisho/Chart.yaml").open("a") as chart:
        chart.write(f"home: {source}\nsources: [{source}]\n")
    values = folder / "charts/sekisho/values.yaml"
    runbooks = f"runbookUrl: {source}/blob/v{VERSION}/docs/runbooks"
    values.write_text(values.read_text().replace("runbookUrl: docs/runbooks", runbooks))
    return folder


def _write_sbom(file: Path) -> None:
    lock = (ROOT / "requirements" / "runtime.txt").read_text()
    components = [_component(*entry) for entry in LOCKED.findall(lock)]
    sekisho = Component(
        name=PROJECT["name"],
        version=VERSION,
        description=PROJECT["description"],
        type=ComponentType.APPLICATION,
        licenses=[DisjunctiveLicense(id=PROJECT["license"])],
        bom_ref=PROJECT["name"],
    )
    bom = Bom(
        components=components,
        serial_number=uuid5(NAMESPACE_URL, f"pkg:pypi/{PROJECT['name']}@{VERSION}#{lock}"),
        metadata=BomMetaData(
            component=sekisho,
            timestamp=datetime.fromtimestamp(int(_commit_time()), UTC),
            tools=ToolRepository(components=[this_component()]),
        ),
    )
    required = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["keyless"]]
    names = {requirement.partition(">=")[0] for requirement in required}
    bom.register_dependency(sekisho, [component for component in components if component.name in names])
    content = json.loads(JsonV1Dot6(bom).output_as_string())
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _component(name: str, version: str, hashes: str) -> Component:
    purl = PackageURL("pypi", name=name, version=version)
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=str(purl),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in SHA256.findall(hashes)],
    )


def _archive(folder: Path) -> bytes:
    """The folder as `helm package` archives it, but without times, owners and the order of the file system."""
    packed = BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(f"{folder.name}/{file.relative_to(folder).as_posix()}")
            entry.size = file.stat().st_size
            with file.open("rb") as content:
                archive.addfile(entry, content)
    return packed.getvalue()


def _run(command: Sequence[str | Path], folder: Path = ROOT) -> str:
    """The output of a command, run in a folder."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": _commit_time()}
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if finished.returncode:
        raise ReleaseError(f"{Path(command[0]).name} failed: {finished.stderr.strip() or finished.stdout.strip()}")
    return finished.stdout


def _commit_time() -> str:
    """The time of the last commit, in seconds since 1970: the release has this time instead of the clock's."""
    return _run_git("log", "-1", "--format=%ct")


def _run_git(*arguments: str) -> str:
    finished = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if finished.returncode:
        raise ReleaseError(f"git failed: {finished.stderr.strip()}: build a release in a clone of the repository")
    return finished.stdout.strip()


def main() -> None:
    """Build a release and list its files."""
    parser = argparse.ArgumentParser(description="Build the files of a release.")
    parser.add_argument("--image", required=True, help="the repository that the image was pushed to, without a tag")
    parser.add_argument("--digest", default="", help="the image's digest, which the install manifest then names")
    parser.add_argument("--source", required=True, help="the https address of the source repository")
    parser.add_argument("--helm", type=Path, required=True, help="the helm binary")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="a new or empty folder (default: dist)")
    options = parser.parse_args()
    try:
        files = build(options.output, options.image, options.source, options.helm, options.digest)
    except ReleaseError as error:
        raise SystemExit(f"Error: {error}") from None
    for file in files:
        print(f"{file.stat().st_size:>9,} bytes  {file}")


if __name__ == "__main__":
    main()
