"""The step of the release workflow that signs, by the real cosign, with a Sigstore on loopback, not the public one."""

import os
import shlex
import subprocess
from pathlib import Path

import yaml

from tests.trustparts.cosign import Cosign
from tests.trustparts.registries import Registry
from tests.trustparts.sigstore import RELEASE, Sigstore
from tests.trustparts.test_keyless_signatures import is_signed, real

WORKFLOW = Path(__file__).parents[2] / ".github" / "workflows" / "release.yml"


def signing(digest: str) -> str:
    """The commands of the step, with the digest that the step before gives."""
    (step,) = (
        step for step in yaml.safe_load(WORKFLOW.read_text())["jobs"]["release"]["steps"] if step.get("name") == "Sign"
    )
    commands: str = step["run"]
    assert commands.count("${{ ") == 1
    return commands.replace("${{ steps.image.outputs.digest }}", digest)


def test_the_release_workflow_signs_the_image_and_the_checksums(
    sigstore: Sigstore, cosign: Cosign, distribution: Registry, repository_name: str, tmp_path: Path
) -> None:
    image = distribution.push_image(repository_name)
    release = real(sigstore, RELEASE)
    assert not is_signed(image, distribution, release)
    sums = tmp_path / "dist" / "SHA256SUMS"
    sums.parent.mkdir()
    sums.write_text(f"{'0' * 64}  sekisho.tgz\n")

    services = shlex.join(sigstore.keyless(RELEASE))
    here = f"cosign() {{ command {shlex.quote(str(cosign.binary))} $1 {services} ${{@:2}}; }}\n"
    environment = cosign.environment | {"PATH": os.environ["PATH"], "IMAGE": image.repository}
    command = ("bash", "-euo", "pipefail", "-c", here + signing(image.digest))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

    assert is_signed(image, distribution, release)
    trusted = ("--trusted-root", str(sigstore.trusted_root), "--certificate-identity", RELEASE)
    bundle = ("--bundle", f"{sums}.sigstore.json", "--certificate-oidc-issuer", sigstore.issuer)
    cosign.run("verify-blob", *trusted, *bundle, str(sums))
