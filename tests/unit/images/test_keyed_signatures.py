"""Signatures by keys: each kind of key, each change that must not pass, and beside it what passes."""

import json
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from msgspec.structs import replace

from sekisho.images.authorities import Authority, authority
from sekisho.images.bundles import (
    CERTIFICATE_ANNOTATION,
    ENVELOPE_TYPE,
    SIGNATURE_ANNOTATION,
    SIMPLE_SIGNING_TYPE,
    pre_authentication,
)
from sekisho.images.evidence import MAX_PROBLEM_LENGTH, MAX_PROBLEMS, Candidate, ImageFacts
from sekisho.images.statements import MAX_SIGNATURE_BYTES
from sekisho.images.verification import MAX_VERIFIED, verify
from tests.unit.images.signing import (
    IMAGE,
    NOW,
    OTHER_IMAGE,
    OTHER_P256,
    P256,
    PAYLOAD_TYPE,
    REPOSITORY,
    PrivateKey,
    base64,
    bundle,
    candidate,
    key_of,
    keyed,
    older,
    raw_signature,
    signed_by,
    simple_payload,
    statement,
)

KEYS: dict[str, PrivateKey] = {
    "P-256": P256,
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "RSA-2048": rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}
RELEASE = keyed("release", P256)


def facts(*candidates: Candidate, by: Authority = RELEASE, digest: str = IMAGE) -> ImageFacts:
    """The facts that candidates give about the image."""
    return verify(REPOSITORY, digest, candidates, [by], NOW)


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("attach", [signed_by, older])
def test_signature_by_each_kind_of_key_counts(name: str, attach: Callable[[PrivateKey], Candidate]) -> None:
    by = keyed("release", KEYS[name])
    image_facts = facts(attach(KEYS[name]), by=by)
    assert [signature.authority for signature in image_facts.signatures] == ["release"]
    assert image_facts.signatures[0].fingerprint == by.keys[0].fingerprint
    assert (image_facts.others, image_facts.problems, image_facts.checked) == (0, (), {"release": by.fingerprint})


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("attach", [signed_by, older])
def test_signature_by_another_key_of_the_kind_does_not_count(
    name: str, attach: Callable[[PrivateKey], Candidate]
) -> None:
    image_facts = facts(attach(KEYS[name]), by=keyed("release", OTHER_P256))
    assert (image_facts.signatures, image_facts.others) == ((), 1)


def test_plain_ed25519_signature_counts_too() -> None:
    key = KEYS["Ed25519"]
    content = bundle(key)
    message = b"".join(pre_authentication(PAYLOAD_TYPE, statement()))
    content["dsseEnvelope"]["signatures"][0]["sig"] = base64(raw_signature(key, message, is_prehashed=False))
    assert facts(candidate(content), by=keyed("release", key)).signatures


def test_second_of_two_keys_counts() -> None:
    assert facts(signed_by(P256), by=keyed("release", OTHER_P256, P256)).signatures


def test_several_authorities_each_get_their_signature() -> None:
    two = [RELEASE, keyed("scanner", OTHER_P256)]
    image_facts = verify(REPOSITORY, IMAGE, [signed_by(OTHER_P256), signed_by(P256), signed_by(P256)], two, NOW)
    assert [signature.authority for signature in image_facts.signatures] == ["scanner", "release"]


@pytest.mark.parametrize("version", ["v1", "v0.1"])
def test_both_versions_of_statements_count(version: str) -> None:
    assert facts(candidate(bundle(P256, statement(version=version)))).signatures


@dataclass
class Change:
    """A change of a valid bundle, and why it no longer counts."""

    make: Callable[[dict[str, Any]], object]
    why: str = ""


def _flip(text: str) -> str:
    content = bytearray(b64decode(text))
    content[len(content) // 2] ^= 1
    return base64(bytes(content))


def _flip_payload(content: dict[str, Any]) -> None:
    """One letter of the predicate's empty object: still JSON about the image, but not what was signed."""
    payload = b64decode(content["dsseEnvelope"]["payload"]).replace(b'"predicate": {}', b'"predicate":  {}')
    content["dsseEnvelope"]["payload"] = base64(payload)


def _flip_signature(content: dict[str, Any]) -> None:
    signature = content["dsseEnvelope"]["signatures"][0]
    signature["sig"] = _flip(signature["sig"])


CHANGES = {
    "payload": Change(_flip_payload),
    "signature": Change(_flip_signature),
    "two signatures": Change(
        lambda content: content["dsseEnvelope"]["signatures"].append({"sig": "AA=="}),
        "its envelope has 2 signatures; it must have one",
    ),
    "no signature": Change(
        lambda content: content["dsseEnvelope"]["signatures"].clear(), "its envelope has 0 signatures; it must have one"
    ),
    "key and certificate": Change(
        lambda content: content["verificationMaterial"].update(certificate={"rawBytes": "AA=="}),
        "its bundle must hold either a key or one certificate",
    ),
    "no key": Change(
        lambda content: content["verificationMaterial"].clear(), "its bundle must hold either a key or one certificate"
    ),
    "chain": Change(
        lambda content: content.update(verificationMaterial={"x509CertificateChain": {"certificates": []}}),
        "its bundle must hold either a key or one certificate",
    ),
    "message signature": Change(
        lambda content: content.update(messageSignature={"signature": "AA=="}),
        "its bundle must hold an envelope with a statement, and nothing else",
    ),
    "no envelope": Change(
        lambda content: content.pop("dsseEnvelope"),
        "its bundle must hold an envelope with a statement, and nothing else",
    ),
    "not base64": Change(
        lambda content: content["dsseEnvelope"].update(payload="not base64!"), "its statement is not base64"
    ),
    "bundle of another version": Change(
        lambda content: content.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1"),
        'it is a bundle of the type "application/vnd.dev.sigstore.bundle+json;version=0.1"; 0.3 is supported',
    ),
    "number for text": Change(
        lambda content: content["dsseEnvelope"].update(payload=1),
        "its JSON has another form: Expected `str`, got `int` - at `$.dsseEnvelope.payload`",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_bundle_does_not_count(name: str) -> None:
    change, content = CHANGES[name], bundle(P256)
    assert facts(candidate(content)).signatures, "the bundle counts before the change"
    change.make(content)
    image_facts = facts(candidate(content))
    assert image_facts.signatures == ()
    assert (image_facts.problems, image_facts.others) == (((change.why,), 0) if change.why else ((), 1))


def _statement_with(**changes: object) -> bytes:
    return json.dumps(json.loads(statement()) | changes).encode()


STATEMENTS = {
    statement(OTHER_IMAGE): "it is about another image",
    statement(predicate_type="https://cosign.sigstore.dev/attestation/vuln/v1"): "it is an attestation, "
    '"https://cosign.sigstore.dev/attestation/vuln/v1", not a signature',
    statement(predicate_type="https://sigstore.dev/cosign/sign/v11"): "it is an attestation, "
    '"https://sigstore.dev/cosign/sign/v11", not a signature',
    statement(version="v2"): 'its statement has the type "https://in-toto.io/Statement/v2", not in-toto\'s',
    _statement_with(subject=[]): "it is about another image",
    _statement_with(subject=[{"digest": {"sha512": IMAGE.partition(":")[2]}}]): "it is about another image",
    _statement_with(subject=[{"digest": {}}] * 65): "its statement has 65 subjects; the maximum is 64",
    statement()[:-1] + b', "predicateType": "x"}': "its JSON is ambiguous: an object in it has the duplicate key "
    '"predicateType"',
    b"[" * 200_000: "its JSON is nested too deeply",
    b"": "it is not JSON",
    b"\xff": "it is not JSON",
}


@pytest.mark.parametrize("content", STATEMENTS, ids=range(len(STATEMENTS)))
def test_validly_signed_statement_that_says_something_else_does_not_count(content: bytes) -> None:
    image_facts = facts(candidate(bundle(P256, content)))
    assert (image_facts.signatures, image_facts.others) == ((), 0)
    why = STATEMENTS[content]
    if len(content) > MAX_SIGNATURE_BYTES // 2:
        assert image_facts.problems[0].startswith("it has ")
    else:
        assert image_facts.problems == (why,)


def test_deep_nesting_is_not_a_signature() -> None:
    assert facts(candidate(bundle(P256, b"[" * 100_000))).problems == ("its JSON is nested too deeply",)


def test_statement_with_a_second_subject_counts_for_either_image() -> None:
    subject = [{"digest": {"sha256": digest.partition(":")[2]}} for digest in (IMAGE, OTHER_IMAGE)]
    signed = candidate(bundle(P256, _statement_with(subject=subject)))
    assert facts(signed).signatures
    assert facts(signed, digest=OTHER_IMAGE).signatures
    assert not facts(signed, digest="sha256:" + "ef" * 32).signatures


def test_payload_type_is_part_of_what_is_signed() -> None:
    content = bundle(P256, payload_type="text/plain")
    assert facts(candidate(content)).problems == ('its envelope holds "text/plain", no in-toto statement',)
    content["dsseEnvelope"]["payloadType"] = PAYLOAD_TYPE
    image_facts = facts(candidate(content))
    assert (image_facts.signatures, image_facts.others) == ((), 1)


def test_duplicate_key_in_a_bundle_does_not_count() -> None:
    content = json.dumps(bundle(P256)).encode()
    with_duplicate = content[:-1] + b', "mediaType": "x"}'
    assert facts(candidate(content)).signatures
    why = 'its JSON is ambiguous: an object in it has the duplicate key "mediaType"'
    assert facts(candidate(with_duplicate)).problems == (why,)


def test_large_bundle_is_not_read() -> None:
    image_facts = facts(candidate(b" " * (MAX_SIGNATURE_BYTES + 1)))
    assert image_facts.problems == ("it has 262,145 bytes; a signature has at most 262,144",)


OLDER = {
    "signed": (older(P256), None),
    "other image": (older(P256, simple_payload(OTHER_IMAGE)), "it is about another image"),
    "other type": (
        older(P256, simple_payload(kind="atomic container signature")),
        'its payload has the type "atomic container signature", not cosign\'s',
    ),
    "no annotation": (
        replace(older(P256), annotations={}),
        f"its layer has no annotation {SIGNATURE_ANNOTATION}",
    ),
    "certificate": (
        replace(older(P256), annotations=dict(older(P256).annotations) | {CERTIFICATE_ANNOTATION: ""}),
        "it is a keyless signature of the older format; sign again with cosign 3",
    ),
    "duplicate key": (
        older(P256, simple_payload()[:-1] + b', "critical": {}}'),
        'its JSON is ambiguous: an object in it has the duplicate key "critical"',
    ),
}


@pytest.mark.parametrize("name", OLDER)
def test_older_format(name: str) -> None:
    signed, why = OLDER[name]
    image_facts = facts(signed)
    assert bool(image_facts.signatures) is (why is None)
    assert image_facts.problems == (() if why is None else (why,))


def test_changed_payload_of_the_older_format_does_not_count() -> None:
    signed = older(P256)
    changed = replace(signed, payload=signed.payload.replace(b": null", b":  null"))
    assert facts(signed).signatures
    image_facts = facts(changed)
    assert (image_facts.signatures, image_facts.others) == ((), 1)


def test_attestation_of_the_older_format_does_not_count() -> None:
    envelope = bundle(P256)["dsseEnvelope"]
    assert facts(candidate(envelope, ENVELOPE_TYPE)).problems == (
        "it is an attestation of the older format, not a signature",
    )


def test_other_layers_say_nothing() -> None:
    image_facts = facts(candidate(b"{}", "application/spdx+json"), candidate(b"x", "text/html"))
    assert (image_facts.signatures, image_facts.others, image_facts.problems) == ((), 0, ())


def test_media_type_decides_how_a_layer_is_read() -> None:
    assert facts(candidate(bundle(P256), SIMPLE_SIGNING_TYPE)).signatures == ()
    assert facts(replace(older(P256), media_type="application/vnd.dev.sigstore.bundle.v0.3+json")).signatures == ()


def test_key_counts_until_its_end() -> None:
    until = datetime(2027, 1, 1, tzinfo=UTC)
    by = authority("release", [key_of(P256, until)])
    signature = facts(signed_by(P256), by=by).signatures[0]
    assert by.accepts(signature, until - timedelta(seconds=1))
    assert not by.accepts(signature, until)
    assert by.problem_at(until - timedelta(seconds=1)) == ""
    assert by.problem_at(until) == "its last key ended at 2027-01-01T00:00:00Z; add the key that signs now"


def test_fact_is_void_once_its_key_is_removed() -> None:
    signature = facts(signed_by(P256)).signatures[0]
    assert keyed("release", OTHER_P256, P256).accepts(signature, NOW)
    assert not keyed("release", OTHER_P256).accepts(signature, NOW)
    assert not keyed("scanner", P256).accepts(signature, NOW)


def test_fingerprint_changes_with_the_authority() -> None:
    end = datetime(2027, 1, 1, tzinfo=UTC)
    several = [
        keyed("a", P256),
        keyed("a", OTHER_P256),
        keyed("a", P256, OTHER_P256),
        authority("a", [key_of(P256, end)]),
        authority("a", problem="it has no key"),
    ]
    assert len({one.fingerprint for one in several}) == len(several)
    assert keyed("a", P256).fingerprint == several[0].fingerprint


def test_bundle_of_another_version_is_said_not_to_count() -> None:
    older = candidate(bundle(P256), "application/vnd.dev.sigstore.bundle+json;version=0.2")
    assert "version=0.2" in facts(older).problems[0]
    assert "0.3 is supported" in facts(older).problems[0]
    assert facts(older, signed_by(P256)).signatures


def test_candidates_and_problems_are_bounded() -> None:
    foreign = [
        candidate(bundle(P256, statement(predicate_type=f"https://example.test/{n}"))) for n in range(MAX_VERIFIED + 8)
    ]
    image_facts = facts(*foreign, signed_by(P256))
    assert image_facts.signatures == ()
    assert len(image_facts.problems) == MAX_PROBLEMS
    assert image_facts.omitted == 9
    assert facts(signed_by(P256), *foreign).signatures


def test_problem_is_one_line_and_short() -> None:
    image_facts = facts(candidate(bundle(P256, statement(predicate_type="a\nb" * 200))))
    assert "\n" not in image_facts.problems[0]
    assert len(image_facts.problems[0]) <= MAX_PROBLEM_LENGTH
