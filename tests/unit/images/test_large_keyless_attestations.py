"""Keyless attestations that are larger than a signature may be: sigstore gets their statement as it was read before."""

import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from sigstore.models import Bundle

from sekisho.images.evidence import Candidate, ImageFacts
from sekisho.images.statements import MAX_SIGNATURE_BYTES
from sekisho.images.verification import verify
from tests.trustparts.looking_up import by_identity
from tests.trustparts.minted import CI, MintedSigstore
from tests.trustparts.sigstore import RELEASE

BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
QA: Final = "https://acme.example/qa/v1"
DIGEST: Final = "sha256:" + "ab" * 32
SIGNED: Final = datetime(2026, 11, 1, 12, tzinfo=UTC)
SIGSTORE: Final = MintedSigstore()
LARGE: Final = {"notes": "x" * (2 * MAX_SIGNATURE_BYTES)}


def attested(predicate: dict[str, Any] = LARGE, sigstore: MintedSigstore = SIGSTORE) -> dict[str, Any]:
    return sigstore.bundle(DIGEST, SIGNED, predicate_type=QA, predicate=predicate)


def facts(bundle: dict[str, Any]) -> ImageFacts:
    """What a bundle shows about the image."""
    attached = Candidate("referrers", BUNDLE, json.dumps(bundle).encode(), {}, DIGEST)
    release = by_identity("release", SIGSTORE.trusted_root(), CI, RELEASE)
    return verify("r.example/app", DIGEST, [attached], [release], SIGNED, predicates=[QA])


def changed(bundle: dict[str, Any], *path: str | int) -> dict[str, Any]:
    """The bundle with another byte in the middle of a value in base64."""
    *parents, last = path
    part: Any = bundle
    for name in parents:
        part = part[name]
    content = bytearray(b64decode(part[last]))
    content[len(content) // 2] ^= 1
    part[last] = b64encode(content).decode()
    return bundle


def test_large_attestation_is_parsed_without_its_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    from_json = Bundle.from_json

    def noting(raw: bytes) -> Bundle:
        parsed.append(len(raw))
        return from_json(raw)

    monkeypatch.setattr(Bundle, "from_json", noting)
    for predicate in (LARGE, {}):
        (attestation,) = facts(attested(predicate)).attestations
        assert attestation.signatures[0].identity == RELEASE
    assert len(parsed) == 2
    assert max(parsed) <= 16 << 10


MATERIAL: Final = "verificationMaterial"
CHANGED: Final[dict[str, tuple[str | int, ...]]] = {
    "statement": ("dsseEnvelope", "payload"),
    "signature": ("dsseEnvelope", "signatures", 0, "sig"),
    "certificate": (MATERIAL, "certificate", "rawBytes"),
    "log entry": (MATERIAL, "tlogEntries", 0, "canonicalizedBody"),
}


@pytest.mark.parametrize("path", CHANGED.values(), ids=CHANGED)
def test_one_byte_changed_in_a_large_attestation_makes_it_invalid(path: tuple[str | int, ...]) -> None:
    image_facts = facts(changed(attested(), *path))
    assert (image_facts.attestations, image_facts.signatures) == ((), ())
    assert image_facts.problems


def test_large_attestation_of_another_sigstore_does_not_count() -> None:
    image_facts = facts(attested(sigstore=MintedSigstore()))
    assert image_facts.attestations == ()
    assert image_facts.problems[0].startswith("its certificate, log entry or signature is not valid")


def test_bundle_that_is_large_beside_its_statement_does_not_count() -> None:
    image_facts = facts(attested() | {"padding": "x" * MAX_SIGNATURE_BYTES})
    assert image_facts.attestations == ()
    assert image_facts.problems[0].startswith("its bundle has 26")
    assert image_facts.problems[0].endswith(" bytes beside its longest text; the maximum is 262,144")


def test_copy_of_the_statement_before_it_gives_no_other_statement() -> None:
    bundle = attested()
    image_facts = facts({"padding": bundle["dsseEnvelope"]["payload"]} | bundle)
    assert image_facts.attestations == ()
