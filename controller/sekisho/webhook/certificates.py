"""The serving certificate: checked before it is served, and swapped while connections live on."""

import logging
import ssl
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from msgspec import Struct

logger = logging.getLogger(__name__)


class CertificateError(Exception):
    """A pair that cannot be served; the message is a clause that says why, and holds nothing of the key."""


class Pair(Struct, frozen=True):
    """A certificate with its chain, and its private key, both PEM. Empty where there is none yet."""

    certificate: bytes = b""
    key: bytes = b""


class Checked(Struct, frozen=True):
    """A pair that can be served."""

    pair: Pair
    context: ssl.SSLContext
    expires: datetime


class _SecretData(Struct, frozen=True):
    certificate: bytes = msgspec.field(default=b"", name="tls.crt")
    key: bytes = msgspec.field(default=b"", name="tls.key")


class _Secret(Struct, frozen=True):
    data: _SecretData | None = None


def decode_pair(raw: bytes) -> Pair:
    """The pair in a Secret, from its JSON; an empty one when the Secret holds none yet."""
    held = msgspec.json.decode(raw, type=_Secret).data or _SecretData()
    return Pair(held.certificate, held.key)


def read_pair(certificate: Path, key: Path) -> Pair:
    """The pair in two files. Raises CertificateError."""
    try:
        return Pair(certificate.read_bytes(), key.read_bytes())
    except OSError as error:
        raise CertificateError(f"{error.filename} cannot be read: {error.strerror}") from None


def check_pair(pair: Pair, now: datetime) -> Checked:
    """Try a pair in a context of its own. Raises CertificateError when it does not fit together, or is out of date."""
    try:
        leaf = x509.load_pem_x509_certificates(pair.certificate)[0]
    except ValueError:
        raise CertificateError("the certificate is not PEM") from None
    if leaf.not_valid_after_utc <= now:
        raise CertificateError(f"the certificate expired at {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}")
    context = _context()
    with tempfile.TemporaryDirectory() as folder:  # OpenSSL reads a pair from files only
        certificate, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
        certificate.write_bytes(pair.certificate)
        key.touch(mode=0o600)
        key.write_bytes(pair.key)
        try:
            context.load_cert_chain(certificate, key, password=lambda: "")
        except ssl.SSLError as error:
            mismatch = error.reason == "KEY_VALUES_MISMATCH"
            problem = "does not belong to the certificate" if mismatch else "cannot be read as an unencrypted PEM key"
            raise CertificateError(f"the private key {problem}") from None
    return Checked(pair, context, leaf.not_valid_after_utc)


class ServingCertificate:
    """What a listener serves: give it `context`, and `offer` each pair as it comes."""

    def __init__(self) -> None:
        self._served: Checked | None = None
        self.problem = "no certificate has been given yet"
        """Why the pair offered last is not served; empty when it is."""
        self.context = _context()
        # Each handshake takes the pair of its moment. Loading a pair into the context that serves would leave the
        # old one beside it where the kind of key changes, and half a pair where the second half is bad.
        self.context.sni_callback = self._choose

    @property
    def expires(self) -> datetime | None:
        """When the served certificate expires; None when there is none."""
        return self._served.expires if self._served is not None else None

    def offer(self, pair: Pair, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Serve this pair from now on; one that cannot be served is logged, and the old one stays."""
        if self._served is not None and pair == self._served.pair:
            self.problem = ""
            return
        if not pair.certificate or not pair.key:
            self.refuse("it is not complete yet")
            return
        try:
            self._served = check_pair(pair, clock())
        except CertificateError as error:
            self.refuse(str(error))
            return
        self.problem = ""
        logger.info("serving a new certificate", extra={"expires": self._served.expires.isoformat()})

    def refuse(self, problem: str) -> None:
        """Take note of a pair that cannot be served."""
        if problem != self.problem:
            self.problem = problem
            kept = "still serving the last one" if self._served is not None else "none is served"
            logger.warning("cannot serve the new certificate, %s: %s", kept, problem)

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        if self._served is not None:
            connection.context = self._served.context


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
