"""What is signed: bundles, envelopes and statements, read strictly.

A signature counts for an image only if the signed statement names the image's digest and has the predicate type of
`cosign sign`. An attestation, such as a scan, is signed in the same way, and is not a signature of the image.

Sources: https://github.com/sigstore/protobuf-specs (bundle), https://github.com/secure-systems-lab/dsse,
https://github.com/in-toto/attestation/tree/main/spec, https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
"""

import binascii
from base64 import b64decode
from collections.abc import Collection, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from sekisho.documents.duplicates import DuplicateKeyError, deny_duplicates
from sekisho.errors import SekishoError
from sekisho.findings import render_value

BUNDLE_TYPES: Final = frozenset(
    (
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
    )
)
SIMPLE_SIGNING_TYPE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
ENVELOPE_TYPE: Final = "application/vnd.dsse.envelope.v1+json"
MAX_SIGNATURE_BYTES: Final = 256 << 10
"""The size of a bundle with a signature; usual are 0.7 KB by a key, 5 KB keyless. A larger one does not count."""
MAX_BUNDLE_MARKS: Final = 16 << 10
"""Quotes, backslashes, commas and openings of lists and objects in a bundle; usual are some hundreds, because what is
long in it is base64."""
MAX_VALUES: Final = 1 << 20
"""The commas and openings of objects in a statement; usual are up to a quarter of a million."""
MAX_LISTS: Final = 128 << 10
"""The openings of lists in a statement."""
MAX_SUBJECTS: Final = 64
SIGN_PREDICATE: Final = "https://sigstore.dev/cosign/sign/v1"

SIGNATURE_ANNOTATION: Final = "dev.cosignproject.cosign/signature"
CERTIFICATE_ANNOTATION: Final = "dev.sigstore.cosign/certificate"

_BASE64_STEP: Final = 1 << 18
"""Characters; a multiple of four."""
_COUNT_STEP: Final = 1 << 20
_BUNDLE_MARKS: Final = (b'"', b"\\", b",", b"[", b"{")
_STRUCTURE: Final = (b"\\", b",", b":", b"[", b"]", b"{", b"}")
_LONG_STRING: Final = 4096
_KEPT_OF_STRING: Final = 64
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENT_TYPES: Final = frozenset(("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"))
_SIMPLE_SIGNING: Final = "cosign container image signature"

T = TypeVar("T")


class NotASignatureError(SekishoError, ValueError):
    """Why a candidate is not a signature of the image; the message is a clause about the candidate."""


class Signed(Struct, frozen=True, eq=False):
    """A signature, and the message that it is of.

    payload: what the message is about: a statement, or the payload of the older format.
    """

    signature: bytes
    message: bytes
    payload: bytes


class Bundle(Struct, frozen=True, eq=False):
    """A bundle's envelope.

    is_keyless: whether it holds a certificate instead of a key.
    integrated_times: those that its log promises, in seconds since 1970; nothing has verified them yet.
    rest: of a large bundle, its JSON with an empty statement; None for a small one.
    """

    signed: Signed
    is_keyless: bool
    integrated_times: tuple[int, ...]
    rest: bytes | None = None


class _EnvelopeSignature(Struct, frozen=True):
    sig: str


class _Envelope(Struct, frozen=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: tuple[_EnvelopeSignature, ...]


class _LogEntry(Struct, frozen=True, rename="camel"):
    integrated_time: str | int | None = None
    inclusion_promise: dict[str, Raw] | None = None


class _Material(Struct, frozen=True, rename="camel"):
    public_key: dict[str, Raw] | None = None
    certificate: dict[str, Raw] | None = None
    x509_certificate_chain: dict[str, Raw] | None = None
    tlog_entries: tuple[_LogEntry, ...] = ()


class _Bundle(Struct, frozen=True, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope | None = None
    message_signature: dict[str, Raw] | None = None


class _Subject(Struct, frozen=True):
    digest: dict[str, str]


class _Statement(Struct, frozen=True):
    type: str = msgspec.field(name="_type")
    predicate_type: str = msgspec.field(name="predicateType")
    subject: tuple[_Subject, ...] = ()


class _Image(Struct, frozen=True):
    digest: str = msgspec.field(name="docker-manifest-digest")


class _Critical(Struct, frozen=True):
    image: _Image
    type: str


class _SimpleSigning(Struct, frozen=True):
    critical: _Critical


def strict_json(text: bytes, kind: type[T], keys: bytes | None = None) -> T:
    """JSON without duplicate keys, as a type. Raises NotASignatureError.

    No other thread runs while a list or a string is read: how many there may be must be bounded before.

    keys: the text without long strings, in which duplicate keys are looked for; None for the text itself.
    """
    try:
        deny_duplicates(text if keys is None else keys)
        return msgspec.json.decode(text, type=kind)
    except DuplicateKeyError as error:
        raise NotASignatureError(f"its JSON is ambiguous: {error}") from None
    except RecursionError:
        raise NotASignatureError("its JSON is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise NotASignatureError(f"its JSON has another form: {str(error)[:100]}") from None
    except ValueError:  # that of msgspec is one as well
        raise NotASignatureError("it is not JSON") from None


def _without_long_strings(bundle: bytes) -> bytes:
    """A bundle with long strings cut: what is left is enough to find duplicate keys.

    A part between quotes that has no structural character is inside a string, and without backslashes it can be cut.
    """
    return b'"'.join(
        part[:_KEPT_OF_STRING] if len(part) > _LONG_STRING and not any(one in part for one in _STRUCTURE) else part
        for part in bundle.split(b'"')
    )


def _has_at_most(text: bytes, count: int, marks: Sequence[bytes]) -> bool:
    """Whether a text has at most so many of some characters. Ends early, and lets other threads run."""
    for at in range(0, len(text), _COUNT_STEP):
        count -= sum(text.count(mark, at, at + _COUNT_STEP) for mark in marks)
        if count < 0:
            return False
    return True


def read_bundle(payload: bytes, max_bytes: int = MAX_SIGNATURE_BYTES) -> Bundle:
    """The envelope of a bundle of at most so many bytes. Raises NotASignatureError."""
    bundle = _strict_outside(payload, _Bundle, max_bytes, "bundle")
    if bundle.media_type not in BUNDLE_TYPES:
        raise NotASignatureError(f"it is a bundle of the type {render_value(bundle.media_type)}; 0.3 is supported")
    envelope, material = bundle.dsse_envelope, bundle.verification_material
    if envelope is None or bundle.message_signature is not None:
        raise NotASignatureError("its bundle must hold an envelope with a statement, and nothing else")
    keys = [
        part
        for part in (material.public_key, material.certificate, material.x509_certificate_chain)
        if part is not None
    ]
    if len(keys) != 1 or material.x509_certificate_chain is not None:
        raise NotASignatureError("its bundle must hold either a key or one certificate")
    signed = _signed(envelope)
    times = tuple(
        _seconds(entry.integrated_time)
        for entry in material.tlog_entries
        if entry.integrated_time and entry.inclusion_promise is not None
    )
    is_large = len(payload) > MAX_SIGNATURE_BYTES
    rest = _without_statement(payload, envelope.payload.encode()) if is_large else None
    return Bundle(signed, material.certificate is not None, times, rest)


def read_envelope(payload: bytes, max_bytes: int) -> Bundle:
    """An envelope of at most so many bytes that is in no bundle, as the older format has attestations by key.

    Raises NotASignatureError.
    """
    return Bundle(_signed(_strict_outside(payload, _Envelope, max_bytes, "envelope")), False, ())


def _strict_outside(payload: bytes, kind: type[T], max_bytes: int, name: str) -> T:
    """A bundle or an envelope, as JSON without duplicate keys outside of its statement. Raises NotASignatureError."""
    deny_large(payload, max_bytes)
    if not _has_at_most(payload, MAX_BUNDLE_MARKS, _BUNDLE_MARKS):
        raise NotASignatureError(f"its {name} has too many values")
    is_large = len(payload) > MAX_SIGNATURE_BYTES
    if is_large and not payload.isascii():  # text with other characters takes up to four times the memory
        raise NotASignatureError(f"its {name} has characters that are not ASCII")
    return strict_json(payload, kind, _without_long_strings(payload) if is_large else None)


def _signed(envelope: _Envelope) -> Signed:
    """The statement in an envelope, and its only signature. Raises NotASignatureError."""
    if len(envelope.signatures) != 1:
        raise NotASignatureError(f"its envelope has {len(envelope.signatures)} signatures; it must have one")
    if envelope.payload_type != _PAYLOAD_TYPE:
        raise NotASignatureError(f"its envelope holds {render_value(envelope.payload_type)}, no in-toto statement")
    statement = _from_base64(envelope.payload, "its statement")
    signature = _from_base64(envelope.signatures[0].sig, "its signature")
    return Signed(signature, pre_authentication(envelope.payload_type, statement), statement)


def _without_statement(bundle: bytes, encoded: bytes) -> bytes:
    """The JSON of a bundle without its statement, as far as it is found. To search for all of it would take long."""
    at = bundle.find(encoded[:_KEPT_OF_STRING])
    return bundle[:at] + bundle[at + len(encoded) :] if at >= 0 and bundle.startswith(encoded, at) else bundle


def _seconds(time: str | int) -> int:
    try:
        return int(time)
    except ValueError:
        raise NotASignatureError("its log entry has no valid time") from None


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """The message that an envelope's signature is of.

    Source: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
    """
    return b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type.encode(), len(payload), payload)


def read_simple_signing(payload: bytes, signature: str | None) -> Signed:
    """A signature in the older format. Raises NotASignatureError.

    signature: the layer's annotation; None where it has none.
    """
    deny_large(payload)
    if signature is None:
        raise NotASignatureError(f"its layer has no annotation {SIGNATURE_ANNOTATION}")
    return Signed(_from_base64(signature, "its signature"), payload, payload)


def deny_large(payload: bytes, max_bytes: int = MAX_SIGNATURE_BYTES) -> None:
    """Raise NotASignatureError for more bytes than a signature, or an attestation, may have."""
    if len(payload) > max_bytes:
        kind = "a signature" if max_bytes == MAX_SIGNATURE_BYTES else "an attestation"
        raise NotASignatureError(f"it has {len(payload):,} bytes; {kind} has at most {max_bytes:,}")


def verify_statement(statement: bytes, digest: str, predicates: Collection[str] = ()) -> str:
    """The predicate type of an in-toto statement about the image with this digest: a signature, or one of `predicates`.

    Raises NotASignatureError for any other statement.
    """
    if not _has_at_most(statement, MAX_VALUES, (b",", b"{")) or not _has_at_most(statement, MAX_LISTS, (b"[",)):
        raise NotASignatureError(f"its statement has more than {MAX_VALUES:,} values or {MAX_LISTS:,} lists")
    read = strict_json(statement, _Statement)
    if read.type not in _STATEMENT_TYPES:
        raise NotASignatureError(f"its statement has the type {render_value(read.type)}, not in-toto's")
    if read.predicate_type != SIGN_PREDICATE and read.predicate_type not in predicates:
        raise NotASignatureError(f"it is an attestation, {render_value(read.predicate_type)}, not a signature")
    if len(read.subject) > MAX_SUBJECTS:
        raise NotASignatureError(f"its statement has {len(read.subject)} subjects; the maximum is {MAX_SUBJECTS}")
    algorithm, _, value = digest.partition(":")
    if not any(subject.digest.get(algorithm) == value for subject in read.subject):
        raise NotASignatureError("it is about another image")
    return read.predicate_type


def verify_simple_signing(payload: bytes, digest: str) -> None:
    """Raise NotASignatureError unless a payload of the older format is a signature of the image with this digest."""
    critical = strict_json(payload, _SimpleSigning).critical
    if critical.type != _SIMPLE_SIGNING:
        raise NotASignatureError(f"its payload has the type {render_value(critical.type)}, not cosign's")
    if critical.image.digest != digest:
        raise NotASignatureError("it is about another image")


def _from_base64(text: str, what: str) -> bytes:
    if "=" in text[:-2]:
        raise NotASignatureError(f"{what} is not base64")
    try:
        if len(text) <= _BASE64_STEP:
            return b64decode(text, validate=True)
        # In parts, because no other thread runs while one part is decoded.
        parts = range(0, len(text), _BASE64_STEP)
        return b"".join(b64decode(text[at : at + _BASE64_STEP], validate=True) for at in parts)
    except (binascii.Error, ValueError):
        raise NotASignatureError(f"{what} is not base64") from None
