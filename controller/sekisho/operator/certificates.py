"""The webhook's certificate authority and serving certificate: how they are made, and when they must be replaced.

Both are ECDSA P-256. The authority is valid for ten years and signs nothing but the webhook's certificate, which is
valid for one year. Each is replaced after two thirds of its lifetime.
"""

import ipaddress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from sekisho.cluster.server_certificates import CertificateError, why_rejected

AUTHORITY_LIFETIME = timedelta(days=3650)
SERVING_LIFETIME = timedelta(days=365)
BACKDATE = timedelta(hours=1)
"""How far the clocks of API server and webhook may be behind this one when a certificate is new."""


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
    name = _common_name("Sekisho webhook CA")
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
        _builder(_common_name("Sekisho webhook"), issuer.subject, key, now, SERVING_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key_id), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return KeyPair(certificate, key)


def load_certificate(pem: bytes) -> x509.Certificate:
    """The first certificate in a PEM text. Raises CertificateError."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise CertificateError("the certificate is missing" if not pem else "the certificate is corrupt") from None


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """The certificates in a PEM text, at least one. Raises CertificateError."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CertificateError("the certificate is missing" if not pem else "the certificate is corrupt") from None


def load_pair(certificate_pem: bytes, key_pem: bytes) -> KeyPair:
    """A certificate and its key, from their PEM texts. Raises CertificateError."""
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
    """A certificate in PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether `authority` signed `certificate`."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def key_id(authority: x509.Certificate) -> str:
    """The authority's subject key identifier, in hex; empty when it has none."""
    try:
        return authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    except (x509.ExtensionNotFound, ValueError):
        return ""


def renewal_time(certificate: x509.Certificate) -> datetime:
    """When a certificate is replaced: after two thirds of its lifetime."""
    start = certificate.not_valid_before_utc
    return start + (certificate.not_valid_after_utc - start) * 2 / 3


def why_renew(certificate: x509.Certificate, now: datetime) -> str | None:
    """Why a certificate must be replaced at the time `now`; None when it need not be."""
    if now < certificate.not_valid_before_utc:
        return "it is not valid yet: a clock was set back"
    if now >= renewal_time(certificate):
        return "two thirds of its lifetime have passed"
    return None


def why_new_authority(authority: KeyPair, names: tuple[str, ...], now: datetime) -> str | None:
    """Why this authority must be replaced; None when it need not be."""
    try:
        constraints = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        return "it is not a certificate authority"
    if not constraints.ca:
        return "it is not a certificate authority"
    why = why_renew(authority.certificate, now) or why_rejected([authority.certificate], [], (), now)
    if why is not None:
        return why
    sample = new_serving(authority, names, now).certificate
    rejection = why_rejected([sample], [authority.certificate], names, now)
    return None if rejection is None else f"the API server would reject its certificates: {rejection}"


def why_new_serving(serving: KeyPair, authority: x509.Certificate, names: tuple[str, ...], now: datetime) -> str | None:
    """Why this serving certificate must be replaced; None when it need not be."""
    if not is_issued_by(serving.certificate, authority):
        return "another authority signed it"
    if names_of(serving.certificate) != set(names):
        return "the names of the webhook changed"
    return why_renew(serving.certificate, now) or why_rejected([serving.certificate], [authority], names, now)


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


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


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
