"""What the two Secrets should hold, given what they hold: the order of things in a rotation, without any I/O.

A webhook must never serve a certificate that the API server does not trust yet, or not any more. So:

1. a new authority is stored, with the one before it in `previous-ca.crt`;
2. the caBundle of every webhook gets both;
3. only then a certificate of the new authority is stored, and so served;
4. the previous authority leaves the Secret, and thus the caBundle, when that was an hour ago and no replica of the
   webhook says that it still serves a certificate of it.

Whoever crashes between two steps goes on from what is stored. Whether an authority is out of date plays no part in
its leaving: the clock that says so may be the one that is wrong, and the API server has its own.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta

from cryptography import x509
from msgspec import Struct

from sekisho.operator.certificates import (
    BACKDATE,
    CertificateError,
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
"""How often the replicas are asked whether they still need it, once that time is over."""
MAX_PREVIOUS = 8
"""Authorities that are trusted beside the present one, the newest ones; more are of no honest use."""

SecretContents = Mapping[str, bytes]
"""The `data` of a Secret, decoded."""


class Trust(Struct, frozen=True, eq=False):
    """Whom the API server should trust, and whether the certificate that the webhook serves fits that."""

    authority: KeyPair
    previous: tuple[x509.Certificate, ...]
    """The authorities before it that may still be in use, the newest first."""
    why_new_authority: str | None
    """Why `authority` was just made, and is yet to be stored; None when it is the stored one."""
    serving: x509.Certificate | None
    """The stored certificate, when it has its key."""
    why_new_serving: str | None
    """Why a new serving certificate is to be made, once `bundle` is published; None when the stored one is good."""

    @property
    def bundle(self) -> bytes:
        """The caBundle: the authority, and the previous ones while they are in use."""
        return self.authority.certificate_pem + self._previous_pem

    @property
    def authority_contents(self) -> dict[str, bytes]:
        """What the authority's Secret should hold."""
        contents = {CA_CERTIFICATE: self.authority.certificate_pem, CA_KEY: self.authority.key_pem}
        return contents | ({PREVIOUS_CA: self._previous_pem} if self.previous else {})

    def serving_contents(self, names: tuple[str, ...], now: datetime) -> dict[str, bytes]:
        """New contents for the webhook's Secret."""
        pair = new_serving(self.authority, names, now)
        return {
            TLS_CERTIFICATE: pair.certificate_pem,
            TLS_KEY: pair.key_pem,
            CA_CERTIFICATE: self.authority.certificate_pem,
        }

    def next_look(self, now: datetime) -> timedelta:
        """How soon the passing of time alone may ask for something."""
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
    ca: SecretContents, tls: SecretContents, in_use: AbstractSet[str], names: tuple[str, ...], now: datetime
) -> Trust:
    """Whom to trust, from the contents of the authority's Secret and of the webhook's, both of which may be damaged.

    `in_use` are the key ids of the authorities of what the replicas of the webhook serve.
    """
    authority, why_authority = _authority(ca, now)
    serving, why_serving = _serving(tls, authority, names, now)
    previous = _previous(ca, tls, authority.certificate, serving, in_use, now)
    return Trust(authority, previous, why_authority, serving, why_serving)


def _authority(ca: SecretContents, now: datetime) -> tuple[KeyPair, str | None]:
    try:
        authority = load_pair(ca.get(CA_CERTIFICATE, b""), ca.get(CA_KEY, b""))
        why = why_new_authority(authority, now)
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
        why = "the authority beside it is another"
    return pair.certificate, why


def _previous(
    ca: SecretContents,
    tls: SecretContents,
    authority: x509.Certificate,
    serving: x509.Certificate | None,
    in_use: AbstractSet[str],
    now: datetime,
) -> tuple[x509.Certificate, ...]:
    """The authorities before this one of which a certificate is, or was a moment ago, what a replica serves."""
    is_recent = serving is not None and is_issued_by(serving, authority) and now < _overlap_end(serving)
    kept: list[x509.Certificate] = []
    for contents, name in ((ca, CA_CERTIFICATE), (ca, PREVIOUS_CA), (tls, CA_CERTIFICATE)):
        for candidate in _stored(contents, name):
            if candidate == authority or candidate in kept:
                continue
            signed = serving is not None and is_issued_by(serving, candidate)
            if signed or key_id(candidate) in in_use or (is_recent and name == PREVIOUS_CA):
                kept.append(candidate)
    return tuple(kept[:MAX_PREVIOUS])


def _stored(contents: SecretContents, name: str) -> list[x509.Certificate]:
    try:
        return load_certificates(contents.get(name, b""))
    except CertificateError:
        return []


def _overlap_end(serving: x509.Certificate) -> datetime:
    return serving.not_valid_before_utc + BACKDATE + OVERLAP
