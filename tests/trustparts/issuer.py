"""Two servers that a Sigstore needs beside its own: an OIDC issuer, and a log of certificates."""

import hashlib
import json
import struct
import threading
import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CLIENT: Final = "sigstore"
_CT_POISON: Final = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.3")
_TOKEN_SECONDS: Final = 600


class IssuerKind(Enum):
    """The issuers of one server, by path. Of PEOPLE a certificate has an e-mail address, of the others a URI.

    GITHUB and GITLAB make tokens as these providers do, and Fulcio is configured for them as the public one is.
    """

    CI = "ci"
    OTHER_CI = "ci.evil.test"
    PEOPLE = "people"
    GITHUB = "github"
    GITLAB = "gitlab"


_CLAIMS: Final = {IssuerKind.GITHUB: "job_workflow_ref", IssuerKind.GITLAB: "ci_config_ref_uri"}
"""The claim that says which workflow runs."""


class IssuerAndLog:
    """OIDC issuers at the paths of IssuerKind, and a log of certificates at /ct; plain HTTP on loopback."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log_key = ec.generate_private_key(ec.SECP256R1())
        # cosign takes tokens with signatures of this kind only.
        self._token_key = rsa.generate_private_key(65537, 2048)

    def issuer(self, kind: IssuerKind) -> str:
        """The URL that tokens and certificates name as their issuer."""
        return f"{self.url}/{kind.value}"

    @property
    def log_url(self) -> str:
        """Where Fulcio sends precertificates."""
        return f"{self.url}/ct"

    @property
    def log_pem(self) -> bytes:
        """The log's public key."""
        return self.log_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def token(self, identity: str, kind: IssuerKind = IssuerKind.CI) -> str:
        """A token that says who somebody is: a URI, of PEOPLE an e-mail address, of GITHUB and GITLAB the workflow."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer(kind),
            "aud": CLIENT,
            "sub": identity,
            "iat": now,
            "exp": now + _TOKEN_SECONDS,
        }
        if kind is IssuerKind.PEOPLE:
            claims |= {"email": identity, "email_verified": True}
        if kind in _CLAIMS:
            claims |= {"sub": "acme/pay", _CLAIMS[kind]: identity}
        signed = ".".join(_url64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "1"}, claims))
        return f"{signed}.{_url64(self._token_key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def answer(self, path: str, body: bytes) -> dict[str, Any] | None:
        """The answer to one request; None for a path that it does not serve."""
        if path == "/ct/ct/v1/add-pre-chain":
            precertificate, issuer = map(b64decode, json.loads(body)["chain"][:2])
            return signed_certificate_timestamp(
                self.log_key, x509.load_der_x509_certificate(precertificate), x509.load_der_x509_certificate(issuer)
            )
        kind, _, document = path.removeprefix("/").partition("/")
        if kind not in {one.value for one in IssuerKind}:
            return None
        if document == ".well-known/openid-configuration":
            url = f"{self.url}/{kind}"
            return {
                "issuer": url,
                "jwks_uri": f"{url}/keys",
                "authorization_endpoint": f"{url}/auth",
                "token_endpoint": f"{url}/token",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        if document == "keys":
            numbers = self._token_key.public_key().public_numbers()
            exponent, modulus = (
                _url64(number.to_bytes(size, "big")) for number, size in ((numbers.e, 3), (numbers.n, 256))
            )
            return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "e": exponent, "n": modulus}]}
        return None

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve in threads of this process."""
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])))

            def _answer(self, body: bytes) -> None:
                answer = served.answer(self.path, body)
                content = json.dumps(answer).encode()
                self.send_response(404 if answer is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it overrides
                """Quiet: a failing test shows the logs of those who asked."""

        port = int(self.url.rpartition(":")[2])
        with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, name="issuer", daemon=True)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


def signed_certificate_timestamp(
    log_key: ec.EllipticCurvePrivateKey,
    precertificate: x509.Certificate,
    issuer: x509.Certificate,
    at: float | None = None,
) -> dict[str, Any]:
    """The log's answer to add-pre-chain (RFC 6962): its promise to list the certificate. at: seconds, None for now."""
    milliseconds = int((time.time() if at is None else at) * 1000)
    spki = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    issuer_key = hashlib.sha256(issuer.public_key().public_bytes(*spki)).digest()
    content = _without_poison(precertificate)
    # version 1, certificate_timestamp, time, precert_entry, issuer, TBSCertificate, no extensions
    promise = struct.pack(">BBQH", 0, 0, milliseconds, 1) + issuer_key
    promise += len(content).to_bytes(3, "big") + content + b"\0\0"
    signature = log_key.sign(promise, ec.ECDSA(hashes.SHA256()))
    return {
        "sct_version": 0,
        "id": b64encode(hashlib.sha256(log_key.public_key().public_bytes(*spki)).digest()).decode(),
        "timestamp": milliseconds,
        "extensions": "",
        # 4: SHA-256, 3: ECDSA
        "signature": b64encode(struct.pack(">BBH", 4, 3, len(signature)) + signature).decode(),
    }


def _without_poison(precertificate: x509.Certificate) -> bytes:
    """The TBSCertificate that the final certificate will have, but for the promises themselves.

    The library writes a TBSCertificate only while it signs, so a key of the issuer's kind signs it here, for nobody.
    """
    algorithm = precertificate.signature_hash_algorithm
    assert isinstance(algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512)
    builder = x509.CertificateBuilder(
        precertificate.issuer,
        precertificate.subject,
        precertificate.public_key(),
        precertificate.serial_number,
        precertificate.not_valid_before_utc,
        precertificate.not_valid_after_utc,
    )
    for extension in precertificate.extensions:
        if extension.oid != _CT_POISON:
            builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), algorithm).tbs_certificate_bytes


def _url64(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
