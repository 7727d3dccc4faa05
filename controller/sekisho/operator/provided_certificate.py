"""The webhook's certificate as the administrator provides it in a Secret, and what is wrong with it. No I/O."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from cryptography import x509
from msgspec import Struct
from msgspec.structs import replace

from sekisho.cluster.server_certificates import CertificateError, why_rejected
from sekisho.operator.certificates import is_issued_by, load_certificates, to_pem
from sekisho.timestamps import rfc3339

WARN_BEFORE = timedelta(days=30)
"""How long before a certificate expires Events ask for a new one."""


class Concern(Struct, frozen=True):
    """What the administrator must do: the reason and the note of an Event."""

    reason: str
    note: str


class ProvidedCertificate(Struct, frozen=True, eq=False):
    """The certificates of a Secret, as far as they can be read."""

    chain: tuple[x509.Certificate, ...]
    """The webhook's certificate first, then intermediate ones; empty when tls.crt cannot be read."""
    authorities: tuple[x509.Certificate, ...]
    """Empty when ca.crt cannot be read."""
    problem: str | None
    """Why the API server could not verify the webhook by them; None when it can."""

    @property
    def bundle(self) -> bytes | None:
        """The caBundle: the certificates in ca.crt, without any other text there. None when there is a problem."""
        return b"".join(map(to_pem, self.authorities)) if self.problem is None else None

    @property
    def serving_expires(self) -> datetime | None:
        """When the webhook's certificate expires; None when there is none."""
        return self.chain[0].not_valid_after_utc if self.chain else None

    @property
    def authority_expires(self) -> datetime | None:
        """When the last of the authorities that signed the chain expires; None when there is none."""
        return max(
            (authority.not_valid_after_utc for authority in _signers(self.chain, self.authorities)), default=None
        )

    def concerns(self, secret: str, now: datetime) -> list[Concern]:
        """What the administrator must do at the time `now`; `secret` is the Secret's namespace/name."""
        concerns = []
        if self.problem is not None:
            concerns.append(
                Concern("CertificateInvalid", f"Secret {secret}: {self.problem}. The caBundles are not changed.")
            )
        expiries = (
            ("the webhook's certificate (tls.crt)", self.serving_expires),
            ("the authority of the webhook's certificate (ca.crt)", self.authority_expires),
        )
        for what, expires in expiries:
            if expires is not None and now >= expires - WARN_BEFORE:
                concerns.append(Concern("CertificateExpiring", _expiring(secret, what, expires, now)))
        return concerns


def read_provided(contents: Mapping[str, bytes], names: Iterable[str], now: datetime) -> ProvidedCertificate:
    """The certificates in the `data` of a Secret, which may be damaged. The webhook checks the key.

    names: the DNS names and IP addresses by which the API server calls the webhook.
    now: the API server's time.
    """
    chain, chain_problem = _certificates(contents, "tls.crt")
    authorities, authorities_problem = _certificates(contents, "ca.crt")
    problem = chain_problem or authorities_problem
    if problem is None and not _signers(chain, authorities):
        problem = "no certificate in ca.crt is the authority of the one in tls.crt"
    provided = ProvidedCertificate(chain, authorities, problem)
    if problem is not None:
        return provided
    # An expired certificate has a warning of its own, and cannot be made better by keeping the caBundle.
    moment = min(filter(None, (now, provided.serving_expires, provided.authority_expires)))
    rejection = why_rejected(chain, authorities, names, moment)
    if rejection is None:
        return provided
    return replace(provided, problem=f"the API server would reject the certificate in tls.crt: {rejection}")


def _certificates(contents: Mapping[str, bytes], name: str) -> tuple[tuple[x509.Certificate, ...], str | None]:
    try:
        return tuple(load_certificates(contents.get(name, b""))), None
    except CertificateError as error:
        return (), f"{name}: {error}"


def _signers(chain: tuple[x509.Certificate, ...], authorities: tuple[x509.Certificate, ...]) -> list[x509.Certificate]:
    return [
        authority
        for authority in authorities
        if any(certificate == authority or is_issued_by(certificate, authority) for certificate in chain)
    ]


def _expiring(secret: str, what: str, expires: datetime, now: datetime) -> str:
    moment = rfc3339(expires)
    when = f"expired at {moment}; since then" if now >= expires else f"expires at {moment}; from then on"
    return (
        f"Secret {secret}: {what} {when} no pod is admitted. Put a new one into the Secret; it is used without a"
        " restart."
    )
