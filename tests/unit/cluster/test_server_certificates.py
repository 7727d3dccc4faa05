"""Serving certificates that the API server accepts, and those that it rejects."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sekisho.cluster.server_certificates import why_rejected
from tests.serving_certificates import NAME, NOW, Case, cases, make


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.label)
def test_a_certificate_is_accepted_or_rejected_as_by_the_api_server(case: Case) -> None:
    chain = [signer.certificate for signer in case.chain]
    roots = [signer.certificate for signer in case.roots]
    problem = why_rejected(chain, roots, (case.name,), case.now)
    assert (problem is None) is case.is_accepted, problem


def test_certificates_that_sign_each_other_take_bounded_time() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    middle = make(ca=True, key=key, subject="middle")
    crossed = [make(middle, ca=True, key=key, subject="middle").certificate for _ in range(40)]
    leaf = make(middle, names=[NAME]).certificate
    problem = why_rejected([leaf, *crossed], [make(ca=True).certificate], (NAME,), NOW)
    assert problem == "there are too many ways to an authority"


def test_without_authorities_and_names_the_certificate_itself_is_checked() -> None:
    root = make(ca=True)
    leaf = make(root, names=["other.svc"])
    assert why_rejected([leaf.certificate], [], (), NOW) is None
    assert why_rejected([leaf.certificate], [], (NAME,), NOW) == f"it is not valid for {NAME}, only for other.svc"
    expired = make(root, ends=NOW - (NOW - NOW), names=[NAME]).certificate
    assert why_rejected([expired], [], (), expired.not_valid_after_utc) is None
