"""The policies of the library about images: their scripts attach what they require, with the real cosign."""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.controlplane.kubectl import Completed, run
from tests.policy_library import ENTRIES, VERIFIED, Entry
from tests.trustparts.cosign import Cosign
from tests.trustparts.odd import OddRegistry
from tests.trustparts.registries import Image
from tests.unit.cli.sekisho_command import sekisho
from tests.unit.images.scan_data import scan_predicate, trivy

KEYS = {"signed-images": "release", "scanned-images": "scanner", "known-builder": "ci"}
BUILT = {"BUILDER": "https://ci.acme.example/builders/1", "SOURCE": "git+https://github.com/acme/pay@v1"}
GOOD = "1a0b19d87407053622b53cfff07533709dcbc97528a9c97534ce769874f925c7"


def test_library_has_policies_about_images() -> None:
    assert {entry.name for entry in VERIFIED} == set(KEYS)


JOINING = {"|", "||", "&", "&&", ";"}
SCRIPTS = [*(f"{name}/attach.sh" for name in KEYS), "certified-images/certify.sh"]


def simple_commands(script: str) -> Iterator[str]:
    """The names of the programs that a script runs, whichever way they are joined."""
    lines = re.sub(r"\\\n|(?<=\|)\n", "", script).splitlines()
    for line in lines:
        words = list(shlex.shlex(line, posix=True, punctuation_chars=True))
        starts = [0, *(index + 1 for index, word in enumerate(words) if word in JOINING)]
        yield from (words[start] for start in starts if words and words[start] != "set")


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_has_three_commands(script: str) -> None:
    name, _, file = script.partition("/")
    [entry] = [one for one in (*ENTRIES, *VERIFIED) if one.name == name]
    assert len(list(simple_commands((entry.folder / file).read_text()))) == 3


def attach(entry: Entry, image: Image, folder: Path, environment: Mapping[str, str]) -> None:
    """Run the entry's script, with a program in place of Trivy that writes what it would write."""
    scan = scan_predicate(trivy(digest=image.digest), datetime.now(UTC))
    (folder / "trivy-report.json").write_text(json.dumps(scan))
    (folder / "trivy").write_text('#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done\ncp trivy-report.json "$2"\n')
    (folder / "trivy").chmod(0o755)
    ran = run(("bash", "-c", f"cd {folder} && {entry.folder / 'attach.sh'} {image.reference}"), environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("entry", VERIFIED, ids=lambda entry: entry.name)
def test_image_runs_once_its_script_has_run(
    entry: Entry,
    cosign: Cosign,
    odd_registry: OddRegistry,
    repository_name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    good, bad = (odd_registry.push_image(repository_name, name) for name in ("good", "bad"))
    name = KEYS[entry.name]
    key = cosign.new_key(f"library-{name}")
    (tmp_path / f"{name}.key").write_bytes(key.private.read_bytes())
    (tmp_path / f"{name}.pub").write_text(key.pem)

    def as_here(text: str) -> str:
        text = text.replace("ghcr.io/acme/pay", good.repository).replace("ghcr.io/acme/*", good.repository)
        text = text.replace(f"sha256:{GOOD}", good.digest)
        return re.sub(r"sha256:(2b){32}", bad.digest, text)

    for file in ("policy", "authority"):
        (tmp_path / f"{file}.yaml").write_text(as_here((entry.folder / f"{file}.yaml").read_text()))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{name}-key", "namespace": "sekisho-system"}}
    (tmp_path / "context").mkdir()
    (tmp_path / "context/secret.json").write_text(json.dumps(secret | {"stringData": {"cosign.pub": key.pem}}))
    policies = ("-p", str(tmp_path / "policy.yaml"), "-p", str(tmp_path / "authority.yaml"))
    images = ("--verify-images", "--registry-ca-file", str(odd_registry.ca), "--context-dir", str(tmp_path / "context"))

    def admitted() -> dict[str, bool]:
        codes = {
            pod.stem: sekisho("check", "-", *policies, *images, text=as_here(pod.read_text())).exit_code
            for pod in entry.pods
        }
        assert set(codes.values()) <= {0, 1}
        return {stem: code == 0 for stem, code in codes.items()}

    assert not any(admitted().values())
    folders = (str(tmp_path), str(cosign.binary.parent), os.environ["PATH"])
    environment = cosign.environment | BUILT | {"PATH": os.pathsep.join(folders)}
    attach(entry, good, tmp_path, environment)
    if entry.name == "known-builder":
        attach(entry, bad, tmp_path, environment | {"BUILDER": "https://laptop.example"})
    assert admitted() == {pod.stem: pod.parent.name == "good" for pod in entry.pods}


def test_image_is_certified_once_its_script_has_run(
    cosign: Cosign, odd_registry: OddRegistry, repository_name: str, tmp_path: Path
) -> None:
    [entry] = [one for one in ENTRIES if one.name == "certified-images"]
    good, other, attested = (odd_registry.push_image(repository_name, name) for name in ("good", "other", "attested"))
    key = cosign.new_key("library-certified")
    (tmp_path / "release.pub").write_bytes(key.public.read_bytes())
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text((entry.folder / "catalog.yaml").read_text())
    folders = (str(Path(sys.executable).parent), str(cosign.binary.parent), os.environ["PATH"])
    environment = cosign.environment | {"PATH": os.pathsep.join(folders)}

    def ran(command: str) -> Completed:
        return run(("bash", "-c", f"cd {tmp_path} && {command}"), environment)

    def done(command: str) -> str:
        completed = ran(command)
        assert completed.returncode == 0, completed.stdout + completed.stderr
        return completed.stdout

    def check(image: Image) -> int:
        pod = (entry.folder / "pods/good/certified.yaml").read_text()
        text = re.sub("image: .*", f"image: {image.reference}", pod)
        return sekisho("check", "-", "-p", entry.folder / "policy.yaml", "-p", catalog, text=text).exit_code

    assert (check(good), check(other), check(attested)) == (1, 1, 1)
    cosign.sign(good, key)
    predicate = tmp_path / "sbom.json"
    predicate.write_text(json.dumps({"bomFormat": "CycloneDX", "components": [{"name": "openssl"}]}))
    cosign.attest(attested, key, "cyclonedx", predicate)
    for unsigned in (other, attested):
        assert ran(f"{entry.folder / 'certify.sh'} {unsigned.reference}").returncode != 0
    for _ in range(2):
        done(f"{entry.folder / 'certify.sh'} {good.reference}")
    assert (check(good), check(other), check(attested)) == (0, 1, 1)
    assert "# An entry without validUntil does not end." in catalog.read_text()
    assert sekisho("catalog", "verify", catalog).exit_code == 0
    assert sekisho("catalog", "verify", catalog, "--within", "91").exit_code == 1
    sekisho("catalog", "withdraw", catalog, good.reference, "--reason", "CVE-2026-1234")
    assert (check(good), sekisho("catalog", "verify", catalog, "--within", "91").exit_code) == (1, 0)
