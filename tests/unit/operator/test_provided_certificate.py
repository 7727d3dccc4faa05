"""A Secret that somebody else fills: what the API server is told of it, and what the administrator."""

from datetime import UTC, datetime, timedelta

import pytest

from sekisho.operator.certificates import KeyPair, new_authority, new_serving
from sekisho.operator.provided_certificate import WARN_BEFORE, Warned, read_given

NOW = datetime.now(UTC).replace(microsecond=0)
AUTHORITY = new_authority(NOW)
STRANGER = new_authority(NOW)


def given(authority: bytes = AUTHORITY.certificate_pem, serving: KeyPair | None = None) -> dict[str, bytes]:
    serving = serving or new_serving(AUTHORITY, ("127.0.0.1",), NOW)
    return {"tls.crt": serving.certificate_pem, "tls.key": serving.key_pem, "ca.crt": authority}


def test_the_bundle_is_the_authority() -> None:
    read = read_given(given())
    assert read.bundle == AUTHORITY.certificate_pem
    assert read.problem is None
    assert read.warnings("ns/tls", NOW) == []


def test_two_authorities_are_both_passed_on_while_one_takes_over_from_the_other() -> None:
    both = STRANGER.certificate_pem + AUTHORITY.certificate_pem
    assert read_given(given(both)).bundle == both


def test_nothing_but_certificates_is_passed_on() -> None:
    text = b"# our authority\n" + AUTHORITY.certificate_pem + AUTHORITY.key_pem
    assert read_given(given(text)).bundle == AUTHORITY.certificate_pem


def test_a_certificate_that_is_its_own_authority_will_do() -> None:
    assert read_given(given(serving=AUTHORITY)).problem is None


def test_an_authority_behind_an_intermediate_will_do() -> None:
    chain = new_serving(STRANGER, ("127.0.0.1",), NOW).certificate_pem + AUTHORITY.certificate_pem
    assert read_given(given() | {"tls.crt": chain}).problem is None


@pytest.mark.parametrize(
    ("contents", "problem"),
    [
        ({}, "tls.crt: the certificate is missing"),
        (given() | {"tls.crt": b"rubbish"}, "tls.crt: the certificate is corrupt"),
        (given() | {"ca.crt": b""}, "ca.crt: the certificate is missing"),
        (given() | {"ca.crt": b"rubbish"}, "ca.crt: the certificate is corrupt"),
        (given() | {"ca.crt": AUTHORITY.key_pem}, "ca.crt: the certificate is corrupt"),
        (given(STRANGER.certificate_pem), "no certificate in ca.crt is the authority of the one in tls.crt"),
    ],
)
def test_a_secret_that_is_of_no_use_is_told_and_passes_on_nothing(contents: dict[str, bytes], problem: str) -> None:
    read = read_given(contents)
    assert read.bundle is None
    assert read.warnings("ns/tls", NOW) == [
        Warned("CertificateInvalid", f"Secret ns/tls: {problem}. The caBundles stay as they are.")
    ]


def test_the_end_of_a_certificate_is_told_a_month_before() -> None:
    read = read_given(given())
    end = read.serving_expires
    assert end is not None
    assert read.warnings("ns/tls", end - WARN_BEFORE - timedelta(seconds=1)) == []
    (warned,) = read.warnings("ns/tls", end - WARN_BEFORE)
    assert warned.reason == "CertificateExpiring"
    assert warned.note == (
        f"Secret ns/tls: the webhook's certificate (tls.crt) runs out at {end:%Y-%m-%dT%H:%M:%SZ}, from when on no pod"
        " is admitted. Put a new one into the Secret; it is taken up without a restart."
    )
    (late,) = read.warnings("ns/tls", end)
    assert "ran out at" in late.note


def test_the_end_of_the_authority_is_told_too() -> None:
    old = new_authority(NOW - timedelta(days=3640))
    signed = new_serving(old, ("127.0.0.1",), NOW)
    read = read_given(given(old.certificate_pem + AUTHORITY.certificate_pem, signed))
    assert read.authority_expires == old.certificate.not_valid_after_utc
    assert [warned.note.split(" runs")[0] for warned in read.warnings("ns/tls", NOW)] == [
        "Secret ns/tls: the authority of the webhook's certificate (ca.crt)"
    ]
