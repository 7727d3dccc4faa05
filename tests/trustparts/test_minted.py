"""sigstore-python, which we did not write, accepts what is minted correctly, and rejects everything else."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sigstore.errors import VerificationError
from sigstore.models import Bundle, InvalidBundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity

from tests.trustparts.minted import CI, MintedSigstore
from tests.trustparts.sigstore import RELEASE

IMAGE = f"sha256:{'ab' * 32}"
SIGNED = datetime(2025, 6, 1, 12, tzinfo=UTC)
MINTED = MintedSigstore()
OTHER = MintedSigstore()


def verified(bundle: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The statement, where sigstore accepts the bundle as signed by the release workflow."""
    (folder / "root.json").write_text(json.dumps(MINTED.trusted_root()))
    verifier = Verifier(trusted_root=TrustedRoot.from_file(str(folder / "root.json")))
    parsed = Bundle.from_json(json.dumps(bundle))
    _, payload = verifier.verify_dsse(parsed, Identity(identity=RELEASE, issuer=CI))
    statement: dict[str, Any] = json.loads(payload)
    return statement


def test_minted_signature_is_accepted(tmp_path: Path) -> None:
    statement = verified(MINTED.bundle(IMAGE, SIGNED), tmp_path)
    assert statement["subject"] == [{"digest": {"sha256": "ab" * 32}}]


def _flipped(path: str) -> Callable[[], dict[str, Any]]:
    def change() -> dict[str, Any]:
        bundle = MINTED.bundle(IMAGE, SIGNED)
        *parents, last = path.split(".")
        part: Any = bundle
        for name in parents:
            part = part[int(name)] if name.isdigit() else part[name]
        content = bytearray(b64decode(part[last]))
        content[len(content) // 2] ^= 1
        part[last] = b64encode(content).decode()
        return bundle

    return change


ENTRY = "verificationMaterial.tlogEntries.0"
WRONG: dict[str, Callable[[], dict[str, Any]]] = {
    "by an unknown authority": lambda: OTHER.bundle(IMAGE, SIGNED),
    "by another identity": lambda: MINTED.bundle(IMAGE, SIGNED, f"{RELEASE}.evil.test"),
    "by another issuer": lambda: MINTED.bundle(IMAGE, SIGNED, issuer="https://ci.evil.test"),
    "not promised": lambda: MINTED.bundle(IMAGE, SIGNED, promised=False),
    "not logged": lambda: MINTED.bundle(IMAGE, SIGNED, logged=False),
    "with another entry": lambda: MINTED.bundle(IMAGE, SIGNED, entry_of=MINTED.bundle(IMAGE, SIGNED)),
    "after the certificate": lambda: MINTED.bundle(IMAGE, SIGNED, certificate_at=SIGNED - timedelta(minutes=11)),
    "before the certificate": lambda: MINTED.bundle(IMAGE, SIGNED, certificate_at=SIGNED + timedelta(minutes=1)),
    "payload": _flipped("dsseEnvelope.payload"),
    "signature": _flipped("dsseEnvelope.signatures.0.sig"),
    "certificate": _flipped("verificationMaterial.certificate.rawBytes"),
    "entry": _flipped(f"{ENTRY}.canonicalizedBody"),
    "promise of the log": _flipped(f"{ENTRY}.inclusionPromise.signedEntryTimestamp"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrongly_minted_signature_does_not_count(name: str, tmp_path: Path) -> None:
    with pytest.raises((VerificationError, InvalidBundle)):
        verified(WRONG[name](), tmp_path)
