"""What the two Secrets should contain, computed from what they contain: the steps of a rotation. No I/O.

The webhook must never serve a certificate that the API server does not trust. So a rotation has four steps:

1. store a new authority, and the previous one beside it in `previous-ca.crt`;
2. write both into the caBundle of every webhook;
3. store a certificate that the new authority signed, which the webhook then serves;
4. remove the previous authority from the Secret, and so from the caBundle, when an hour has passed since step 3 and no
   replica of the webhook reports that it serves a certificate of the previous authority.

A controller that crashes between two steps continues from what is stored. An expired authority is removed by the same
rule as any other: this process's clock may be wrong, and the API server goes by its own.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from cryptography import x509
from msgspec import Struct

from sekisho.cluster.server_certificates import CertificateError
from sekisho.operator.certificates import (
    BACKDATE,
    KeyPair,
    is_issued_by,
    key_id,
    load_certificates,
    load_pair,
    new_authority,
    new_serving,
    renewal_time,
    to_pem,
    why_new_authority,
    why_new_serving,
)

CA_CERTIFICATE = "ca.crt"
CA_KEY = "ca.key"
PREVIOUS_CA = "previous-ca.crt"
TLS_CERTIFICATE = "tls.crt"
TLS_KEY = "tls.key"

OVERLAP = timedelta(hours=1)
"""How long the previous authority stays trusted after the webhook's certificate was replaced, at least."""
REPORT_INTERVAL = timedelta(seconds=30)
"""How often the replicas' reports are read after that, until none needs it."""
MAX_PREVIOUS = 8
"""The most authorities that are trusted beside the present one; the newest are kept."""

SecretContents = Mapping[str, bytes]
"""The `data` of a Secret, decoded."""


class Rotation(Struct, frozen=True, eq=False):
    """The authorities that the API server should trust, and the webhook's certificate."""

    authority: KeyPair
    previous: tuple[x509.Certificate, ...]
    """Earlier authorities that may still be in use, the newest first."""
    why_new_authority: str | None
    """Why `authority` was made now and must be stored; None when it is the stored one."""
    serving: x509.Certificate | None
    """The stored certificate; None when it or its key cannot be read."""
    why_new_serving: str | None
    """Why a new serving certificate must be made after `bundle` is published; None when the stored one is good."""

    @property
    def bundle(self) -> bytes:
        """The caBundle, PEM: the authority, and earlier ones while they are in use."""
        return self.authority.certificate_pem + self._previous_pem

    @property
    def authority_contents(self) -> dict[str, bytes]:
        """What the authority's Secret should contain."""
        contents = {CA_CERTIFICATE: self.authority.certificate_pem, CA_KEY: self.authority.key_pem}
        return contents | ({PREVIOUS_CA: self._previous_pem} if self.previous else {})

    def serving_contents(self, names: tuple[str, ...], now: datetime) -> dict[str, bytes]:
        """New contents for the webhook's Secret: a new certificate for `names`."""
        pair = new_serving(self.authority, names, now)
        return {
            TLS_CERTIFICATE: pair.certificate_pem,
            TLS_KEY: pair.key_pem,
            CA_CERTIFICATE: self.authority.certificate_pem,
        }

    def next_check(self, now: datetime) -> timedelta:
        """How long until the passing of time may require another step."""
        times = [renewal_time(self.authority.certificate)]
        if self.serving is not None:
            times.append(renewal_time(self.serving))
            if self.previous:
                times.append(max(_overlap_end(self.serving), now + REPORT_INTERVAL))
        return min(times) - now

    @property
    def _previous_pem(self) -> bytes:
        return b"".join(map(to_pem, self.previous))


def plan_rotation(
    ca: SecretContents,
    tls: SecretContents,
    published: Sequence[bytes],
    in_use: AbstractSet[str],
    names: tuple[str, ...],
    now: datetime,
) -> Rotation:
    """The next state of a rotation, from the contents of the authority's Secret and of the webhook's.

    Both Secrets may be empty or damaged.

    published: the caBundles of the webhooks as they are now. If both Secrets are lost, only these still contain the
        authorities of the certificates that replicas serve.
    in_use: the key ids, in hex, of the authorities whose certificates replicas of the webhook serve.
    names: the DNS names and IP addresses by which the API server calls the webhook.
    """
    authority, why_authority = _authority(ca, names, now)
    serving, why_serving = _serving(tls, authority, names, now)
    previous = _previous(ca, tls, published, authority.certificate, serving, in_use, now)
    return Rotation(authority, previous, why_authority, serving, why_serving)


def _authority(ca: SecretContents, names: tuple[str, ...], now: datetime) -> tuple[KeyPair, str | None]:
    try:
        authority = load_pair(ca.get(CA_CERTIFICATE, b""), ca.get(CA_KEY, b""))
        why = why_new_authority(authority, names, now)
    except CertificateError as error:
        why = str(error)
    return (authority, None) if why is None else (new_authority(now), why)


def _serving(
    tls: SecretContents, authority: KeyPair, names: tuple[str, ...], now: datetime
) -> tuple[x509.Certificate | None, str | None]:
    try:
        pair = load_pair(tls.get(TLS_CERTIFICATE, b""), tls.get(TLS_KEY, b""))
    except CertificateError as error:
        return None, str(error)
    why = why_new_serving(pair, authority.certificate, names, now)
    if why is None and tls.get(CA_CERTIFICATE) != authority.certificate_pem:
        why = "ca.crt beside it is another authority"
    return pair.certificate, why


def _previous(
    ca: SecretContents,
    tls: SecretContents,
    published: Sequence[bytes],
    authority: x509.Certificate,
    serving: x509.Certificate | None,
    in_use: AbstractSet[str],
    now: datetime,
) -> tuple[x509.Certificate, ...]:
    """The earlier authorities whose certificates a replica serves, or served less than OVERLAP ago."""
    is_recent = serving is not None and is_issued_by(serving, authority) and now < _overlap_end(serving)
    kept: list[x509.Certificate] = []
    earlier = _certificates(ca.get(PREVIOUS_CA, b""))
    bundles = (certificate for bundle in published for certificate in _certificates(bundle))
    candidates = (*_certificates(ca.get(CA_CERTIFICATE, b"")), *earlier, *_certificates(tls.get(CA_CERTIFICATE, b"")))
    for candidate in (*candidates, *bundles):
        if candidate == authority or candidate in kept:
            continue
        signed = serving is not None and is_issued_by(serving, candidate)
        if signed or key_id(candidate) in in_use or (is_recent and candidate in earlier):
            kept.append(candidate)
    return tuple(kept[:MAX_PREVIOUS])


def _certificates(pem: bytes) -> list[x509.Certificate]:
    """The certificates in a PEM text, none if it is not one."""
    try:
        return load_certificates(pem)
    except CertificateError:
        return []


def _overlap_end(serving: x509.Certificate) -> datetime:
    return serving.not_valid_before_utc + BACKDATE + OVERLAP
