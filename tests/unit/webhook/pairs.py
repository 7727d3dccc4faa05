"""Certificates for tests: a pair for 127.0.0.1, signed by itself."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from sekisho.webhook.certificates import Pair


def make_pair(
    name: str = "sekisho", days: float = 1, kind: str = "ec", password: bytes | None = None, age: float = 30
) -> Pair:
    """A pair that expires in `days` and is `age` days old; a negative number is the other side of now."""
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=age))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return Pair(
        certificate.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    )


def write_pair(pair: Pair, folder: Path) -> tuple[Path, Path]:
    """Write a pair as tls.crt and tls.key."""
    files = folder / "tls.crt", folder / "tls.key"
    for file, text in zip(files, (pair.certificate, pair.key), strict=True):
        file.write_bytes(text)
    return files
