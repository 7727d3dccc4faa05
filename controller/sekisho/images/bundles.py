"""Bundles and envelopes: a signature and the statement that it is of, read strictly.

A scan makes a bundle of many megabytes, and the interpreter can do little else while JSON is parsed. What is long in a
bundle is its statement, so it is cut out first, and only the rest is parsed.

Sources: https://github.com/sigstore/protobuf-specs (bundle), https://github.com/secure-systems-lab/dsse
"""

from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Raw, Struct

from sekisho.findings import render_value
from sekisho.images.keys import Message
from sekisho.images.statements import MAX_SIGNATURE_BYTES, NotASignatureError, deny_large, has_at_most, strict_json

BUNDLE_TYPES: Final = frozenset(
    (
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
    )
)
SIMPLE_SIGNING_TYPE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
ENVELOPE_TYPE: Final = "application/vnd.dsse.envelope.v1+json"
MAX_BUNDLE_MARKS: Final = 16 << 10
"""Quotes, backslashes, commas and openings of lists and objects in a bundle; usual are some hundreds, because what is
long in it is base64."""
SIGNATURE_ANNOTATION: Final = "dev.cosignproject.cosign/signature"
CERTIFICATE_ANNOTATION: Final = "dev.sigstore.cosign/certificate"

_BUNDLE_MARKS: Final = (b'"', b"\\", b",", b"[", b"{")
_MAX_HINT_LENGTH: Final = 64
_BASE64_STEP: Final = 1 << 18
"""Characters; a multiple of four."""
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


class Signed(Struct, frozen=True, eq=False):
    """A signature, and the message that it is of.

    payload: what the message is about: a statement, or the payload of the older format.
    """

    signature: bytes
    message: Message
    payload: bytes


class Bundle(Struct, frozen=True, eq=False):
    """A bundle's envelope.

    is_keyless: whether it holds a certificate instead of a key.
    hint: the fingerprint of the key that it says it is by, which nobody has verified; empty where it says nothing.
    integrated_times: those that its log promises, in seconds since 1970; nothing has verified them yet.
    rest: of a large bundle, its JSON with another statement of a few bytes; None for a small one.
    """

    signed: Signed
    is_keyless: bool
    integrated_times: tuple[int, ...]
    rest: bytes | None = None
    hint: str = ""


class _EnvelopeSignature(Struct, frozen=True):
    sig: str


class _Envelope(Struct, frozen=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: tuple[_EnvelopeSignature, ...]


class _LogEntry(Struct, frozen=True, rename="camel"):
    integrated_time: str | int | None = None
    inclusion_promise: dict[str, Raw] | None = None


class _KeyHint(Struct, frozen=True):
    hint: Raw = Raw()


class _Material(Struct, frozen=True, rename="camel"):
    public_key: _KeyHint | None = None
    certificate: dict[str, Raw] | None = None
    x509_certificate_chain: dict[str, Raw] | None = None
    tlog_entries: tuple[_LogEntry, ...] = ()


class _Bundle(Struct, frozen=True, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope | None = None
    message_signature: dict[str, Raw] | None = None


class _Cut(Struct, frozen=True, eq=False):
    """The JSON of a bundle or an envelope.

    text: what was cut out of it, without quotes; empty for nothing.
    mark: stands for it in the rest.
    """

    rest: bytes
    text: memoryview = memoryview(b"")
    mark: str = ""


def read_bundle(payload: bytes, max_bytes: int = MAX_SIGNATURE_BYTES) -> Bundle:
    """Parse a Sigstore bundle with a DSSE envelope, of at most `max_bytes`. Raises NotASignatureError."""
    cut = _cut(payload, max_bytes, "bundle")
    bundle = strict_json(cut.rest, _Bundle)
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
    signed = _signed(envelope, cut)
    times = tuple(
        _seconds(entry.integrated_time)
        for entry in material.tlog_entries
        if entry.integrated_time and entry.inclusion_promise is not None
    )
    hint = _fingerprint(material.public_key.hint) if material.public_key is not None else ""
    return Bundle(signed, material.certificate is not None, times, cut.rest if cut.text else None, hint)


def read_envelope(payload: bytes, max_bytes: int) -> Bundle:
    """An envelope of at most `max_bytes` that is in no bundle, as the older format has attestations by key.

    Raises NotASignatureError.
    """
    cut = _cut(payload, max_bytes, "envelope")
    return Bundle(_signed(strict_json(cut.rest, _Envelope), cut), False, ())


def read_simple_signing(payload: bytes, signature: str | None) -> Signed:
    """A signature in the older format. Raises NotASignatureError.

    signature: the layer's annotation; None where it has none.
    """
    deny_large(payload)
    if signature is None:
        raise NotASignatureError(f"its layer has no annotation {SIGNATURE_ANNOTATION}")
    return Signed(_from_base64(signature.encode(), "its signature"), Message(payload), payload)


def pre_authentication(payload_type: str, payload: bytes) -> tuple[bytes, bytes]:
    """The message that an envelope's signature is of, in two parts.

    Source: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
    """
    return b"DSSEv1 %d %s %d " % (len(payload_type), payload_type.encode(), len(payload)), payload


def _cut(payload: bytes, max_bytes: int, name: str) -> _Cut:
    """A bundle or an envelope, of a large one without its longest text. Raises NotASignatureError."""
    deny_large(payload, max_bytes)
    cut = _Cut(payload)
    if len(payload) > MAX_SIGNATURE_BYTES:
        start, end = _longest_text(payload, name)
        beside = len(payload) - (end - start)
        if beside > MAX_SIGNATURE_BYTES:
            size = f"{beside:,} bytes beside its longest text"
            raise NotASignatureError(f"its {name} has {size}; the maximum is {MAX_SIGNATURE_BYTES:,}")
        before, after = payload[:start], payload[end:]
        # Nobody can write a bundle that has this mark itself. It is base64, for those who parse the rest as a bundle.
        mark = sha256(before + after).hexdigest()
        cut = _Cut(before + mark.encode() + after, memoryview(payload)[start:end], mark)
        if not cut.rest.isascii():
            raise NotASignatureError(f"its {name} has characters that are not ASCII")
    if not has_at_most(cut.rest, MAX_BUNDLE_MARKS, _BUNDLE_MARKS):
        raise NotASignatureError(_too_many(name))
    return cut


def _longest_text(payload: bytes, name: str) -> tuple[int, int]:
    """Where the longest part between two quotes begins and ends. Raises NotASignatureError."""
    start = payload.find(b'"') + 1
    if not start:
        raise NotASignatureError("it is not JSON")
    longest = start, start
    for _ in range(MAX_BUNDLE_MARKS):
        end = payload.find(b'"', start)
        if end < 0:
            return longest
        longest = max(longest, (start, end), key=lambda part: part[1] - part[0])
        start = end + 1
    raise NotASignatureError(_too_many(name))


def _too_many(name: str) -> str:
    return f"its {name} has too many values"


def _signed(envelope: _Envelope, cut: _Cut) -> Signed:
    """The statement in an envelope, and its only signature. Raises NotASignatureError."""
    if len(envelope.signatures) != 1:
        raise NotASignatureError(f"its envelope has {len(envelope.signatures)} signatures; it must have one")
    if envelope.payload_type != _PAYLOAD_TYPE:
        raise NotASignatureError(f"its envelope holds {render_value(envelope.payload_type)}, no in-toto statement")
    statement = _from_base64(_payload(envelope, cut), "its statement")
    signature = _from_base64(envelope.signatures[0].sig.encode(), "its signature")
    return Signed(signature, Message(*pre_authentication(envelope.payload_type, statement)), statement)


def _payload(envelope: _Envelope, cut: _Cut) -> bytes | memoryview:
    """The statement in base64. Raises NotASignatureError."""
    if not cut.text:
        return envelope.payload.encode()
    if envelope.payload != cut.mark:
        raise NotASignatureError("its statement is not its longest text")
    return cut.text


def _fingerprint(hint: Raw) -> str:
    """The fingerprint of a key in a hint as cosign writes it, the digest in base64; empty for another one."""
    if len(bytes(hint)) > _MAX_HINT_LENGTH:
        return ""
    try:
        return msgspec.json.decode(hint, type=bytes).hex()
    except msgspec.DecodeError:
        return ""


def _seconds(time: str | int) -> int:
    try:
        return int(time)
    except ValueError:
        raise NotASignatureError("its log entry has no valid time") from None


def _from_base64(text: bytes | memoryview, what: str) -> bytes:
    """What a text stands for. Raises NotASignatureError."""
    # In parts, because no other thread runs while one part is decoded.
    parts = [bytes(text[at : at + _BASE64_STEP]) for at in range(0, len(text), _BASE64_STEP)]
    if any(b"=" in part for part in parts[:-1]) or any(b"\\" in part for part in parts):
        raise NotASignatureError(f"{what} is not base64")
    try:
        # The decoder of JSON takes a third of the time of binascii's.
        return b"".join([msgspec.json.decode(b'"%b"' % part, type=bytes) for part in parts])
    except msgspec.DecodeError:
        raise NotASignatureError(f"{what} is not base64") from None
