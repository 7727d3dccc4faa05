"""The authority whose certificates the servers on loopback present."""

from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.controlplane.pki import write_private
from tests.serving_certificates import make, pem

_NAMES = ("localhost", "127.0.0.1", "127.0.0.2")


class ServerTls(msgspec.Struct, frozen=True):
    """PEM files: the authority, and a certificate with its key for localhost, 127.0.0.1 and 127.0.0.2."""

    ca: Path
    certificate: Path
    key: Path


def write_server_tls(folder: Path, *more_names: str) -> ServerTls:
    """A new authority and a certificate that it signed, in this folder; more_names: hosts that it is for too."""
    authority = make(ca=True, cert_sign=True, subject="trust parts")
    server = make(authority, names=(*_NAMES, *more_names), subject="loopback")
    tls = ServerTls(folder / "ca.crt", folder / "server.crt", folder / "server.key")
    folder.mkdir(parents=True, exist_ok=True)
    tls.ca.write_bytes(pem(authority))
    tls.certificate.write_bytes(pem(server))
    key = server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(tls.key, key)
    return tls
