"""Signs images in memory, as cosign does: bundles by key, and the older format."""

import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl import bindings

from sekisho.images.authorities import Authority, AuthorityKey, authority
from sekisho.images.bundles import SIGNATURE_ANNOTATION, SIMPLE_SIGNING_TYPE, pre_authentication
from sekisho.images.evidence import Candidate
from sekisho.images.keys import parse_public_key

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
REPOSITORY = "ghcr.io/acme/pay"
IMAGE = "sha256:" + "ab" * 32
OTHER_IMAGE = "sha256:" + "cd" * 32
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
SIGN = "https://sigstore.dev/cosign/sign/v1"
P256 = ec.generate_private_key(ec.SECP256R1())
OTHER_P256 = ec.generate_private_key(ec.SECP256R1())
_HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}


def pem(key: PrivateKey) -> str:
    """The public key as cosign.pub has it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def key_of(key: PrivateKey, until: datetime | None = None) -> AuthorityKey:
    """The key as an authority has it."""
    public = parse_public_key(pem(key))
    return AuthorityKey(public.key, public.fingerprint, until)


def keyed(name: str, *keys: PrivateKey) -> Authority:
    """An authority with keys."""
    return authority(name, tuple(map(key_of, keys)))


def raw_signature(key: PrivateKey, message: bytes, *, is_prehashed: bool = True) -> bytes:
    """The signature of a message; by an Ed25519 key as cosign makes it, or plain."""
    match key:
        case ec.EllipticCurvePrivateKey():
            return key.sign(message, ec.ECDSA(_HASHES[key.key_size]))
        case rsa.RSAPrivateKey():
            return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        case ed25519.Ed25519PrivateKey():
            if not is_prehashed:
                return key.sign(message)
            state = bindings.crypto_sign_ed25519ph_state()
            bindings.crypto_sign_ed25519ph_update(state, message)
            secret = key.private_bytes_raw() + key.public_key().public_bytes_raw()
            return bytes(bindings.crypto_sign_ed25519ph_final_create(state, secret))


def statement(digest: str = IMAGE, predicate_type: str = SIGN, version: str = "v1") -> bytes:
    """What `cosign sign` signs."""
    algorithm, _, value = digest.partition(":")
    return json.dumps(
        {
            "_type": f"https://in-toto.io/Statement/{version}",
            "subject": [{"digest": {algorithm: value}}],
            "predicateType": predicate_type,
            "predicate": {},
        }
    ).encode()


def base64(value: bytes) -> str:
    """Base64 as JSON has it."""
    return b64encode(value).decode()


def bundle(key: PrivateKey, content: bytes | None = None, payload_type: str = PAYLOAD_TYPE) -> dict[str, Any]:
    """A bundle with a statement, signed by a key; its JSON, so that tests can change it."""
    content = statement() if content is None else content
    signature = raw_signature(key, b"".join(pre_authentication(payload_type, content)))
    return {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": "x"}},
        "dsseEnvelope": {
            "payload": base64(content),
            "payloadType": payload_type,
            "signatures": [{"sig": base64(signature)}],
        },
    }


def candidate(
    payload: Mapping[str, Any] | bytes,
    media_type: str = BUNDLE_TYPE,
    annotations: Mapping[str, str] | None = None,
    digest: str = "sha256:" + "01" * 32,
) -> Candidate:
    """A layer that a registry holds beside an image."""
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Candidate("referrers", media_type, content, annotations or {}, digest)


def signed_by(key: PrivateKey, digest: str = IMAGE) -> Candidate:
    """A signature of an image as `cosign sign` attaches it."""
    return candidate(bundle(key, statement(digest)))


def simple_payload(digest: str = IMAGE, kind: str = "cosign container image signature") -> bytes:
    """What the older format signs."""
    image = {"docker-manifest-digest": digest}
    critical = {"identity": {"docker-reference": REPOSITORY}, "image": image, "type": kind}
    return json.dumps({"critical": critical, "optional": None}).encode()


def older(key: PrivateKey, payload: bytes | None = None) -> Candidate:
    """A signature in the older format, from a .sig tag."""
    payload = simple_payload() if payload is None else payload
    annotations = {SIGNATURE_ANNOTATION: base64(raw_signature(key, payload))}
    return candidate(payload, SIMPLE_SIGNING_TYPE, annotations)
