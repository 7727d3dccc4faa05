"""Trusted roots: the certificate authorities and logs that keyless signatures are verified with.

A component of a root counts only for signatures from the time in which it was valid: `parts_valid_at` leaves out the
others, because sigstore does not check this itself.

Source: https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_trustroot.proto
"""

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_der_x509_certificate
from msgspec import Struct

from sekisho.documents.duplicates import DuplicateKeyError, deny_duplicates
from sekisho.errors import SekishoError
from sekisho.findings import words
from sekisho.timestamps import parse

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
MAX_ROOT_BYTES: Final = 512 << 10
_KINDS: Final = ("tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities")
_REQUIRED: Final = {
    "tlogs": "transparency log",
    "certificateAuthorities": "certificate authority",
    "ctlogs": "certificate transparency log",
}
_LOGS: Final = frozenset(("tlogs", "ctlogs"))
_HASHES: Final = frozenset(("SHA2_256", "SHA2_384", "SHA2_512", "SHA3_256", "SHA3_384"))
_KEYS: Final[Mapping[str, type]] = {
    "PKCS1_RSA_PKCS1V5": rsa.RSAPublicKey,
    "PKIX_RSA_PKCS1V15_2048_SHA256": rsa.RSAPublicKey,
    "PKIX_RSA_PKCS1V15_3072_SHA256": rsa.RSAPublicKey,
    "PKIX_RSA_PKCS1V15_4096_SHA256": rsa.RSAPublicKey,
    "PKIX_ECDSA_P256_SHA_256": ec.EllipticCurvePublicKey,
    "PKIX_ECDSA_P384_SHA_384": ec.EllipticCurvePublicKey,
    "PKIX_ECDSA_P521_SHA_512": ec.EllipticCurvePublicKey,
    "PKIX_ED25519": ed25519.Ed25519PublicKey,
}
"""The keys of logs that sigstore verifies with, by their keyDetails."""


class RootFormatError(SekishoError, ValueError):
    """A text that is not a usable trusted root. The message lacks a subject: callers put the field first."""


class _Component(Struct, frozen=True, eq=False):
    """A log or an authority: its JSON, and from when until when it is valid; None for no end."""

    value: Mapping[str, Any]
    start: datetime
    end: datetime | None

    def is_valid_at(self, moment: datetime) -> bool:
        return self.start <= moment and (self.end is None or moment <= self.end)


class TrustedRoot(Struct, frozen=True, eq=False):
    """A trusted root.

    fingerprint: hex SHA-256 of its text.
    ends: when the last certificate authority or log of a kind ends, after which no new signature can be verified; None
        if there is no end.
    """

    fingerprint: str
    ends: datetime | None
    components: Mapping[str, tuple[_Component, ...]]

    @property
    def newest(self) -> datetime:
        """When its newest certificate authority or log became valid. Sigstore adds one about once a year, so an old one
        means an old root.
        """
        return max(component.start for components in self.components.values() for component in components)

    def parts_valid_at(self, moments: Sequence[datetime]) -> bytes | None:
        """The root's JSON with only the components that were valid at all moments; None where a kind has none left."""
        valid = {
            kind: [part.value for part in parts if all(map(part.is_valid_at, moments))]
            for kind, parts in self.components.items()
        }
        if not all(valid[kind] for kind in _REQUIRED):
            return None
        return msgspec.json.encode({"mediaType": MEDIA_TYPE, **valid})


def parse_trusted_root(text: bytes) -> TrustedRoot:
    """A trusted root from its JSON, as `cosign trusted-root create` writes it. Raises RootFormatError."""
    if len(text) > MAX_ROOT_BYTES:
        raise RootFormatError(f"is larger than {MAX_ROOT_BYTES:,} bytes")
    try:
        deny_duplicates(text)
        read = json.loads(text)
    except DuplicateKeyError as error:
        raise RootFormatError(f"is ambiguous: {error}") from None
    except (ValueError, RecursionError):
        raise RootFormatError("is not the JSON of a trusted root") from None
    if not isinstance(read, dict) or read.get("mediaType") != MEDIA_TYPE:
        raise RootFormatError(f"is not a trusted root; its mediaType must be {MEDIA_TYPE}")
    components = {kind: _components(kind, read.get(kind) or []) for kind in _KINDS}
    for kind, name in _REQUIRED.items():
        if not components[kind]:
            raise RootFormatError(f"has no {name} in {kind}")
    ends = [end for kind in _REQUIRED if (end := _last_end(components[kind])) is not None]
    return TrustedRoot(sha256(text).hexdigest(), min(ends, default=None), components)


def _last_end(components: Sequence[_Component]) -> datetime | None:
    ends = [component.end for component in components if component.end is not None]
    return max(ends) if len(ends) == len(components) else None


def _components(kind: str, values: Any) -> tuple[_Component, ...]:
    if not isinstance(values, list):
        raise RootFormatError(f"has no list in {kind}")
    read = _log if kind in _LOGS else _authority
    components = []
    for index, value in enumerate(values):
        try:
            components.append(read(value))
        except (KeyError, TypeError, AttributeError, ValueError, UnsupportedAlgorithm) as error:
            detail = f"lacks {error}" if isinstance(error, KeyError) else str(error)[:100]
            raise RootFormatError(f"has an unusable entry {kind}[{index}]: {detail}") from None
    return tuple(components)


# sigstore denies a whole root for one field that it does not know or that has another type, when a signature is
# verified. So what it gets has only the fields that it needs, and these are checked here.


def _log(value: Any) -> _Component:
    written = _object(value, "publicKey")
    details, raw = _text(written, "keyDetails"), _text(written, "rawBytes")
    key = load_der_public_key(b64decode(raw, validate=True))
    wanted = _KEYS.get(details)
    if wanted is None or not isinstance(key, wanted):
        raise ValueError(f"its key is not of a supported kind, or not of the kind {details[:40]}")
    algorithm = _text(value, "hashAlgorithm")
    if algorithm not in _HASHES:
        raise ValueError(f"its hashAlgorithm must be one of {words(sorted(_HASHES))}")
    start, end = _period(_object(written, "validFor"))
    log = {
        "baseUrl": _text(value, "baseUrl"),
        "hashAlgorithm": algorithm,
        "publicKey": {"rawBytes": raw, "keyDetails": details, "validFor": _written(start, end)},
        "logId": {"keyId": _base64(_object(value, "logId"), "keyId")},
    }
    return _Component(log, start, end)


def _authority(value: Any) -> _Component:
    chain = [_base64(certificate, "rawBytes") for certificate in _object(value, "certChain")["certificates"]]
    start, end = period = _period(_object(value, "validFor"))
    if not chain:
        raise ValueError("it has no certificates")
    certificates = [load_der_x509_certificate(b64decode(certificate)) for certificate in chain]
    starts = [start, *(certificate.not_valid_before_utc for certificate in certificates)]
    ends = [*([end] if end else []), *(certificate.not_valid_after_utc for certificate in certificates)]
    authority = {
        # sigstore requires names, which an authority need not have
        "subject": {"organization": "", "commonName": ""},
        "certChain": {"certificates": [{"rawBytes": certificate} for certificate in chain]},
        "validFor": _written(*period),
    }
    return _Component(authority, max(starts), min(ends))


def _period(valid_for: Mapping[str, Any]) -> tuple[datetime, datetime | None]:
    end = valid_for.get("end")
    return parse(_text(valid_for, "start")), None if end is None else parse(_text(valid_for, "end"))


def _written(start: datetime, end: datetime | None) -> Mapping[str, str]:
    return {"start": start.isoformat()} | ({} if end is None else {"end": end.isoformat()})


def _object(value: Any, field: str) -> Mapping[str, Any]:
    """The object in a field of an object. Raises KeyError, TypeError or ValueError."""
    member = value[field]
    if not isinstance(member, dict):
        raise ValueError(f"its {field} is not an object")
    return member


def _text(value: Any, field: str) -> str:
    """The text in a field of an object, which must not be empty. Raises KeyError, TypeError or ValueError."""
    text = value[field]
    if not isinstance(text, str) or not text:
        raise ValueError(f"its {field} is not a text, or empty")
    return text


def _base64(value: Any, field: str) -> str:
    """The text in a field of an object, which must be base64. Raises KeyError, TypeError or ValueError."""
    text = _text(value, field)
    b64decode(text, validate=True)
    return text
