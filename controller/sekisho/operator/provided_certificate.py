"""What a Secret that somebody else fills says of the webhook's certificate, and what is wrong with it. No I/O."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from cryptography import x509
from msgspec import Struct

from sekisho.operator.certificates import CertificateError, is_issued_by, load_certificates, to_pem
from sekisho.timestamps import rfc3339

WARN_BEFORE = timedelta(days=30)
"""How long before a certificate runs out somebody is told to renew it."""


class Warned(Struct, frozen=True):
    """Something that the administrator has to see to."""

    reason: str
    note: str


class Given(Struct, frozen=True, eq=False):
    """The certificates of a Secret, as far as they are usable."""

    chain: tuple[x509.Certificate, ...]
    """The webhook's certificate, and those between it and an authority."""
    authorities: tuple[x509.Certificate, ...]
    problem: str | None
    """Why the API server could not know the webhook by this."""

    @property
    def bundle(self) -> bytes | None:
        """The caBundle: the certificates of ca.crt, and nothing else that may stand there. None when unusable."""
        return b"".join(map(to_pem, self.authorities)) if self.problem is None else None

    @property
    def serving_expires(self) -> datetime | None:
        """When the webhook's certificate runs out."""
        return self.chain[0].not_valid_after_utc if self.chain else None

    @property
    def authority_expires(self) -> datetime | None:
        """When the last of the authorities runs out that the certificate rests on."""
        return max((each.not_valid_after_utc for each in _foundations(self.chain, self.authorities)), default=None)

    def warnings(self, secret: str, now: datetime) -> list[Warned]:
        """What somebody should be told of at `now`."""
        found = []
        if self.problem is not None:
            found.append(
                Warned("CertificateInvalid", f"Secret {secret}: {self.problem}. The caBundles stay as they are.")
            )
        expiries = (
            ("the webhook's certificate (tls.crt)", self.serving_expires),
            ("the authority of the webhook's certificate (ca.crt)", self.authority_expires),
        )
        for what, expires in expiries:
            if expires is not None and now >= expires - WARN_BEFORE:
                found.append(Warned("CertificateExpiring", _expiring(secret, what, expires, now)))
        return found


def read_given(contents: Mapping[str, bytes]) -> Given:
    """What the `data` of the Secret holds, which may be damaged. The key is not looked at: the webhook does that."""
    chain, chain_problem = _certificates(contents, "tls.crt")
    authorities, authorities_problem = _certificates(contents, "ca.crt")
    problem = chain_problem or authorities_problem
    if problem is None and not _foundations(chain, authorities):
        problem = "no certificate in ca.crt is the authority of the one in tls.crt"
    return Given(chain, authorities, problem)


def _certificates(contents: Mapping[str, bytes], name: str) -> tuple[tuple[x509.Certificate, ...], str | None]:
    try:
        return tuple(load_certificates(contents.get(name, b""))), None
    except CertificateError as error:
        return (), f"{name}: {error}"


def _foundations(
    chain: tuple[x509.Certificate, ...], authorities: tuple[x509.Certificate, ...]
) -> list[x509.Certificate]:
    return [
        authority
        for authority in authorities
        if any(each == authority or is_issued_by(each, authority) for each in chain)
    ]


def _expiring(secret: str, what: str, expires: datetime, now: datetime) -> str:
    moment = rfc3339(expires)
    when = f"ran out at {moment}, since when" if now >= expires else f"runs out at {moment}, from when on"
    return (
        f"Secret {secret}: {what} {when} no pod is admitted. Put a new one into the Secret; it is taken up without a"
        " restart."
    )
