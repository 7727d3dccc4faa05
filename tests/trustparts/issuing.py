"""An authority that issues certificates for signing code, as Fulcio has one: a root, and an intermediate that signs."""

from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LONG_AGO: Final = datetime(2024, 1, 1, tzinfo=UTC)
FAR: Final = datetime(2040, 1, 1, tzinfo=UTC)


class Issuing(msgspec.Struct, frozen=True, eq=False):
    """The intermediate with its key, and the root."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    root: x509.Certificate

    @property
    def pem(self) -> bytes:
        """The chain, the intermediate first."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.certificate, self.root))


def new_issuing(organization: str, valid: tuple[datetime, datetime] = (LONG_AGO, FAR)) -> Issuing:
    """A new authority. valid: the intermediate's time; the root is valid from LONG_AGO until FAR."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, name = _name(organization, "root"), _name(organization, "intermediate")
    root = _authority(root_name, root_name, root_key, root_key, (LONG_AGO, FAR), path_length=1)
    return Issuing(key, _authority(name, root_name, key, root_key, valid, path_length=0), root)


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """The extension of an authority, or of a certificate that signs code."""
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


def _authority(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    valid: tuple[datetime, datetime],
    path_length: int,
) -> x509.Certificate:
    own = key.public_key()
    return (
        x509.CertificateBuilder(issuer, name, own, x509.random_serial_number(), *valid)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _name(organization: str, common_name: str) -> x509.Name:
    attributes = ((NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
