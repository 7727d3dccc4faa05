"""Whose keyless signatures count: real Fulcio, Rekor and timestamps where they can be made to, else minted ones.

tests/cluster/test_image_verification.py has the same rows on the real API server, with real signatures. Minted ones are
for any time: Fulcio's certificates last ten minutes from now, and cosign does not sign with a chain that has ended.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sekisho.images.authorities import Authority
from tests.trustparts.issuer import IssuerKind
from tests.trustparts.looking_up import by_identity, look_up, signers
from tests.trustparts.minted import CI, MintedSigstore, Validity
from tests.trustparts.odd import OddRegistry
from tests.trustparts.registries import Image, Registry
from tests.trustparts.sigstore import RELEASE, Sigstore

WORKFLOW = "https://github.com/acme/*/.github/workflows/release.yml@refs/tags/v*"
SIGNED = datetime(2025, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
Bundle = dict[str, Any]


@pytest.fixture
def image(odd_registry: OddRegistry, repository_name: str) -> Image:
    return odd_registry.push_image(repository_name)


def is_signed(image: Image, registry: Registry, release: Authority) -> bool:
    """Whether an image has a signature by the authority."""
    return bool(signers(look_up(image, [release], registry.ca), [release]))


def real(sigstore: Sigstore, *identities: str, issuer: IssuerKind = IssuerKind.CI) -> Authority:
    """An authority with identities of the real Sigstore."""
    root = json.loads(sigstore.trusted_root.read_text())
    return by_identity("release", root, sigstore.issuer_of(issuer), *identities)


def test_real_signature_counts(sigstore: Sigstore, distribution: Registry, repository_name: str) -> None:
    image = distribution.push_image(repository_name)
    release = real(sigstore, WORKFLOW)
    assert not is_signed(image, distribution, release)
    sigstore.sign(image)
    [signature] = look_up(image, [release], distribution.ca).signatures
    assert (signature.identity, signature.issuer) == (RELEASE, sigstore.issuer)
    assert signature.signed_at is not None
    assert abs(datetime.now(UTC) - signature.signed_at) < HOUR


IDENTITIES = [
    (WORKFLOW, IssuerKind.CI, True),
    (RELEASE, IssuerKind.CI, True),
    (RELEASE.removesuffix("3") + "*", IssuerKind.CI, True),
    ("https://github.com/*/.github/workflows/release.yml@refs/tags/v*", IssuerKind.CI, False),  # * is one segment
    ("https://github.com/acme/pay/*", IssuerKind.CI, False),
    (RELEASE.removesuffix("3"), IssuerKind.CI, False),
    (RELEASE.removeprefix("https://"), IssuerKind.CI, False),
    (f"{RELEASE}.evil.test", IssuerKind.CI, False),
    (WORKFLOW.upper(), IssuerKind.CI, False),
    (WORKFLOW, IssuerKind.OTHER_CI, False),
    ("ann@acme.example", IssuerKind.PEOPLE, False),
]


def test_identity_must_match_as_a_whole_and_issuer_exactly(
    sigstore: Sigstore, odd_registry: OddRegistry, image: Image
) -> None:
    sigstore.sign(image)
    authorities = {(pattern, issuer): real(sigstore, pattern, issuer=issuer) for pattern, issuer, _ in IDENTITIES}
    matched = {key: is_signed(image, odd_registry, release) for key, release in authorities.items()}
    assert matched == {(pattern, issuer): counts for pattern, issuer, counts in IDENTITIES}


PAGE = Path(__file__).parents[2] / "docs" / "signed-images.md"
PIPELINES = {
    IssuerKind.GITHUB: ("acme/pay/.github/workflows/release.yml@refs/", "https://github.com/"),
    IssuerKind.GITLAB: ("gitlab.com/acme/pay//.gitlab-ci.yml@refs/", "https://gitlab.com/"),
}
"""What tokens of a provider claim, without the tag or branch, and how the identities of the page for it begin."""


@pytest.mark.parametrize("provider", PIPELINES)
def test_identity_of_the_page_is_what_fulcio_certifies_for_tags(
    sigstore: Sigstore, odd_registry: OddRegistry, repository_name: str, provider: IssuerKind
) -> None:
    claim, beginning = PIPELINES[provider]
    [documented] = set(re.findall(rf'identities: \["({beginning}[^"]+)"\]', PAGE.read_text()))
    release = real(sigstore, documented, issuer=provider)
    for ref, counts in (("tags/v1.2.3", True), ("heads/main", False), ("tags/v1.2.3/x", False)):
        image = odd_registry.push_image(f"{repository_name}/{ref.lower()}", ref)
        sigstore.sign(image, identity=claim + ref, issuer=provider)
        assert is_signed(image, odd_registry, release) is counts


def test_signature_of_a_person_counts(sigstore: Sigstore, odd_registry: OddRegistry, image: Image) -> None:
    sigstore.sign(image, identity="ann@acme.example", issuer=IssuerKind.PEOPLE)
    assert is_signed(image, odd_registry, real(sigstore, "*@acme.example", issuer=IssuerKind.PEOPLE))
    assert not is_signed(image, odd_registry, real(sigstore, "*@acme.example.evil.test", issuer=IssuerKind.PEOPLE))
    assert not is_signed(image, odd_registry, real(sigstore, "*@me.example", issuer=IssuerKind.PEOPLE))


def test_real_attestation_does_not_count(
    sigstore: Sigstore, odd_registry: OddRegistry, image: Image, tmp_path_factory: pytest.TempPathFactory
) -> None:
    predicate = tmp_path_factory.mktemp("predicate") / "predicate.json"
    predicate.write_text('{"answer": 42}')
    sigstore.attest(image, "https://acme.example/qa/v1", predicate)
    release = real(sigstore, WORKFLOW)
    assert not is_signed(image, odd_registry, release)
    sigstore.sign(image)
    assert is_signed(image, odd_registry, release)


def flipped(path: str) -> Callable[[Bundle], Bundle]:
    """Changes a byte in the middle of a value in base64."""

    def change(bundle: Bundle) -> Bundle:
        *parents, last = path.split(".")
        part: Any = bundle
        for name in parents:
            part = part[int(name)] if name.isdigit() else part[name]
        content = bytearray(b64decode(part[last]))
        content[len(content) // 2] ^= 1
        part[last] = b64encode(content).decode()
        return bundle

    return change


def _without(path: str) -> Callable[[Bundle], Bundle]:
    """Takes a value out."""

    def change(bundle: Bundle) -> Bundle:
        *parents, last = path.split(".")
        part = bundle
        for name in parents:
            part = part[name]
        del part[last]
        return bundle

    return change


def _duplicated(bundle: Bundle) -> Bundle:
    bundle["dsseEnvelope"]["signatures"] *= 2
    return bundle


CHANGES: dict[str, Callable[[Bundle], Bundle]] = {
    "payload": flipped("dsseEnvelope.payload"),
    "signature": flipped("dsseEnvelope.signatures.0.sig"),
    "certificate": flipped("verificationMaterial.certificate.rawBytes"),
    "log entry": flipped("verificationMaterial.tlogEntries.0.canonicalizedBody"),
    "root of the log": flipped("verificationMaterial.tlogEntries.0.inclusionProof.rootHash"),
    "timestamp": flipped("verificationMaterial.timestampVerificationData.rfc3161Timestamps.0.signedTimestamp"),
    "no timestamp, so no proof of time": _without("verificationMaterial.timestampVerificationData"),
    "no log entry": _without("verificationMaterial.tlogEntries"),
    "two signatures": _duplicated,
}


def test_changed_real_bundle_does_not_count(
    sigstore: Sigstore, odd_registry: OddRegistry, image: Image, repository_name: str
) -> None:
    sigstore.sign(image)
    release, bundle = real(sigstore, WORKFLOW), odd_registry.bundles(image)[0]
    counts = {}
    for name, change in (CHANGES | {"nothing": lambda bundle: bundle}).items():
        copy = odd_registry.push_image(f"{repository_name}/{name.replace(' ', '-').replace(',', '')}")
        odd_registry.attach(copy, json.dumps(change(json.loads(bundle))).encode())
        counts[name] = is_signed(copy, odd_registry, release)
    assert counts == dict.fromkeys(CHANGES, False) | {"nothing": True}


def test_duplicate_key_does_not_count(
    sigstore: Sigstore, odd_registry: OddRegistry, image: Image, repository_name: str
) -> None:
    sigstore.sign(image)
    release, bundle = real(sigstore, WORKFLOW), odd_registry.bundles(image)[0]
    copy = odd_registry.push_image(f"{repository_name}/copy")
    odd_registry.attach(copy, b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",' + bundle.lstrip()[1:])
    assert not is_signed(copy, odd_registry, release)
    assert is_signed(image, odd_registry, release)


PERIOD = {"before": (SIGNED - HOUR * 2, SIGNED - HOUR), "around": (SIGNED - HOUR, SIGNED + HOUR)}
VALIDITIES: list[tuple[str, Validity, bool]] = [
    ("everything is valid", Validity(), True),
    ("the authority ended before", Validity(authority=PERIOD["before"]), False),
    ("the authority ended after", Validity(authority=PERIOD["around"]), True),
    ("the intermediate ended before", Validity(intermediate=PERIOD["before"]), False),
    ("the intermediate ended after", Validity(intermediate=PERIOD["around"]), True),
    ("the log ended before", Validity(log=PERIOD["before"]), False),
    ("the log ended after", Validity(log=PERIOD["around"]), True),
    ("the log of certificates ended before", Validity(certificate_log=PERIOD["before"]), False),
    ("the log of certificates ended after", Validity(certificate_log=PERIOD["around"]), True),
    ("the log began after", Validity(log=(SIGNED + HOUR, None)), False),
]


def minted(sigstore: MintedSigstore) -> Authority:
    """An authority with an identity of a minted Sigstore."""
    return by_identity("release", sigstore.trusted_root(), CI, WORKFLOW)


@pytest.mark.parametrize(
    ("validity", "counts"), [case[1:] for case in VALIDITIES], ids=[case[0] for case in VALIDITIES]
)
def test_parts_must_have_been_valid_when_it_was_signed(
    odd_registry: OddRegistry, image: Image, validity: Validity, counts: bool
) -> None:
    sigstore = MintedSigstore(validity)
    odd_registry.attach(image, json.dumps(sigstore.bundle(image.digest, SIGNED)).encode())
    assert is_signed(image, odd_registry, minted(sigstore)) is counts


MINTED = MintedSigstore()
OTHER_IMAGE = f"sha256:{'ab' * 32}"
MINTED_CASES: dict[str, tuple[Callable[[str], Bundle], bool]] = {
    "complete, though its certificate expired": (lambda digest: MINTED.bundle(digest, SIGNED), True),
    "no promise of the log of certificates": (lambda digest: MINTED.bundle(digest, SIGNED, promised=False), False),
    "no log entry": (lambda digest: MINTED.bundle(digest, SIGNED, logged=False), False),
    "entry of another signature": (
        lambda digest: MINTED.bundle(digest, SIGNED, entry_of=MINTED.bundle(digest, SIGNED)),
        False,
    ),
    "signed after the certificate": (
        lambda digest: MINTED.bundle(digest, SIGNED, certificate_at=SIGNED - HOUR),
        False,
    ),
    "of another Sigstore": (lambda digest: MintedSigstore().bundle(digest, SIGNED), False),
    "of another image": (lambda _: MINTED.bundle(OTHER_IMAGE, SIGNED), False),
    "an attestation": (
        lambda digest: MINTED.bundle(digest, SIGNED, predicate_type="https://acme.example/qa/v1"),
        False,
    ),
    "by an issuer like it": (lambda digest: MINTED.bundle(digest, SIGNED, issuer=f"{CI}.evil.test"), False),
    "identity with a suffix": (lambda digest: MINTED.bundle(digest, SIGNED, f"{RELEASE}/evil"), False),
    "identity with a prefix": (lambda digest: MINTED.bundle(digest, SIGNED, f"https://evil.test/{RELEASE}"), False),
    "* does not match /": (
        lambda digest: MINTED.bundle(digest, SIGNED, RELEASE.replace("acme/", "acme/evil/")),
        False,
    ),
    "* matches another repository": (
        lambda digest: MINTED.bundle(digest, SIGNED, RELEASE.replace("/pay/", "/ledger/")),
        True,
    ),
}


@pytest.mark.parametrize(("mint", "counts"), MINTED_CASES.values(), ids=MINTED_CASES)
def test_minted_signature_counts_only_if_all_of_it_is_right(
    odd_registry: OddRegistry, image: Image, mint: Callable[[str], Bundle], counts: bool
) -> None:
    odd_registry.attach(image, json.dumps(mint(image.digest)).encode())
    assert is_signed(image, odd_registry, minted(MINTED)) is counts
