"""Builds the files of a release, the same bytes each time: `make release IMAGE=REPOSITORY`.

Wheel and sdist, the chart's archive, an install manifest for users without Helm, an SBOM of the locked dependencies
(CycloneDX), and checksums of all of them.
"""

import argparse
import gzip
import hashlib
import os
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "sekisho"
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
NAMESPACE = "sekisho-system"
MANIFEST_HEADER = f"""\
# Sekisho {VERSION}, as `helm template` renders it with the chart's defaults. Install it with:
#   kubectl apply --server-side -f THIS_FILE
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
"""


class ReleaseError(Exception):
    """The release cannot be built; the message says why."""


def build(target: Path, image: str, helm: Path) -> list[Path]:
    """Build the release into a new or empty folder, and return its files.

    image: the repository that the image was pushed to. The install manifest adds the version as its tag.
    helm: the binary that renders the install manifest.

    Raises ReleaseError if the folder is not empty, or if a tool fails.
    """
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise ReleaseError(f"{target} is not empty: remove it first")
    _run([sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--target", "wheel", "--directory", target])
    _write_sbom(target / f"sekisho-{VERSION}.cdx.json")
    (target / f"sekisho-{VERSION}.tgz").write_bytes(_archive(CHART))
    rendered = _run(
        [helm, "template", "sekisho", CHART, "--namespace", NAMESPACE, "--set", f"image.repository={image}"]
    )
    (target / f"sekisho-{VERSION}-install.yaml").write_text(MANIFEST_HEADER + rendered)
    files = sorted(target.iterdir())
    sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    (target / "SHA256SUMS").write_text(sums)
    return sorted(target.iterdir())


def _write_sbom(file: Path) -> None:
    options: list[str | Path] = [
        "--pyproject",
        "pyproject.toml",
        "--output-reproducible",
        "--short-PURLs",
        "--output-file",
        file,
    ]
    _run([Path(sys.executable).with_name("cyclonedx-py"), "requirements", "requirements/runtime.txt", *options])


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


def _run(command: Sequence[str | Path]) -> str:
    """The output of a command, run in the repository."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": _run_git("log", "-1", "--format=%ct")}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if finished.returncode:
        raise ReleaseError(f"{Path(command[0]).name} failed: {finished.stderr.strip() or finished.stdout.strip()}")
    return finished.stdout


def _run_git(*arguments: str) -> str:
    finished = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if finished.returncode:
        raise ReleaseError(f"git failed: {finished.stderr.strip()}: build a release in a clone of the repository")
    return finished.stdout.strip()


def main() -> None:
    """Build a release and list its files."""
    parser = argparse.ArgumentParser(description="Build the files of a release.")
    parser.add_argument("--image", required=True, help="the repository that the image was pushed to, without a tag")
    parser.add_argument("--helm", type=Path, required=True, help="the helm binary")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="a new or empty folder (default: dist)")
    options = parser.parse_args()
    try:
        files = build(options.output, options.image, options.helm)
    except ReleaseError as error:
        raise SystemExit(f"Error: {error}") from None
    for file in files:
        print(f"{file.stat().st_size:>9,} bytes  {file}")


if __name__ == "__main__":
    main()
