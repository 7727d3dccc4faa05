"""Whose signatures by key count: real cosign, real registries, each case beside its near-twin."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from sekisho.registry import RegistryError
from sekisho.registry.client import MAX_LIST_BYTES
from sekisho.registry.manifests import OCI_INDEX
from tests.trustparts.cosign import Cosign, Key, KeyKind
from tests.trustparts.looking_up import by_keys, look_up, signers
from tests.trustparts.odd import HIDDEN_SUBJECTS, HTML_REFERRERS, NO_REFERRERS, Behavior, Fault, OddRegistry
from tests.trustparts.registries import Image, Registry


@pytest.fixture(scope="session")
def key(cosign: Cosign) -> Key:
    return cosign.new_key("release")


@pytest.fixture(scope="session")
def other_key(cosign: Cosign) -> Key:
    return cosign.new_key("other")


@pytest.fixture
def signed(image: Image, key: Key, cosign: Cosign) -> Image:
    cosign.sign(image, key)
    return image


@pytest.fixture
def image(odd_registry: OddRegistry, repository_name: str) -> Image:
    return odd_registry.push_image(repository_name)


def is_signed(image: Image, registry: Registry, *keys: Key) -> bool:
    """Whether an image has a signature by one of the keys."""
    release = by_keys("release", *(one.pem for one in keys))
    return signers(look_up(image, [release], registry.ca), [release]) == {"release"}


@pytest.mark.parametrize("older", [False, True], ids=["bundle", "older format"])
@pytest.mark.parametrize("kind", KeyKind)
def test_signature_by_each_kind_of_key_counts(
    cosign: Cosign, odd_registry: OddRegistry, image: Image, kind: KeyKind, older: bool
) -> None:
    own, other = (cosign.new_key(f"{kind.name}-{number}", kind) for number in range(2))
    (cosign.sign_older if older else cosign.sign)(image, own)
    assert is_signed(image, odd_registry, own)
    assert not is_signed(image, odd_registry, other)


@pytest.mark.parametrize("older", [False, True], ids=["fallback tag", "older format"])
def test_signature_counts_without_referrers_api(
    cosign: Cosign, distribution: Registry, repository_name: str, key: Key, older: bool
) -> None:
    image = distribution.push_image(repository_name)
    assert not is_signed(image, distribution, key)
    (cosign.sign_older if older else cosign.sign)(image, key)
    assert is_signed(image, distribution, key)


def test_signature_by_another_key_does_not_count(
    signed: Image, odd_registry: OddRegistry, key: Key, other_key: Key
) -> None:
    assert not is_signed(signed, odd_registry, other_key)
    assert is_signed(signed, odd_registry, other_key, key)


def test_signature_by_another_key_is_counted_as_such(signed: Image, odd_registry: OddRegistry, other_key: Key) -> None:
    facts = look_up(signed, [by_keys("release", other_key.pem)], odd_registry.ca)
    assert (facts.signatures, facts.others) == ((), 1)


def test_bundle_of_another_image_does_not_count(signed: Image, odd_registry: OddRegistry, key: Key) -> None:
    name = signed.repository.removeprefix(f"{odd_registry.host}/")
    other = odd_registry.push_image(name, "other")
    odd_registry.attach(other, odd_registry.bundles(signed)[0])
    assert not is_signed(other, odd_registry, key)
    assert is_signed(signed, odd_registry, key)


def test_older_signature_of_another_image_does_not_count(
    image: Image, cosign: Cosign, odd_registry: OddRegistry, repository_name: str, key: Key
) -> None:
    cosign.sign_older(image, key)
    other = odd_registry.push_image(repository_name, "other")
    tag = image.digest.replace(":", "-")
    _, _, manifest = odd_registry.request("GET", f"/v2/{repository_name}/manifests/{tag}.sig")
    odd_registry.put_manifest(repository_name, f"{other.digest.replace(':', '-')}.sig", manifest, image.media_type)
    assert not is_signed(other, odd_registry, key)
    assert is_signed(image, odd_registry, key)


def test_same_image_in_another_repository_counts_where_its_signature_was_copied(
    signed: Image, odd_registry: OddRegistry, repository_name: str, key: Key
) -> None:
    copied = odd_registry.push_image(f"{repository_name}/copy")
    assert copied.digest == signed.digest
    assert not is_signed(copied, odd_registry, key)
    odd_registry.attach(copied, odd_registry.bundles(signed)[0])
    assert is_signed(copied, odd_registry, key)


def test_attestation_alone_does_not_count(
    image: Image, cosign: Cosign, odd_registry: OddRegistry, key: Key, tmp_path: Path
) -> None:
    predicate = tmp_path / "predicate.json"
    predicate.write_text('{"answer": 42}')
    cosign.attest(image, key, "https://acme.example/qa/v1", predicate)
    assert cosign.verifies(image, key)  # cosign does not look at the type of the statement
    assert not is_signed(image, odd_registry, key)
    cosign.sign(image, key)
    assert is_signed(image, odd_registry, key)


def test_child_of_a_signed_index_must_be_signed_itself(
    cosign: Cosign, odd_registry: OddRegistry, repository_name: str, key: Key
) -> None:
    children = [odd_registry.push_image(repository_name, content) for content in ("a", "b")]
    index = odd_registry.push_index(repository_name, children)
    cosign.sign(index, key)
    assert [is_signed(image, odd_registry, key) for image in (index, *children)] == [True, False, False]
    cosign.sign(index, key, "-r")
    assert [is_signed(image, odd_registry, key) for image in (index, *children)] == [True, True, True]


def test_signature_by_a_key_counts_until_its_end(signed: Image, odd_registry: OddRegistry, key: Key) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    release = by_keys("release", key.pem, until=end)
    facts = look_up(signed, [release], odd_registry.ca)
    assert signers(facts, [release], end - timedelta(seconds=1)) == {"release"}
    assert signers(facts, [release], end) == set()


def test_each_authority_gets_its_signature(
    signed: Image, cosign: Cosign, odd_registry: OddRegistry, key: Key, other_key: Key
) -> None:
    authorities = [by_keys("release", key.pem), by_keys("qa", other_key.pem)]
    assert signers(look_up(signed, authorities, odd_registry.ca), authorities) == {"release"}
    cosign.sign(signed, other_key)
    assert signers(look_up(signed, authorities, odd_registry.ca), authorities) == {"release", "qa"}


def test_signature_is_found_among_many_attachments(signed: Image, odd_registry: OddRegistry, key: Key) -> None:
    for number in range(40):
        odd_registry.attach(signed, b"{}", artifact_type="text/plain", media_type="text/plain")
        odd_registry.attach(signed, b"%d" % number, annotations={"dev.sigstore.bundle.predicateType": "https://x"})
    name = signed.repository.removeprefix(f"{odd_registry.host}/")
    odd_registry.behave(Behavior(page_size=7), name)
    assert is_signed(signed, odd_registry, key)


@pytest.mark.parametrize("artifact_type", ["application/vnd.oci.empty.v1+json", "text/plain"])
def test_signature_counts_whatever_type_its_descriptor_has(
    signed: Image, odd_registry: OddRegistry, repository_name: str, key: Key, artifact_type: str
) -> None:
    copied = odd_registry.push_image(f"{repository_name}/copy")
    odd_registry.attach(copied, odd_registry.bundles(signed)[0], artifact_type=artifact_type)
    assert is_signed(copied, odd_registry, key)


def test_fallback_tag_is_read_where_the_referrers_api_answers_with_a_page(
    odd_registry: OddRegistry, repository_name: str, cosign: Cosign, key: Key
) -> None:
    image = odd_registry.push_image(repository_name)
    odd_registry.behave(Behavior(faults=(NO_REFERRERS, HIDDEN_SUBJECTS)), repository_name)
    cosign.sign(image, key)
    unsigned = odd_registry.push_image(repository_name, "unsigned")
    odd_registry.behave(Behavior(faults=(HTML_REFERRERS,)), repository_name)
    assert [is_signed(one, odd_registry, key) for one in (image, unsigned)] == [True, False]


def test_list_that_is_too_large_does_not_hide_signatures_elsewhere(
    odd_registry: OddRegistry, repository_name: str, cosign: Cosign, key: Key
) -> None:
    image, older = (odd_registry.push_image(repository_name, content) for content in ("image", "older"))
    odd_registry.behave(Behavior(faults=(NO_REFERRERS, HIDDEN_SUBJECTS)), repository_name)
    cosign.sign(image, key)
    cosign.sign_older(older, key)
    unsigned = odd_registry.push_image(repository_name, "unsigned")
    too_large = Fault("referrers", headers={"Content-Type": OCI_INDEX}, body=b" " * (MAX_LIST_BYTES + 1))
    odd_registry.behave(Behavior(faults=(too_large,)), repository_name)
    assert [is_signed(one, odd_registry, key) for one in (image, older)] == [True, True]
    with pytest.raises(RegistryError, match="what is attached to it cannot be listed"):
        is_signed(unsigned, odd_registry, key)


def _flip(text: str) -> str:
    """Another letter in the middle of a text in base64."""
    middle = len(text) // 2
    return text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]


def _flip_payload(bundle: dict[str, object]) -> None:
    envelope = bundle["dsseEnvelope"]
    assert isinstance(envelope, dict)
    envelope["payload"] = _flip(envelope["payload"])


def _flip_signature(bundle: dict[str, object]) -> None:
    envelope = bundle["dsseEnvelope"]
    assert isinstance(envelope, dict)
    envelope["signatures"][0]["sig"] = _flip(envelope["signatures"][0]["sig"])


def _duplicate_signature(bundle: dict[str, object]) -> None:
    envelope = bundle["dsseEnvelope"]
    assert isinstance(envelope, dict)
    envelope["signatures"] *= 2


@pytest.mark.parametrize("change", [_flip_payload, _flip_signature, _duplicate_signature])
def test_changed_bundle_does_not_count(
    signed: Image,
    odd_registry: OddRegistry,
    repository_name: str,
    key: Key,
    change: Callable[[dict[str, object]], None],
) -> None:
    bundle = msgspec.json.decode(odd_registry.bundles(signed)[0], type=dict[str, object])
    plain, changed = (odd_registry.push_image(f"{repository_name}/{copy}") for copy in ("plain", "changed"))
    odd_registry.attach(plain, msgspec.json.encode(bundle))
    change(bundle)
    odd_registry.attach(changed, msgspec.json.encode(bundle))
    assert is_signed(plain, odd_registry, key)
    assert not is_signed(changed, odd_registry, key)
