"""Trusted roots: the certificate authorities and logs that keyless signatures are verified with.

A component of a root counts only for signatures from the time in which it was valid: `parts_valid_at` leaves out the
others, because sigstore does not check this itself.

Source: https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_trustroot.proto
"""

import binascii
import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import msgspec
from cryptography.x509 import load_der_x509_certificate
from msgspec import Struct

from sekisho.documents.duplicates import DuplicateKeyError, deny_duplicates
from sekisho.errors import SekishoError
from sekisho.timestamps import parse

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
MAX_ROOT_BYTES: Final = 512 << 10
_KINDS: Final = ("tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities")
_REQUIRED: Final = {
    "tlogs": "transparency log",
    "certificateAuthorities": "certificate authority",
    "ctlogs": "certificate transparency log",
}


class RootFormatError(SekishoError, ValueError):
    """A text that is not a usable trusted root; the message continues a sentence that begins with the text's place."""


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
    components = []
    for index, value in enumerate(values):
        try:
            components.append(_component(value))
        except (KeyError, TypeError, AttributeError, ValueError, binascii.Error) as error:
            detail = f"lacks {error}" if isinstance(error, KeyError) else str(error)[:100]
            raise RootFormatError(f"has an unusable entry {kind}[{index}]: {detail}") from None
    return tuple(components)


def _component(value: Any) -> _Component:
    key = value.get("publicKey")
    if key is not None:
        if not key["rawBytes"]:
            raise ValueError("its key is empty")
        start, end = _period(key["validFor"])
        return _Component(value, start, end)
    start, end = _period(value["validFor"])
    certificates = [
        load_der_x509_certificate(b64decode(certificate["rawBytes"], validate=True))
        for certificate in value["certChain"]["certificates"]
    ]
    if not certificates:
        raise ValueError("it has no certificates")
    starts = [start, *(certificate.not_valid_before_utc for certificate in certificates)]
    ends = [*([end] if end else []), *(certificate.not_valid_after_utc for certificate in certificates)]
    # sigstore requires a common name, which an authority need not have
    subject = {"organization": "", "commonName": ""} | (value.get("subject") or {})
    return _Component(value | {"subject": subject}, max(starts), min(ends))


def _period(valid_for: Mapping[str, Any]) -> tuple[datetime, datetime | None]:
    start, end = valid_for.get("start"), valid_for.get("end")
    return parse(start) if start else datetime.min.replace(tzinfo=UTC), parse(end) if end else None
