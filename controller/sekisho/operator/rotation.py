"""What the two Secrets should hold, given what they hold: the order of things in a rotation, without any I/O.

A webhook must never serve a certificate that the API server does not trust yet, or not any more. So:

1. a new authority is stored, with the one before it as `previous-ca.crt`;
2. the caBundle of every webhook gets both;
3. only then a certificate of the new authority is stored, and so served;
4. an hour later the previous authority leaves the Secret, and thus the caBundle.

Whoever crashes between two steps goes on from what is stored.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from cryptography import x509
from msgspec import Struct

from sekisho.operator.certificates import (
    BACKDATE,
    CertificateError,
    KeyPair,
    is_current,
    is_issued_by,
    load_certificate,
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
"""How long the previous authority stays trusted after the webhook's certificate was replaced."""

SecretContents = Mapping[str, bytes]
"""The `data` of a Secret, decoded."""


class Trust(Struct, frozen=True, eq=False):
    """Whom the API server should trust, and whether the certificate that the webhook serves fits that."""

    authority: KeyPair
    previous: x509.Certificate | None
    why_new_authority: str | None
    """Why `authority` was just made, and is yet to be stored; None when it is the stored one."""
    serving: x509.Certificate | None
    """The stored certificate, when it is of use."""
    why_new_serving: str | None
    """Why a new serving certificate is to be made, once `bundle` is published; None when the stored one is good."""

    @property
    def bundle(self) -> bytes:
        """The caBundle: the authority, and the previous one while both are in use."""
        return self.authority.certificate_pem + (to_pem(self.previous) if self.previous else b"")

    @property
    def authority_contents(self) -> dict[str, bytes]:
        """What the authority's Secret should hold."""
        contents = {CA_CERTIFICATE: self.authority.certificate_pem, CA_KEY: self.authority.key_pem}
        return contents | ({PREVIOUS_CA: to_pem(self.previous)} if self.previous else {})

    @property
    def serves_previous(self) -> bool:
        """Whether the webhook still serves a good certificate of the previous authority, so that there is no hurry."""
        return self.serving is not None and self.previous is not None and is_issued_by(self.serving, self.previous)

    def serving_contents(self, names: tuple[str, ...], now: datetime) -> dict[str, bytes]:
        """New contents for the webhook's Secret."""
        pair = new_serving(self.authority, names, now)
        return {
            TLS_CERTIFICATE: pair.certificate_pem,
            TLS_KEY: pair.key_pem,
            CA_CERTIFICATE: self.authority.certificate_pem,
        }

    def next_change(self) -> datetime:
        """When the passing of time alone next asks for something."""
        times = [renewal_time(self.authority.certificate)]
        if self.serving is not None:
            times.append(renewal_time(self.serving))
            if self.previous is not None:
                times.append(_overlap_end(self.serving))
        return min(times)


def judge(ca: SecretContents, tls: SecretContents, names: tuple[str, ...], now: datetime) -> Trust:
    """Whom to trust, from the contents of the authority's Secret and of the webhook's, both of which may be damaged."""
    authority, why_authority = _authority(ca, now)
    serving, why_serving = _serving(tls, authority, names, now)
    previous = _previous(ca, tls, authority.certificate, serving, now)
    if serving is not None and previous is None and not is_issued_by(serving, authority.certificate):
        serving = None
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
    return (pair.certificate if is_current(pair.certificate, now) else None), why


def _previous(
    ca: SecretContents,
    tls: SecretContents,
    authority: x509.Certificate,
    serving: x509.Certificate | None,
    now: datetime,
) -> x509.Certificate | None:
    """The authority before this one, while a certificate of it is, or was a moment ago, what the webhook serves."""
    if serving is None:
        return None
    for contents, name in ((ca, PREVIOUS_CA), (ca, CA_CERTIFICATE), (tls, CA_CERTIFICATE)):
        try:
            candidate = load_certificate(contents.get(name, b""))
        except CertificateError:
            continue
        if candidate == authority or not is_current(candidate, now):
            continue
        was_replaced = name == PREVIOUS_CA and is_issued_by(serving, authority) and now < _overlap_end(serving)
        if was_replaced or is_issued_by(serving, candidate):
            return candidate
    return None


def _overlap_end(serving: x509.Certificate) -> datetime:
    return serving.not_valid_before_utc + BACKDATE + OVERLAP
