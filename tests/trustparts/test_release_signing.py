"""The step of the release workflow that signs, by the real cosign, with a Sigstore on loopback, not the public one."""

import hashlib
import os
import re
import shlex
import subprocess
from pathlib import Path

import yaml

from tests.trustparts.cosign import Cosign
from tests.trustparts.registries import Registry
from tests.trustparts.sigstore import RELEASE, Sigstore
from tests.trustparts.test_keyless_signatures import is_signed, real

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
PAGE = ROOT / "SECURITY.md"


def signing(digest: str) -> str:
    """The commands of the step, with the digest that the step before gives."""
    (step,) = (
        step for step in yaml.safe_load(WORKFLOW.read_text())["jobs"]["release"]["steps"] if step.get("name") == "Sign"
    )
    commands: str = step["run"]
    assert commands.count("${{ ") == 1
    return commands.replace("${{ steps.image.outputs.digest }}", digest)


def verifying(image: str, issuer: str) -> str:
    """The commands of the page that verify a release, for an image and an issuer on loopback."""
    (block,) = re.findall(r"^```console\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    commands = re.sub(r"^\$ ", "", block, flags=re.MULTILINE)
    (identity,) = re.findall(r"^identity=(\S+)$", commands, re.MULTILINE)
    assert identity.startswith("https://github.com/OWNER/sekisho/.github/workflows/release.yml@refs/tags/v")
    (public,) = re.findall(r"^issuer=(\S+)$", commands, re.MULTILINE)
    (published,) = re.findall(r"^cosign verify (\S+) ", commands, re.MULTILINE)
    for shown, used in ((identity, RELEASE), (public, issuer), (published, image)):
        commands = commands.replace(shown, used)
    return commands


def test_the_release_workflow_signs_the_image_and_the_checksums_as_the_security_policy_verifies_them(
    sigstore: Sigstore, cosign: Cosign, distribution: Registry, repository_name: str, tmp_path: Path
) -> None:
    image = distribution.push_image(repository_name)
    release = real(sigstore, RELEASE)
    assert not is_signed(image, distribution, release)
    sums = tmp_path / "dist" / "SHA256SUMS"
    sums.parent.mkdir()
    (sums.parent / "sekisho.tgz").write_bytes(b"chart")
    sums.write_text(f"{hashlib.sha256(b'chart').hexdigest()}  sekisho.tgz\n")

    services = shlex.join(sigstore.keyless(RELEASE))
    here = f"cosign() {{ command {shlex.quote(str(cosign.binary))} $1 {services} ${{@:2}}; }}\n"
    environment = cosign.environment | {"PATH": os.environ["PATH"], "IMAGE": image.repository}
    command = ("bash", "-euo", "pipefail", "-c", here + signing(image.digest))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

    assert is_signed(image, distribution, release)
    trusted = f"--trusted-root {shlex.quote(str(sigstore.trusted_root))}"
    here = f"cosign() {{ command {shlex.quote(str(cosign.binary))} $1 {trusted} ${{@:2}}; }}\n"
    shown = verifying(f"{image.repository}@{image.digest}", sigstore.issuer)
    command = ("bash", "-euo", "pipefail", "-c", here + shown)
    done = subprocess.run(command, cwd=sums.parent, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "sekisho.tgz: OK" in done.stdout
