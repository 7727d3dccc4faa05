"""Whether the API server will accept a serving certificate, by the rules of Go's crypto/x509.

OpenSSL accepts certificates that Go rejects, such as those with other curves. A webhook that serves one of those is
never called, and as it fails closed, no pod is created. So a certificate is verified before it is served or published.

Source: https://github.com/golang/go/blob/master/src/crypto/x509/verify.go
"""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from sekisho.errors import SekishoError
from sekisho.timestamps import rfc3339


class CertificateError(SekishoError):
    """A certificate or key that cannot be used; the message is a clause that says why, and holds nothing of the key."""


MIN_RSA_BITS: Final = 1024
MAX_CHECKS: Final = 100
"""The most intermediate certificates that are tried, as in Go: cross-signed ones have factorially many paths."""
MAX_CHAIN: Final = 8
"""The most certificates between the serving certificate and an authority."""

_CURVES: Final = (ec.SECP224R1, ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_WEAK_HASHES: Final = frozenset({"md5", "sha1"})
_SERVER_USAGES: Final = frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
_UNDERSTOOD: Final = frozenset(
    {
        ExtensionOID.KEY_USAGE,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.POLICY_MAPPINGS,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.INHIBIT_ANY_POLICY,
    }
)
"""The extensions that may be critical."""

Certificates = Sequence[x509.Certificate]
E = TypeVar("E", bound=x509.ExtensionType)


def why_rejected(chain: Certificates, authorities: Certificates, names: Iterable[str], now: datetime) -> str | None:
    """Why the API server would reject a server with this chain, as a clause; None when it would accept it.

    chain: the serving certificate first, then intermediate ones in any order.
    authorities: the certificates of the caBundle. Without any, only what needs no authority is checked.
    names: the DNS names and IP addresses by which the webhook is called; without any, names are not checked.
    now: the API server's time.
    """
    leaf = chain[0]
    try:
        problem = _why_unusable(leaf, now) or _why_other_names(leaf, names)
        if problem is not None or not authorities:
            return problem
        usable = [authority for authority in authorities if _why_unreadable(authority) is None]
        return _why_no_path([leaf], chain[1:], usable, now, iter(range(MAX_CHECKS)))
    except ValueError as error:
        return f"a certificate cannot be read: {error}"


def _why_unusable(certificate: x509.Certificate, now: datetime) -> str | None:
    """What is wrong with one certificate of a path, whatever its issuer is."""
    problem = _why_unreadable(certificate)
    if problem is not None:
        return problem
    if now < certificate.not_valid_before_utc:
        return f"it is not valid before {rfc3339(certificate.not_valid_before_utc)}"
    if now > certificate.not_valid_after_utc:
        return f"it expired at {rfc3339(certificate.not_valid_after_utc)}"
    critical = [extension.oid for extension in certificate.extensions if extension.critical]
    unknown = [oid.dotted_string for oid in critical if oid not in _UNDERSTOOD]
    if unknown:
        return f"it has the unknown critical extension {unknown[0]}"
    usages = _extension(certificate, x509.ExtendedKeyUsage)
    if usages is not None and _SERVER_USAGES.isdisjoint(usages):
        return "its extended key usage does not include server authentication"
    return None


def _why_unreadable(certificate: x509.Certificate) -> str | None:
    """Why Go cannot read a certificate or its key."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "its key is of an unsupported kind"
    if isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(key.curve, _CURVES):
        return f"its key has the curve {key.curve.name}, which the API server does not support"
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        return "its key is not an RSA, ECDSA or Ed25519 key"
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        return f"its RSA key has {key.key_size} bits, less than {MIN_RSA_BITS}"
    return None


def _why_other_names(leaf: x509.Certificate, names: Iterable[str]) -> str | None:
    own = _extension(leaf, x509.SubjectAlternativeName)
    dns = own.get_values_for_type(x509.DNSName) if own is not None else []
    addresses = own.get_values_for_type(x509.IPAddress) if own is not None else []
    for name in names:
        address = _address(name)
        is_held = any(_matches(pattern, name) for pattern in dns) if address is None else address in addresses
        if not is_held:
            held = ", ".join([*dns, *map(str, addresses)][:5]) or "no name"
            return f"it is not valid for {name}, only for {held}"
    return None


def _why_no_path(
    path: list[x509.Certificate],
    intermediates: Certificates,
    authorities: Certificates,
    now: datetime,
    checks: Iterator[int],
) -> str | None:
    """Why no path leads from the last certificate of `path` to an authority; the problem of the last attempt.

    checks: has an item for each intermediate certificate that may still be tried.
    """
    last = path[-1]
    if len(path) == 1 and last in authorities:
        return None
    problem = "no certificate in the caBundle is its authority"
    for authority in authorities:
        if authority.subject == last.issuer:
            reason = _why_no_issuer(path, authority, now)
            if reason is None:
                return None
            problem = f"its authority cannot be used: {reason}"
    issuers = [one for one in intermediates if one.subject == last.issuer and one not in path]
    for intermediate in issuers if len(path) <= MAX_CHAIN else ():
        if next(checks, None) is None:
            return "there are too many ways to an authority"
        reason = _why_no_issuer(path, intermediate, now)
        if reason is not None:
            problem = f"an intermediate certificate cannot be used: {reason}"
            continue
        problem = _why_no_path([*path, intermediate], intermediates, authorities, now, checks) or ""
        if not problem:
            return None
    return problem


def _why_no_issuer(path: list[x509.Certificate], issuer: x509.Certificate, now: datetime) -> str | None:
    """Why `issuer` cannot vouch for the last certificate of `path`."""
    problem = _why_unusable(issuer, now)
    if problem is not None:
        return problem
    constraints = _extension(issuer, x509.BasicConstraints)
    if (constraints is None and issuer.version is x509.Version.v3) or (constraints is not None and not constraints.ca):
        return "it is not a certificate authority"
    if constraints is not None and constraints.path_length is not None and len(path) - 1 > constraints.path_length:
        return "there are too many certificates below it"
    usage = _extension(issuer, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        return "its key usage does not include keyCertSign"
    algorithm = path[-1].signature_hash_algorithm
    if algorithm is not None and algorithm.name in _WEAK_HASHES:
        return f"it signed with {algorithm.name.upper()}"
    try:
        path[-1].verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return "it did not sign the certificate"
    return _why_constrained(path, issuer)


def _why_constrained(path: list[x509.Certificate], issuer: x509.Certificate) -> str | None:
    """Which name of the certificates below violates the issuer's name constraints."""
    constraints = _extension(issuer, x509.NameConstraints)
    if constraints is None:
        return None
    permitted, excluded = constraints.permitted_subtrees or (), constraints.excluded_subtrees or ()
    for certificate in path:
        for name in _extension(certificate, x509.SubjectAlternativeName) or ():
            same_kind = [subtree for subtree in permitted if type(subtree) is type(name)]
            if any(_lies_in(name, subtree) for subtree in excluded if type(subtree) is type(name)) or (
                same_kind and not any(_lies_in(name, subtree) for subtree in same_kind)
            ):
                return f"its name constraints do not permit {name.value}"
    return None


def _lies_in(name: x509.GeneralName, subtree: x509.GeneralName) -> bool:
    if isinstance(name, x509.IPAddress) and isinstance(subtree, x509.IPAddress):
        network = ipaddress.ip_network(subtree.value)
        return not isinstance(name.value, ipaddress.IPv4Network | ipaddress.IPv6Network) and name.value in network
    if isinstance(name, x509.DNSName) and isinstance(subtree, x509.DNSName):
        value, suffix = name.value.lower().rstrip("."), subtree.value.lower()
        if suffix.startswith("."):
            return value.endswith(suffix)
        return not suffix or value == suffix or value.endswith(f".{suffix}")
    return bool(name.value == subtree.value)


def _matches(pattern: str, name: str) -> bool:
    """Whether a DNS name of a certificate, perhaps with * as its first label, is for `name`."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    head, _, rest = name.partition(".")
    return bool(name) and (pattern == name or bool(head and rest and pattern == f"*.{rest}"))


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
