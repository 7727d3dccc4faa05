"""The Sigstore on loopback is a real one: cosign and sigstore-python verify what it certified, and nothing else."""

from pathlib import Path

import pytest
from sigstore.errors import VerificationError
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity

from tests.trustparts.cosign import Cosign, CosignError
from tests.trustparts.issuer import IssuerKind
from tests.trustparts.odd import OddRegistry
from tests.trustparts.registries import Registry
from tests.trustparts.sigstore import RELEASE, Sigstore


def test_keyless_signature_is_verified_by_cosign(
    sigstore: Sigstore, cosign: Cosign, distribution: Registry, repository_name: str
) -> None:
    image = distribution.push_image(repository_name)
    sigstore.sign(image)

    def verify(identity: str, issuer: str) -> None:
        named = ("--certificate-identity", identity, "--certificate-oidc-issuer", issuer)
        cosign.run("verify", "--trusted-root", str(sigstore.trusted_root), *named, image.reference)

    verify(RELEASE, sigstore.issuer)
    with pytest.raises(CosignError):
        verify(RELEASE, sigstore.issuer_of(IssuerKind.OTHER_CI))
    with pytest.raises(CosignError):
        verify(f"{RELEASE}.evil.test", sigstore.issuer)


def test_keyless_signature_is_verified_by_sigstore_python(
    sigstore: Sigstore, odd_registry: OddRegistry, repository_name: str
) -> None:
    image = odd_registry.push_image(repository_name)
    sigstore.sign(image, identity="ann@acme.example", issuer=IssuerKind.PEOPLE)
    bundle = Bundle.from_json(odd_registry.bundles(image)[0])
    verifier = Verifier(trusted_root=TrustedRoot.from_file(str(sigstore.trusted_root)))
    issuer = sigstore.issuer_of(IssuerKind.PEOPLE)
    _, statement = verifier.verify_dsse(bundle, Identity(identity="ann@acme.example", issuer=issuer))
    assert image.digest.removeprefix("sha256:") in statement.decode()
    with pytest.raises(VerificationError):
        verifier.verify_dsse(bundle, Identity(identity="bob@acme.example", issuer=issuer))


def test_attestation_is_attached(
    sigstore: Sigstore, odd_registry: OddRegistry, repository_name: str, tmp_path: Path
) -> None:
    image = odd_registry.push_image(repository_name)
    predicate = tmp_path / "predicate.json"
    predicate.write_text('{"answer": 42}')
    sigstore.attest(image, "https://acme.example/qa/v1", predicate)
    assert len(odd_registry.bundles(image)) == 1
