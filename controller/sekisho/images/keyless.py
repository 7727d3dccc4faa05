"""Keyless signatures, which sigstore verifies, and what sigstore leaves to its callers.

sigstore is imported when the first such signature is verified: most installations have none, and it takes 22 MiB.

sigstore checks that the certificate leads to the root's authority and is in a certificate transparency log, that a
signed time lies in its lifetime, and that the entry of the transparency log is about this signature. Checked here: that
logs and authorities were valid at that time, that no JSON is ambiguous, issuer and identity.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.x509 import Certificate
from msgspec import Struct

from sekisho.images.bundles import Bundle
from sekisho.images.roots import TrustedRoot
from sekisho.images.statements import NotASignatureError

if TYPE_CHECKING:
    from sigstore.models import Bundle as SigstoreBundle
    from sigstore.verify import Verifier

_ISSUER: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_OLDER_ISSUER: Final = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_UTF8_STRING: Final = 0x0C
_LONG_FORM: Final = 0x80


class Signer(Struct, frozen=True, gc=False):
    """Who made a keyless signature: identity and issuer of the certificate, and the proven time."""

    identity: str
    issuer: str
    signed_at: datetime


class _AnySigner:
    """Lets sigstore verify without names, which are compared afterwards, for all authorities together."""

    def verify(self, cert: Certificate) -> None:
        """Accept the certificate."""


def verify_keyless(payload: bytes, bundle: Bundle, root: TrustedRoot) -> Signer:
    """Who has signed the statement of a bundle; what it says is left to the caller.

    payload: the bytes of the bundle, which `bundle` was read from.

    Raises NotASignatureError if the signature is not valid, and ImportError without the extra `keyless`.
    """
    try:
        parsed = _parsed(payload, bundle)
        times = [datetime.fromtimestamp(time, tz=UTC) for time in bundle.integrated_times]
        signed_data = parsed.verification_material.timestamp_verification_data
        stamps = signed_data.rfc3161_timestamps if signed_data else []
        if len(stamps) > 1:
            raise NotASignatureError(f"it has {len(stamps)} timestamps; the maximum is 1")
        times += [stamp.tst_info.gen_time for stamp in stamps]
        # The first of them is proven: the log's if it promised it, else that of the timestamp authority.
        payload_of = _verifier_at(times, root).verify_dsse(parsed, _AnySigner())[1]
        identity, issuer = _identity(parsed.signing_certificate), _issuer(parsed.signing_certificate)
    except NotASignatureError:
        raise
    except Exception as error:  # parsers of certificates and of timestamps raise many kinds: none of them is a pass
        raise NotASignatureError(f"its certificate, log entry or signature is not valid: {error}") from None
    if payload_of != bundle.signed.payload:
        raise NotASignatureError("its JSON is ambiguous: what is signed is another statement")
    return Signer(identity, issuer, times[0])


def _parsed(payload: bytes, bundle: Bundle) -> "SigstoreBundle":
    """What sigstore reads of a bundle. Of a large one, it gets the statement as `read_bundle` has it.

    It would read a large statement in one step, during which no other thread runs.
    """
    from sigstore.models import Bundle as SigstoreBundle

    if bundle.rest is None:
        return SigstoreBundle.from_json(payload)
    parsed = SigstoreBundle.from_json(bundle.rest)
    envelope = parsed._inner.dsse_envelope  # noqa: SLF001
    if envelope is not None:
        envelope.payload = bundle.signed.payload
    return parsed


def _verifier_at(times: Sequence[datetime], root: TrustedRoot) -> "Verifier":
    if not times:
        raise NotASignatureError("nothing proves when it was signed")
    text = root.parts_valid_at(times)
    if text is None:
        raise NotASignatureError("the trusted root has no authority or log that was valid when it was signed")
    return _verifier(text)


@lru_cache(maxsize=16)
def _verifier(text: bytes) -> "Verifier":
    from sigstore.models import TrustedRoot as SigstoreRoot
    from sigstore.verify import Verifier
    from sigstore_models.trustroot.v1 import TrustedRoot as RootMessage

    return Verifier(trusted_root=SigstoreRoot(RootMessage.from_json(text)))


def _identity(certificate: Certificate) -> str:
    names = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    if len(names) == 1 and isinstance(names[0], (x509.UniformResourceIdentifier, x509.RFC822Name)):
        return names[0].value
    raise NotASignatureError("its certificate must name one identity, a URI or an email address")


def _issuer(certificate: Certificate) -> str:
    """The issuer of the identity, which one of two extensions holds, or both."""
    values = set()
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.UnrecognizedExtension):
            if extension.oid == _ISSUER:
                values.add(_utf8_string(extension.value.value))
            elif extension.oid == _OLDER_ISSUER:
                values.add(extension.value.value.decode())
    if len(values) != 1:
        raise NotASignatureError(f"its certificate names {len(values)} issuers; it must name one")
    return values.pop()


def _utf8_string(der: bytes) -> str:
    """The text of a DER-encoded UTF8String of up to 127 bytes, or of up to 65,535 in the long form."""
    tag, length, text = der[0], der[1], der[2:]
    if length >= _LONG_FORM:
        size = length - _LONG_FORM
        length, text = int.from_bytes(text[:size]), text[size:]
    if tag != _UTF8_STRING or length != len(text):
        raise NotASignatureError("the issuer in its certificate is not a UTF-8 string")
    return text.decode()
