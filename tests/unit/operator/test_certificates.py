"""The webhook's certificates, verified by the TLS stack itself."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sekisho.cluster.server_certificates import CertificateError
from sekisho.operator.certificates import (
    AUTHORITY_LIFETIME,
    SERVING_LIFETIME,
    KeyPair,
    load_certificate,
    load_pair,
    names_of,
    new_authority,
    new_serving,
    renewal_time,
    why_new_authority,
    why_new_serving,
)

NOW = datetime.now(UTC)
NAMES = ("sekisho-webhook.sekisho-system.svc", "sekisho-webhook.sekisho-system.svc.cluster.local", "127.0.0.1", "::1")
AUTHORITY = new_authority(NOW)
SERVING = new_serving(AUTHORITY, NAMES, NOW)


def handshake(serving: KeyPair, trusted_pem: bytes, name: str, folder: Path) -> None:
    """A TLS handshake in memory, between a client that calls `name` and a server with this certificate."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    certificate.write_bytes(serving.certificate_pem)
    key.write_bytes(serving.key_pem)
    client_context = ssl.create_default_context(cadata=trusted_pem.decode())
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate, key)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    sides = [client, server]
    while sides:
        for side in list(sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            sides.remove(side)


@pytest.mark.parametrize("name", NAMES)
def test_a_client_that_trusts_the_authority_accepts_the_certificate_under_each_name(name: str, tmp_path: Path) -> None:
    handshake(SERVING, AUTHORITY.certificate_pem, name, tmp_path)


@pytest.mark.parametrize("name", ["sekisho-webhook.other.svc", "127.0.0.2"])
def test_a_client_rejects_the_certificate_under_another_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(SERVING, AUTHORITY.certificate_pem, name, tmp_path)


def test_a_client_that_trusts_another_authority_of_the_same_subject_rejects_the_certificate(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        handshake(SERVING, new_authority(NOW).certificate_pem, NAMES[0], tmp_path)


def test_a_client_that_trusts_two_authorities_accepts_certificates_of_both(tmp_path: Path) -> None:
    other = new_authority(NOW)
    bundle = other.certificate_pem + AUTHORITY.certificate_pem
    handshake(SERVING, bundle, NAMES[0], tmp_path)
    handshake(new_serving(other, NAMES, NOW), bundle, NAMES[0], tmp_path)


def test_the_certificate_can_sign_no_other(tmp_path: Path) -> None:
    forged = new_serving(SERVING, NAMES, NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(forged, AUTHORITY.certificate_pem + SERVING.certificate_pem, NAMES[0], tmp_path)


def test_certificates_live_for_ten_years_and_for_one() -> None:
    assert AUTHORITY.certificate.not_valid_after_utc - NOW == pytest.approx(
        AUTHORITY_LIFETIME, abs=timedelta(seconds=1)
    )
    assert SERVING.certificate.not_valid_after_utc - NOW == pytest.approx(SERVING_LIFETIME, abs=timedelta(seconds=1))


def test_a_pair_is_read_as_it_was_written() -> None:
    read = load_pair(SERVING.certificate_pem, SERVING.key_pem)
    assert read.certificate == SERVING.certificate
    assert names_of(read.certificate) == set(NAMES)


RSA_KEY = rsa.generate_private_key(65537, 2048).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
ENCRYPTED_KEY = SERVING.key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
)


@pytest.mark.parametrize(
    ("certificate", "key", "why"),
    [
        (b"", SERVING.key_pem, "certificate is missing"),
        (b"rubbish", SERVING.key_pem, "certificate is corrupt"),
        (SERVING.certificate_pem.replace(b"M", b"N"), SERVING.key_pem, "certificate is corrupt"),
        (SERVING.certificate_pem, b"", "key is missing"),
        (SERVING.certificate_pem, b"\x00\xff", "key is corrupt"),
        (SERVING.certificate_pem, SERVING.key_pem[:-60], "key is corrupt"),
        (SERVING.certificate_pem, ENCRYPTED_KEY, "key is corrupt"),
        (SERVING.certificate_pem, RSA_KEY, "not an ECDSA key"),
        (SERVING.certificate_pem, AUTHORITY.key_pem, "not the certificate's"),
    ],
)
def test_a_damaged_pair_is_rejected_with_the_reason(certificate: bytes, key: bytes, why: str) -> None:
    with pytest.raises(CertificateError, match=why):
        load_pair(certificate, key)


def test_the_first_certificate_of_several_is_read() -> None:
    assert load_certificate(SERVING.certificate_pem + AUTHORITY.certificate_pem) == SERVING.certificate


def why(now: datetime = NOW, names: tuple[str, ...] = NAMES) -> str | None:
    return why_new_serving(SERVING, AUTHORITY.certificate, names, now)


def test_a_certificate_is_kept_for_two_thirds_of_its_lifetime() -> None:
    due = renewal_time(SERVING.certificate)
    assert timedelta(days=243) < due - NOW < timedelta(days=244)
    assert why(due - timedelta(seconds=1)) is None
    assert why(due) == "two thirds of its lifetime have passed"


def test_an_authority_is_kept_for_two_thirds_of_its_lifetime() -> None:
    due = renewal_time(AUTHORITY.certificate)
    assert timedelta(days=2433) < due - NOW < timedelta(days=2434)
    assert why_new_authority(AUTHORITY, NAMES, due - timedelta(seconds=1)) is None
    assert why_new_authority(AUTHORITY, NAMES, due) == "two thirds of its lifetime have passed"


def test_a_certificate_from_the_future_is_replaced() -> None:
    assert why(NOW - timedelta(minutes=59)) is None
    assert why(NOW - timedelta(minutes=61)) == "it is not valid yet: a clock was set back"


def test_other_names_require_another_certificate_and_another_order_does_not() -> None:
    assert why(names=NAMES[::-1]) is None
    assert why(names=(*NAMES, "10.0.0.1")) == "the names of the webhook changed"
    assert why(names=NAMES[1:]) == "the names of the webhook changed"


def test_another_authority_requires_another_certificate() -> None:
    other = new_authority(NOW)
    assert why_new_serving(SERVING, other.certificate, NAMES, NOW) == "another authority signed it"


def test_a_serving_certificate_is_not_an_authority() -> None:
    assert why_new_authority(SERVING, NAMES, NOW) == "it is not a certificate authority"
