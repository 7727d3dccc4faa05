"""Public keys of signers: read from PEM, and the verification of one signature.

The hash goes with the key, as cosign does it: P-256 SHA-256, P-384 SHA-384, P-521 SHA-512, RSA PKCS#1 v1.5 SHA-256.
Ed25519 keys sign Ed25519ph (RFC 8032, section 5.1) with cosign, and plain Ed25519 with other tools.
"""

import hashlib
import re
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from msgspec import Struct
from nacl import bindings
from nacl.exceptions import CryptoError

from sekisho.errors import SekishoError

Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
MAX_PEM_LENGTH: Final = 8192
_HASHES: Final = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}
_RSA_HASH: Final = hashes.SHA256()
_ED25519_SIGNATURE_BYTES: Final = 64
_BEGIN: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
ACCEPTED_KEYS: Final = f"ECDSA P-256, P-384 or P-521, RSA of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, or Ed25519"


class KeyFormatError(SekishoError, ValueError):
    """A text that is not a usable public key. The message lacks a subject: callers put the field first."""


class PublicKey(Struct, frozen=True, eq=False):
    """A public key, and the hex SHA-256 of its SubjectPublicKeyInfo."""

    key: Key
    fingerprint: str


def parse_public_key(pem: str) -> PublicKey:
    """The public key of a PEM text, which must hold nothing else. Raises KeyFormatError."""
    if len(pem) > MAX_PEM_LENGTH:
        raise KeyFormatError(f"is longer than {MAX_PEM_LENGTH:,} characters")
    kinds = _BEGIN.findall(pem)
    if any("PRIVATE KEY" in kind for kind in kinds):
        raise KeyFormatError("is a private key; put the public key there (cosign.pub), and replace this key pair")
    if len(kinds) > 1:
        raise KeyFormatError(f"holds {len(kinds)} PEM blocks; write one entry for each key")
    if kinds == ["CERTIFICATE"]:
        raise KeyFormatError("is a certificate; put its public key there (openssl x509 -pubkey -noout)")
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFormatError("is not a public key in PEM, such as cosign.pub") from None
    if not isinstance(key, Key):
        raise KeyFormatError(f"is a key of an unsupported kind; use {ACCEPTED_KEYS}")
    _deny_weak(key)
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(key, hashlib.sha256(der).hexdigest())


def _deny_weak(key: Key) -> None:
    if isinstance(key, rsa.RSAPublicKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise KeyFormatError(f"is an RSA key of {key.key_size} bits; use {ACCEPTED_KEYS}")
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _HASHES:
        raise KeyFormatError(f"is a key on the curve {key.curve.name}; use {ACCEPTED_KEYS}")


class Message:
    """The bytes that a signature covers, in parts.

    They may be megabytes and are checked against many keys, so each digest is computed only once. hashlib lets other
    threads run meanwhile.
    """

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self._digests: dict[str, bytes] = {}

    def digest(self, algorithm: hashes.HashAlgorithm) -> bytes:
        """The digest of the message, computed when it is first used."""
        if algorithm.name not in self._digests:
            state = hashlib.new(algorithm.name)
            for part in self.parts:
                state.update(part)
            self._digests[algorithm.name] = state.digest()
        return self._digests[algorithm.name]


def has_signed(key: Key, message: Message, signature: bytes) -> bool:
    """Whether `signature` is a valid signature of `message` by `key`."""
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                algorithm = _HASHES[key.curve.name]
                key.verify(signature, message.digest(algorithm), ec.ECDSA(Prehashed(algorithm)))
            case rsa.RSAPublicKey():
                key.verify(signature, message.digest(_RSA_HASH), padding.PKCS1v15(), Prehashed(_RSA_HASH))
            case ed25519.Ed25519PublicKey():
                return _has_signed_prehashed(key, message, signature) or _has_signed_plain(key, message, signature)
    except InvalidSignature:
        return False
    return True


def _has_signed_plain(key: ed25519.Ed25519PublicKey, message: Message, signature: bytes) -> bool:
    try:
        key.verify(signature, b"".join(message.parts))
    except InvalidSignature:
        return False
    return True


def _has_signed_prehashed(key: ed25519.Ed25519PublicKey, message: Message, signature: bytes) -> bool:
    if len(signature) != _ED25519_SIGNATURE_BYTES:
        return False
    state = bindings.crypto_sign_ed25519ph_state()
    for part in message.parts:
        bindings.crypto_sign_ed25519ph_update(state, part)
    try:
        return bool(bindings.crypto_sign_ed25519ph_final_verify(state, signature, key.public_bytes_raw()))
    except CryptoError:
        return False
