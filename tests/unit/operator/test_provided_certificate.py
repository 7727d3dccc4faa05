"""A Secret that the administrator provides: the caBundle from it, and the Events about it."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sekisho.operator.certificates import KeyPair, new_authority, new_serving
from sekisho.operator.provided_certificate import WARN_BEFORE, Concern, read_provided
from tests.serving_certificates import Signer, make, pem

NOW = datetime.now(UTC).replace(microsecond=0)
AUTHORITY = new_authority(NOW)
STRANGER = new_authority(NOW)
NAMES = ("127.0.0.1",)


def secret_data(authority: bytes = AUTHORITY.certificate_pem, serving: KeyPair | None = None) -> dict[str, bytes]:
    serving = serving or new_serving(AUTHORITY, ("127.0.0.1",), NOW)
    return {"tls.crt": serving.certificate_pem, "tls.key": serving.key_pem, "ca.crt": authority}


def test_the_bundle_is_the_authority() -> None:
    read = read_provided(secret_data(), NAMES, NOW)
    assert read.bundle == AUTHORITY.certificate_pem
    assert read.problem is None
    assert read.concerns("ns/tls", NOW) == []


def test_the_bundle_has_both_authorities_while_one_replaces_the_other() -> None:
    both = STRANGER.certificate_pem + AUTHORITY.certificate_pem
    assert read_provided(secret_data(both), NAMES, NOW).bundle == both


def test_the_bundle_has_nothing_but_certificates() -> None:
    text = b"# our authority\n" + AUTHORITY.certificate_pem + AUTHORITY.key_pem
    assert read_provided(secret_data(text), NAMES, NOW).bundle == AUTHORITY.certificate_pem


def test_a_self_signed_certificate_is_usable() -> None:
    assert read_provided(secret_data(serving=AUTHORITY), (), NOW).problem is None


def test_an_authority_of_an_intermediate_certificate_is_usable() -> None:
    root = make(ca=True, subject="root")
    middle = make(root, ca=True, subject="middle")
    contents = {"tls.crt": pem(make(middle, names=NAMES), middle), "ca.crt": pem(root)}
    assert read_provided(contents, NAMES, NOW).problem is None


BRAINPOOL = make(ca=True, key=ec.generate_private_key(ec.BrainpoolP256R1()))
LATER = make(ca=True, subject="later")


@pytest.mark.parametrize(
    ("authority", "leaf", "problem"),
    [
        (LATER, make(LATER, names=["other.svc"]), "it is not valid for 127.0.0.1, only for other.svc"),
        (
            LATER,
            make(LATER, names=NAMES, begins=NOW + timedelta(days=300), ends=NOW + timedelta(days=301)),
            "not valid before",
        ),
        (BRAINPOOL, make(BRAINPOOL, names=NAMES), "no certificate in the caBundle is its authority"),
    ],
)
def test_a_certificate_that_the_api_server_would_reject_changes_no_bundle(
    authority: Signer, leaf: Signer, problem: str
) -> None:
    read = read_provided({"tls.crt": pem(leaf), "ca.crt": pem(authority)}, NAMES, NOW)
    assert read.bundle is None
    assert "the API server would reject the certificate in tls.crt: " in (read.problem or "")
    assert problem in (read.problem or "")
    assert read.concerns("ns/tls", NOW)[0].reason == "CertificateInvalid"
    good = make(LATER, names=NAMES)
    assert read_provided({"tls.crt": pem(good), "ca.crt": pem(LATER)}, NAMES, NOW).bundle == pem(LATER)


@pytest.mark.parametrize(
    ("contents", "problem"),
    [
        ({}, "tls.crt: the certificate is missing"),
        (secret_data() | {"tls.crt": b"rubbish"}, "tls.crt: the certificate is corrupt"),
        (secret_data() | {"ca.crt": b""}, "ca.crt: the certificate is missing"),
        (secret_data() | {"ca.crt": b"rubbish"}, "ca.crt: the certificate is corrupt"),
        (secret_data() | {"ca.crt": AUTHORITY.key_pem}, "ca.crt: the certificate is corrupt"),
        (secret_data(STRANGER.certificate_pem), "no certificate in ca.crt is the authority of the one in tls.crt"),
    ],
)
def test_an_unusable_secret_is_reported_and_changes_no_bundle(contents: dict[str, bytes], problem: str) -> None:
    read = read_provided(contents, NAMES, NOW)
    assert read.bundle is None
    assert read.concerns("ns/tls", NOW) == [
        Concern("CertificateInvalid", f"Secret ns/tls: {problem}. The caBundles are not changed.")
    ]


def test_the_expiry_of_a_certificate_is_announced_a_month_before() -> None:
    read = read_provided(secret_data(), NAMES, NOW)
    end = read.serving_expires
    assert end is not None
    assert read.concerns("ns/tls", end - WARN_BEFORE - timedelta(seconds=1)) == []
    (concern,) = read.concerns("ns/tls", end - WARN_BEFORE)
    assert concern.reason == "CertificateExpiring"
    assert concern.note == (
        f"Secret ns/tls: the webhook's certificate (tls.crt) expires at {end:%Y-%m-%dT%H:%M:%SZ}; from then on no pod"
        " is admitted. Put a new one into the Secret; it is used without a restart."
    )
    (late,) = read.concerns("ns/tls", end)
    assert "expired at" in late.note


def test_the_expiry_of_the_authority_is_announced_too() -> None:
    old = new_authority(NOW - timedelta(days=3640))
    signed = new_serving(old, ("127.0.0.1",), NOW)
    read = read_provided(secret_data(old.certificate_pem + AUTHORITY.certificate_pem, signed), NAMES, NOW)
    assert read.authority_expires == old.certificate.not_valid_after_utc
    assert [concern.note.split(" expires")[0] for concern in read.concerns("ns/tls", NOW)] == [
        "Secret ns/tls: the authority of the webhook's certificate (ca.crt)"
    ]
