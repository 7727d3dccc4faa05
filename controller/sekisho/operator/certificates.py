"""The webhook's certificate authority and serving certificate: making them, and telling why they must be made anew.

Both are ECDSA P-256. The authority lives ten years and signs nothing but the webhook's certificate, which lives one
year. Each is replaced at two thirds of its life.
"""

import ipaddress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from sekisho.errors import SekishoError

AUTHORITY_LIFETIME = timedelta(days=3650)
SERVING_LIFETIME = timedelta(days=365)
BACKDATE = timedelta(hours=1)
"""How far the clocks of API server and webhook may be behind ours when a certificate is new."""


class CertificateError(SekishoError):
    """A certificate or key that can't be used; the message says why."""


class KeyPair(Struct, frozen=True, eq=False):
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        return to_pem(self.certificate)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def new_authority(now: datetime) -> KeyPair:
    """A new certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named("Sekisho webhook CA")
    certificate = (
        _builder(name, name, key, now, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(certificate, key)


def new_serving(authority: KeyPair, names: tuple[str, ...], now: datetime) -> KeyPair:
    """A new serving certificate, signed by `authority`, for `names`: DNS names and IP addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    issuer_key_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(_named("Sekisho webhook"), issuer.subject, key, now, SERVING_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key_id), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return KeyPair(certificate, key)


def load_certificate(pem: bytes) -> x509.Certificate:
    """The (first) certificate of a PEM text. Raises CertificateError."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise CertificateError("the certificate is missing" if not pem else "the certificate is corrupt") from None


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM text, at least one. Raises CertificateError."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CertificateError("the certificate is missing" if not pem else "the certificate is corrupt") from None


def load_pair(certificate_pem: bytes, key_pem: bytes) -> KeyPair:
    """A certificate with its key from their PEM texts. Raises CertificateError."""
    certificate = load_certificate(certificate_pem)
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        raise CertificateError("the key is missing" if not key_pem else "the key is corrupt") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the key is not an ECDSA key")
    if key.public_key() != certificate.public_key():
        raise CertificateError("the key is not the certificate's")
    return KeyPair(certificate, key)


def to_pem(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM text."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether `authority` signed `certificate`."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def key_id(authority: x509.Certificate) -> str:
    """What the certificates of an authority call its key, in hex; empty when it has no such name."""
    try:
        return authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    except (x509.ExtensionNotFound, ValueError):
        return ""


def renewal_time(certificate: x509.Certificate) -> datetime:
    """When a certificate is to be replaced: at two thirds of its life."""
    born = certificate.not_valid_before_utc
    return born + (certificate.not_valid_after_utc - born) * 2 / 3


def why_renew(certificate: x509.Certificate, now: datetime) -> str | None:
    """Why the clock asks for a new certificate, or None."""
    if now < certificate.not_valid_before_utc:
        return "it is not valid yet: a clock was set back"
    if now >= renewal_time(certificate):
        return "two thirds of its life are over"
    return None


def why_new_authority(authority: KeyPair, now: datetime) -> str | None:
    """Why a new authority is needed in place of this one, or None."""
    try:
        constraints = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        return "it is no certificate authority"
    if not constraints.ca:
        return "it is no certificate authority"
    return why_renew(authority.certificate, now)


def why_new_serving(serving: KeyPair, authority: x509.Certificate, names: tuple[str, ...], now: datetime) -> str | None:
    """Why a new serving certificate is needed in place of this one, or None."""
    if not is_issued_by(serving.certificate, authority):
        return "another authority signed it"
    if names_of(serving.certificate) != set(names):
        return "the names that the webhook is called by changed"
    return why_renew(serving.certificate, now)


def names_of(certificate: x509.Certificate) -> set[str]:
    """The DNS names and IP addresses that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return set()
    return {
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    }


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
