"""Serving certificates, good and bad, as an administrator may provide them."""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

NOW = datetime.now(UTC).replace(microsecond=0)
NAME = "sekisho-webhook.sekisho-system.svc"
DAY = timedelta(days=1)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
Certificate = x509.Certificate


class Signer(Struct, frozen=True, eq=False):
    """A certificate with its key."""

    certificate: Certificate
    key: Key


def make(
    issuer: Signer | None = None,
    *,
    names: Sequence[str] = (),
    ca: bool | None = None,
    key: Key | None = None,
    subject: str = "test",
    begins: datetime = NOW - DAY,
    ends: datetime = NOW + 30 * DAY,
    path_length: int | None = None,
    cert_sign: bool | None = None,
    usages: Sequence[x509.ObjectIdentifier] = (),
    permitted: Sequence[str] = (),
    excluded: Sequence[str] = (),
    unknown: bool = False,
) -> Signer:
    """A certificate signed by `issuer`, by itself without one. `ca` and `cert_sign`: None leaves the extension out."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(issuer.certificate.subject if issuer is not None else own)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    if cert_sign is not None:
        builder = builder.add_extension(_usage(cert_sign), critical=True)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if permitted or excluded:
        subtrees = ([_subtree(name) for name in names] or None for names in (permitted, excluded))
        builder = builder.add_extension(x509.NameConstraints(*subtrees), critical=True)
    if unknown:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
        builder = builder.add_extension(extension, critical=True)
    signing = issuer.key if issuer is not None else key
    algorithm = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Signer(builder.sign(signing, algorithm), key)


def pem(*signers: Signer) -> bytes:
    """The certificates as one PEM text."""
    return b"".join(signer.certificate.public_bytes(Encoding.PEM) for signer in signers)


def key_pem(signer: Signer) -> bytes:
    """The certificate's key as a PEM text."""
    return signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def rejected_authorities() -> dict[str, Signer]:
    """Authorities whose certificates Go's verifier rejects, which OpenSSL accepts; by what is wrong with them."""
    return {
        "brainpool": make(ca=True, cert_sign=True, key=ec.generate_private_key(ec.BrainpoolP256R1()), subject="b1"),
        "secp256k1": make(ca=True, cert_sign=True, key=ec.generate_private_key(ec.SECP256K1()), subject="b2"),
        "no keyCertSign": make(ca=True, cert_sign=False, subject="b3"),
        "name constraints": make(ca=True, cert_sign=True, permitted=["example.com"], subject="b4"),
    }


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _subtree(name: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_network(name)) if "/" in name else x509.DNSName(name)


def _usage(cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


class Case(Struct, frozen=True):
    """What a server presents, what the caBundle holds, and whether the API server accepts it."""

    label: str
    chain: tuple[Signer, ...]
    roots: tuple[Signer, ...]
    is_accepted: bool
    name: str = NAME
    now: datetime = NOW


def cases() -> list[Case]:
    """Each rejected case beside an accepted near-twin."""
    root = make(ca=True, cert_sign=True, subject="root")
    leaf = make(root, names=[NAME])
    middle = make(root, ca=True, cert_sign=True, subject="middle")
    below = make(middle, names=[NAME], subject="below")
    made = [
        Case("signed by the authority", (leaf,), (root,), True),
        Case("signed by another authority", (leaf,), (make(ca=True, subject="root"),), False),
        Case("one of two authorities signed it", (leaf,), (make(ca=True, subject="other"), root), True),
        Case("self-signed and in the bundle", (one := make(names=[NAME]),), (one,), True),
        Case("self-signed and not in the bundle", (make(names=[NAME]),), (root,), False),
        Case("another name", (leaf,), (root,), False, name="other.svc"),
        Case("a name in other case", (leaf,), (root,), True, name=NAME.upper()),
        Case("no name at all", (make(root),), (root,), False),
        Case("wildcard", (make(root, names=["*.sekisho-system.svc"]),), (root,), True),
        Case("wildcard of two labels", (make(root, names=["*.svc"]),), (root,), False),
        Case("address", (make(root, names=["10.0.0.1"]),), (root,), True, name="10.0.0.1"),
        Case("another address", (make(root, names=["10.0.0.1"]),), (root,), False, name="10.0.0.2"),
        Case("IPv6 address", (make(root, names=["fd00::1"]),), (root,), True, name="fd00::1"),
        Case("not valid yet", (leaf,), (root,), False, now=NOW - 2 * DAY),
        Case("expired", (leaf,), (root,), False, now=NOW + 31 * DAY),
        Case("at its last second", (leaf,), (root,), True, now=NOW + 30 * DAY),
        Case("chain", (below, middle), (root,), True),
        Case("chain without its intermediate", (below,), (root,), False),
        Case("chain in another order", (below, make(subject="stray"), middle), (root,), True),
        Case(
            "client certificate", (make(root, names=[NAME], usages=[ExtendedKeyUsageOID.CLIENT_AUTH]),), (root,), False
        ),
        Case(
            "server certificate", (make(root, names=[NAME], usages=[ExtendedKeyUsageOID.SERVER_AUTH]),), (root,), True
        ),
        Case("unknown critical extension", (make(root, names=[NAME], unknown=True),), (root,), False),
    ]
    curves: tuple[tuple[ec.EllipticCurve, bool], ...] = (
        (ec.SECP256K1(), False),
        (ec.BrainpoolP256R1(), False),
        (ec.SECP224R1(), True),
        (ec.SECP384R1(), True),
        (ec.SECP521R1(), True),
    )
    for curve, is_accepted in curves:
        odd = make(root, names=[NAME], key=ec.generate_private_key(curve))
        made.append(Case(f"key on {curve.name}", (odd,), (root,), is_accepted))
        authority = make(ca=True, cert_sign=True, key=ec.generate_private_key(curve), subject=curve.name)
        made.append(Case(f"authority on {curve.name}", (make(authority, names=[NAME]),), (authority,), is_accepted))
    keys: tuple[tuple[str, Key], ...] = (
        ("RSA", rsa.generate_private_key(65537, 2048)),
        ("Ed25519", ed25519.Ed25519PrivateKey.generate()),
    )
    for kind, key in keys:
        authority = make(ca=True, key=key, subject=kind)
        made.append(Case(f"authority with {kind}", (make(authority, names=[NAME]),), (authority,), True))
    authorities: tuple[tuple[str, Signer, bool], ...] = (
        ("no authority", make(ca=False, subject="a1"), False),
        ("authority without basic constraints", make(subject="a2"), False),
        ("without keyCertSign", make(ca=True, cert_sign=False, subject="a3"), False),
        ("without key usage", make(ca=True, subject="a4"), True),
        ("path length 0", make(ca=True, path_length=0, subject="a5"), True),
        ("permits another name", make(ca=True, permitted=["example.com"], subject="a6"), False),
        ("permits the name", make(ca=True, permitted=["svc"], subject="a7"), True),
        ("permits addresses only", make(ca=True, permitted=["10.0.0.0/8"], subject="a8"), True),
        ("excludes the name", make(ca=True, excluded=["sekisho-system.svc"], subject="a9"), False),
        ("excludes another name", make(ca=True, excluded=["example.com"], subject="a10"), True),
        ("expired authority", make(ca=True, begins=NOW - 9 * DAY, ends=NOW - DAY, subject="a11"), False),
        ("authority for clients", make(ca=True, usages=[ExtendedKeyUsageOID.CLIENT_AUTH], subject="a12"), False),
    )
    for label, authority, is_accepted in authorities:
        made.append(Case(label, (make(authority, names=[NAME]),), (authority,), is_accepted))
    short = make(ca=True, path_length=0, subject="short")
    under = make(short, ca=True, subject="under")
    made.append(Case("path length exceeded", (make(under, names=[NAME]), under), (short,), False))
    narrow = make(ca=True, permitted=["10.0.0.0/8"], subject="narrow")
    for address, is_accepted in (("10.1.2.3", True), ("192.0.2.1", False)):
        made.append(Case(f"address {address}", (make(narrow, names=[address]),), (narrow,), is_accepted, name=address))
    return made
