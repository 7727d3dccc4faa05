"""Kubeconfig files."""

import base64
from pathlib import Path

import msgspec
import yaml

from tests.controlplane.pki import write_private


class ClientCertificate(msgspec.Struct, frozen=True):
    """A user that a certificate names."""

    certificate: Path
    key: Path


class Token(msgspec.Struct, frozen=True):
    """A user that a bearer token names."""

    token: str


def write_kubeconfig(path: Path, server: str, ca: Path, user: ClientCertificate | Token) -> None:
    """Write a kubeconfig that holds everything in itself, for its owner's eyes only."""
    match user:
        case ClientCertificate(certificate, key):
            credentials = {"client-certificate-data": _encoded(certificate), "client-key-data": _encoded(key)}
        case Token(token):
            credentials = {"token": token}
    name = "sekisho"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": _encoded(ca)}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "users": [{"name": name, "user": credentials}],
    }
    write_private(path, yaml.safe_dump(content, sort_keys=False).encode())


def _encoded(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
