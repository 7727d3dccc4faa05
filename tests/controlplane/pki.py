"""The keys and certificates of a control plane, new for every control plane."""

import datetime
import ipaddress
import os
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK = "127.0.0.1"
SERVICE_RANGE = "10.96.0.0/24"

_VALID_FOR = datetime.timedelta(days=3650)
_SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_SERVER_ADDRESSES = (LOOPBACK, str(ipaddress.ip_network(SERVICE_RANGE)[1]))

_Issuer: TypeAlias = tuple[x509.Name, ec.EllipticCurvePrivateKey]


def write_pki(folder: Path, address: str = LOOPBACK) -> None:
    """Write NAME.crt and NAME.key for ca, apiserver, admin and controller-manager, and service-account.key.

    The API server's certificate is for `address` too. What is there already stays, so that a restarted control plane
    is the same one to its clients.
    """
    if (folder / "complete").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    ca_key = _write_key(folder / "ca.key")
    issuer: _Issuer = (_name("sekisho-controlplane"), ca_key)
    authority = _unsigned(issuer[0], issuer[0], ca_key.public_key())
    _write_certificate(folder / "ca.crt", _as_authority(authority), ca_key)

    addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in sorted({*_SERVER_ADDRESSES, address})]
    names = x509.SubjectAlternativeName([*(x509.DNSName(name) for name in _SERVER_NAMES), *addresses])
    _issue(folder, "apiserver", issuer, _name("kube-apiserver"), ExtendedKeyUsageOID.SERVER_AUTH, names)
    for file, subject in (
        ("admin", _name("admin", group="system:masters")),
        ("controller-manager", _name("system:kube-controller-manager")),
    ):
        _issue(folder, file, issuer, subject, ExtendedKeyUsageOID.CLIENT_AUTH, None)
    _write_key(folder / "service-account.key")
    (folder / "complete").touch()


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, replacing one of that name as a whole."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)
    temporary.replace(path)


def _name(common_name: str, group: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if group:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(attributes)


def _unsigned(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _as_authority(certificate: x509.CertificateBuilder) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    return certificate.add_extension(constraints, critical=True).add_extension(usage, critical=True)


def _issue(
    folder: Path,
    file: str,
    issuer: _Issuer,
    subject: x509.Name,
    usage: x509.ObjectIdentifier,
    names: x509.SubjectAlternativeName | None,
) -> None:
    key = _write_key(folder / f"{file}.key")
    issuer_name, issuer_key = issuer
    certificate = (
        _unsigned(subject, issuer_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if names:
        certificate = certificate.add_extension(names, critical=False)
    _write_certificate(folder / f"{file}.crt", certificate, issuer_key)


def _write_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    # The one form of a private key that Kubernetes also takes where it wants the public key.
    traditional = serialization.PrivateFormat.TraditionalOpenSSL
    write_private(path, key.private_bytes(serialization.Encoding.PEM, traditional, serialization.NoEncryption()))
    return key


def _write_certificate(path: Path, certificate: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> None:
    write_private(path, certificate.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
