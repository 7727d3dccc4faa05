"""Public keys from PEM: what is accepted, and what is an error that says what to do."""

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from sekisho.images.keys import MAX_PEM_LENGTH, KeyFormatError, parse_public_key
from tests.unit.images.signing import OTHER_P256, P256, pem

PRIVATE = P256.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
ACCEPTED = "use ECDSA P-256, P-384 or P-521, RSA of 2048 to 8192 bits, or Ed25519"


def _spki(key: dsa.DSAPrivateKey | ed448.Ed448PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_same_key_has_the_same_fingerprint() -> None:
    assert parse_public_key(pem(P256)).fingerprint == parse_public_key(f"\n{pem(P256)}\n\n").fingerprint
    assert parse_public_key(pem(P256)).fingerprint != parse_public_key(pem(OTHER_P256)).fingerprint


BROKEN = {
    "": "is not a public key in PEM, such as cosign.pub",
    "nonsense": "is not a public key in PEM, such as cosign.pub",
    pem(P256).replace("M", "N", 1): "is not a public key in PEM, such as cosign.pub",
    PRIVATE: "is a private key; put the public key there (cosign.pub), and replace this key pair",
    pem(P256) + PRIVATE: "is a private key; put the public key there (cosign.pub), and replace this key pair",
    pem(P256) + pem(OTHER_P256): "holds 2 PEM blocks; write one entry for each key",
    "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----": "is a certificate; put its public key there "
    "(openssl x509 -pubkey -noout)",
    pem(rsa.generate_private_key(65537, 1024)): f"is an RSA key of 1024 bits; {ACCEPTED}",  # noqa: S505  denied for this
    pem(ec.generate_private_key(ec.SECP256K1())): f"is a key on the curve secp256k1; {ACCEPTED}",
    _spki(ed448.Ed448PrivateKey.generate()): f"is a key of an unsupported kind; {ACCEPTED}",
    "x" * (MAX_PEM_LENGTH + 1): "is longer than 8,192 characters",
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_unusable_key_is_denied_with_the_remedy(text: str) -> None:
    with pytest.raises(KeyFormatError) as error:
        parse_public_key(text)
    assert str(error.value) == BROKEN[text]


@pytest.mark.parametrize(
    "key",
    [
        P256,
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-256", "P-384", "P-521", "RSA-2048", "Ed25519"],
)
def test_usable_key_is_accepted(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    assert len(parse_public_key(pem(key)).fingerprint) == 64
