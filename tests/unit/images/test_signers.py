"""How many keys are tried with what anyone attaches to an image, and that none is missed that a signature names."""

from base64 import b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sekisho.images import signers as module
from sekisho.images.authorities import Authority
from sekisho.images.evidence import Candidate
from sekisho.images.keys import has_signed
from sekisho.images.verification import Verified, facts_of, verify_more
from tests.unit.images.signing import (
    IMAGE,
    NOW,
    OTHER_P256,
    P256,
    REPOSITORY,
    PrivateKey,
    bundle,
    candidate,
    key_of,
    keyed,
    statement,
)

TEAMS = [keyed(f"team-{number}", ec.generate_private_key(ec.SECP256R1())) for number in range(40)]
RELEASE = keyed("release", P256)
ALL = (*TEAMS, RELEASE)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The keys that signatures are checked with, in this order."""
    keys: list[Any] = []

    def counted(key: Any, *more: Any) -> bool:
        keys.append(key)
        return has_signed(key, *more)

    monkeypatch.setattr(module, "has_signed", counted)
    return keys


def signed(key: PrivateKey, hint: str = "x", content: bytes | None = None) -> Candidate:
    """A bundle that says by a hint which key signed it."""
    made = bundle(key, statement(IMAGE) if content is None else content)
    made["verificationMaterial"]["publicKey"]["hint"] = hint
    return candidate(made)


def hint_of(key: PrivateKey) -> str:
    """The hint that cosign writes."""
    return b64encode(bytes.fromhex(key_of(key).fingerprint)).decode()


def verified(*candidates: Candidate, named: tuple[str, ...] = (), predicates: tuple[str, ...] = ()) -> Any:
    authorities: tuple[Authority, ...] = ALL
    return facts_of(verify_more(Verified(REPOSITORY, IMAGE, authorities, predicates, named), candidates), NOW)


def test_key_that_a_signature_names_is_tried_first(checks: list[Any]) -> None:
    facts = verified(signed(P256, hint_of(P256)))
    assert [one.authority for one in facts.signatures] == ["release"]
    assert len(checks) == 1


@pytest.mark.parametrize("hint", ["", "x", hint_of(OTHER_P256), hint_of(P256)[:-2], "A" * 5000], ids=len)
def test_hint_leaves_no_key_out(hint: str) -> None:
    assert verified(signed(P256, hint)).signatures


def test_keys_that_rules_name_are_tried_before_others(checks: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEY_CHECKS", 2)
    assert verified(signed(P256), named=("release",)).signatures
    assert len(checks) == 1
    assert not verified(signed(P256), named=("team-1",)).signatures


def test_keys_that_are_tried_with_what_strangers_attach_are_bounded(checks: list[Any]) -> None:
    facts = verified(*(signed(OTHER_P256) for _ in range(32)), signed(P256, hint_of(P256)), named=("team-1",))
    assert [one.authority for one in facts.signatures] == ["release"]
    assert len(checks) <= module.MAX_KEY_CHECKS + 1
    assert facts.others == 32
    assert "it was compared with 31 of the 41 keys of all authorities" in facts.problems


def test_authority_whose_key_was_not_tried_is_not_said_to_have_signed_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEY_CHECKS", 2)
    checked = verified(signed(P256), named=("team-1",)).checked
    assert (checked["release"], checked["team-1"]) == ("", TEAMS[1].fingerprint)
    assert verified(signed(P256), named=("release",)).checked["release"] == RELEASE.fingerprint


@pytest.mark.parametrize(("named", "counts"), [(("release",), True), (("release", "team-1", "team-2"), False)])
def test_no_attestation_counts_while_one_by_a_named_key_may_be_newer(
    named: tuple[str, ...], counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KEY_CHECKS", 4)  # two for each
    predicate = "https://example.test/qa"
    content = statement(IMAGE, predicate)
    facts = verified(
        signed(P256, hint_of(P256), content), signed(OTHER_P256, "", content), named=named, predicates=(predicate,)
    )
    assert bool(facts.attestations) is counts
