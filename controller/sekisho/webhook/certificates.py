"""The serving certificate: checked before it is served, and replaced without closing connections.

The authority of clients likewise, where one is set: a client without a certificate of it fails in the handshake.
"""

import logging
import ssl
import tempfile
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from sekisho.cluster.server_certificates import CertificateError, why_rejected
from sekisho.timestamps import rfc3339

logger = logging.getLogger(__name__)


class Pair(Struct, frozen=True):
    """A certificate with its chain, its private key, and the authorities by which the API server verifies it, all PEM.

    Empty when there is none yet; `authorities` also when they are not known.
    """

    certificate: bytes = b""
    key: bytes = b""
    authorities: bytes = b""


class CheckedPair(Struct, frozen=True):
    """A pair that can be served."""

    pair: Pair
    context: ssl.SSLContext
    begins: datetime
    expires: datetime
    authority: str
    """The key id of the authority that signed it, in hex; empty when the certificate does not say."""


class _SecretData(Struct, frozen=True):
    certificate: bytes = msgspec.field(default=b"", name="tls.crt")
    key: bytes = msgspec.field(default=b"", name="tls.key")
    authorities: bytes = msgspec.field(default=b"", name="ca.crt")


class _Secret(Struct, frozen=True):
    data: _SecretData | None = None


def decode_pair(raw: bytes) -> Pair:
    """The pair in a Secret, from its JSON; empty when the Secret has none yet."""
    held = msgspec.json.decode(raw, type=_Secret).data or _SecretData()
    return Pair(held.certificate, held.key, held.authorities)


def read_pair(certificate: Path, key: Path) -> Pair:
    """The pair in two files. Raises CertificateError."""
    try:
        return Pair(certificate.read_bytes(), key.read_bytes())
    except OSError as error:
        raise CertificateError(f"{error.filename} cannot be read: {error.strerror}") from None


def read_client_ca(file: Path) -> str:
    """The authority's certificates in a file, PEM, which clients' certificates are verified with. Raises
    CertificateError.
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        raise CertificateError(f"{error.filename} cannot be read: {error.strerror}") from None
    try:
        authorities = x509.load_pem_x509_certificates(text)
    except ValueError:
        raise CertificateError(f"{file} holds no PEM certificate, or a broken one") from None
    return "".join(authority.public_bytes(Encoding.PEM).decode() for authority in authorities)


def check_pair(
    pair: Pair, now: datetime, client_ca: str | None = None, names: Sequence[str] = (), *, verify: bool = True
) -> CheckedPair:
    """Load a pair into a context of its own.

    client_ca: the authorities of clients, as PEM; None accepts all clients.
    names: by which the API server calls the webhook; empty when they are not known.
    verify: whether the API server must accept the certificate at the time `now`, or, when it begins later, then.

    Raises CertificateError for a wrong key and for a certificate that the API server would reject.
    """
    try:
        chain = x509.load_pem_x509_certificates(pair.certificate)
    except ValueError:
        raise CertificateError("the certificate is not PEM") from None
    leaf = chain[0]
    if leaf.not_valid_after_utc <= now:
        raise CertificateError(f"the certificate expired at {rfc3339(leaf.not_valid_after_utc)}")
    if verify:
        try:
            authorities = x509.load_pem_x509_certificates(pair.authorities) if pair.authorities.strip() else []
        except ValueError:
            raise CertificateError("ca.crt beside the certificate is not PEM") from None
        problem = why_rejected(chain, authorities, names, max(now, leaf.not_valid_before_utc))
        if problem is not None:
            raise CertificateError(f"the API server would reject it: {problem}")
    context = _context(client_ca)
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
    return CheckedPair(pair, context, leaf.not_valid_before_utc, leaf.not_valid_after_utc, _authority_of(leaf))


class ServingCertificate:
    """The certificate of a listener: pass `context` to the listener, and each new pair to `offer`.

    All clients are accepted, unless `know_clients` is called before the listener starts. Both may be called in any
    thread. `on_served` is called, in any thread, with the key id of the authority of each pair that is served.
    """

    def __init__(
        self,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        names: Sequence[str] = (),
        on_served: Callable[[str], object] = lambda authority: None,
    ) -> None:
        self._clock = clock
        self._on_served = on_served
        self._names = names
        self._client_ca: str | None = None
        self._changing = threading.Lock()
        self._served: CheckedPair | None = None
        self._coming: CheckedPair | None = None
        self.problem = "there is no certificate yet"
        """Why the last offered pair is not served; empty when it is."""
        self.context = _context()
        # Each handshake gets the present pair. Loading a pair into the serving context would keep the old one too
        # when the kind of key changes, and would keep half of a pair whose second half is bad.
        self.context.sni_callback = self._choose

    @property
    def expires(self) -> datetime | None:
        """When the served certificate expires; None when there is none."""
        return self._served.expires if self._served is not None else None

    def offer(self, pair: Pair) -> None:
        """Serve this pair from now on. A pair that cannot be served is logged, and the old one stays.

        A pair that is not valid yet waits, because the API server would reject it until then.
        """
        with self._changing:
            self._offer(pair)

    def _offer(self, pair: Pair) -> None:
        self._coming = None
        if self._served is not None and pair == self._served.pair:
            self.problem = ""
            return
        if not pair.certificate or not pair.key:
            self.reject("it is not complete yet")
            return
        now = self._clock()
        try:
            checked = check_pair(pair, now, self._client_ca, self._names)
        except CertificateError as error:
            self.reject(str(error))
            return
        if not _is_due(checked, self._served, now):
            self._coming = checked
            self.reject(f"it is not valid before {rfc3339(checked.begins)}")
            return
        self._serve(checked)

    def reject(self, problem: str) -> None:
        """Log a pair that cannot be served, once for each problem."""
        if problem != self.problem:
            self.problem = problem
            kept = "still serving the last one" if self._served is not None else "none is served"
            logger.warning("cannot serve the new certificate, %s: %s", kept, problem)

    def know_clients(self, client_ca: str) -> None:
        """Accept only clients with a certificate of this authority (PEM) from now on; open connections stay."""
        with self._changing:
            if self._client_ca is None:
                _ask_for_certificates(self.context)
            self._client_ca = client_ca
            # An authority cannot be removed from a context, so each pair gets a new one.
            if self._served is not None:
                self._served = check_pair(self._served.pair, self._served.begins, client_ca, verify=False)
            if self._coming is not None:
                self._coming = check_pair(self._coming.pair, self._coming.begins, client_ca, verify=False)

    def _serve(self, checked: CheckedPair) -> None:
        self._served = checked
        self.problem = ""
        logger.info("serving a new certificate", extra={"expires": rfc3339(checked.expires)})
        self._on_served(checked.authority)

    def advance(self) -> None:
        """Serve the pair that waits, if it has become valid."""
        coming = self._coming
        if coming is not None and _is_due(coming, self._served, self._clock()):
            self._coming = None
            self._serve(coming)

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        self.advance()
        if self._served is not None:
            connection.context = self._served.context


def _is_due(coming: CheckedPair, served: CheckedPair | None, now: datetime) -> bool:
    """Whether to serve a pair now: it is valid, or the served one has expired."""
    return coming.begins <= now or (served is not None and served.expires <= now)


def _authority_of(leaf: x509.Certificate) -> str:
    try:
        key_id = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, ValueError):
        return ""
    return key_id.hex() if key_id is not None else ""


def _context(client_ca: str | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 0  # API servers never resume sessions, and tickets are a fifth of a handshake
    if client_ca is not None:
        _ask_for_certificates(context)
        context.load_verify_locations(cadata=client_ca)
    return context


def _ask_for_certificates(context: ssl.SSLContext) -> None:
    # A resumed session would let its client in without verifying it with the present authority. TLS 1.3 resumes only
    # with tickets, which we never send, and it encrypts clients' certificates.
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
