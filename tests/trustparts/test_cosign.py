"""cosign signs at both registries, and finds what it signed: what these tests sign is what users sign."""

from pathlib import Path

import msgspec
import pytest

from tests.trustparts.cosign import Cosign, CosignError, KeyKind
from tests.trustparts.odd import OddRegistry
from tests.trustparts.registries import PASSWORD, USER, Registry


@pytest.fixture(params=["odd_registry", "distribution"])
def registry(request: pytest.FixtureRequest) -> Registry:
    selected: Registry = request.getfixturevalue(request.param)
    return selected


# cosign must be told which hash the larger curves go with. It can't verify its own signatures by Ed25519.
OPTIONS = {
    KeyKind.P384: ("--signature-digest-algorithm=sha384",),
    KeyKind.P521: ("--signature-digest-algorithm=sha512",),
}


@pytest.mark.parametrize("kind", [kind for kind in KeyKind if kind is not KeyKind.ED25519])
def test_signature_by_each_kind_of_key_is_verified(
    cosign: Cosign, odd_registry: OddRegistry, repository_name: str, kind: KeyKind
) -> None:
    image = odd_registry.push_image(repository_name)
    key, other = (cosign.new_key(f"{kind.name}-{number}", kind) for number in range(2))
    cosign.sign(image, key)
    assert cosign.verifies(image, key, *OPTIONS.get(kind, ()))
    assert not cosign.verifies(image, other, *OPTIONS.get(kind, ()))


def test_both_formats_are_verified_at_both_registries(cosign: Cosign, registry: Registry, repository_name: str) -> None:
    key = cosign.new_key("both")
    newer, older, unsigned = (registry.push_image(repository_name, content) for content in ("a", "b", "c"))
    cosign.sign(newer, key)
    cosign.sign_older(older, key)
    assert [cosign.verifies(image, key) for image in (newer, unsigned)] == [True, False]
    assert [cosign.verifies_older(image, key) for image in (older, unsigned)] == [True, False]


def test_registries_differ_in_where_signatures_are(
    cosign: Cosign, odd_registry: OddRegistry, distribution: Registry, repository_name: str
) -> None:
    key = cosign.new_key("where")
    answers = []
    for registry in (odd_registry, distribution):
        image = registry.push_image(repository_name)
        cosign.sign(image, key)
        fallback = f"manifests/{image.digest.replace(':', '-')}"
        paths = (f"/v2/{repository_name}/{rest}" for rest in (f"referrers/{image.digest}", fallback))
        answers.append([registry.request("GET", path)[0] for path in paths])
    assert answers == [[200, 404], [404, 200]]


def test_index_is_signed_with_its_children_on_request(
    cosign: Cosign, odd_registry: OddRegistry, repository_name: str
) -> None:
    key = cosign.new_key("index")
    indexes = []
    for content in ("a", "b"):
        children = [odd_registry.push_image(repository_name, f"{content}{number}") for number in range(2)]
        indexes.append((odd_registry.push_index(repository_name, children), *children))
    (alone, child, _), (whole, *children) = indexes
    cosign.sign(alone, key)
    cosign.sign(whole, key, "-r")
    assert [cosign.verifies(image, key) for image in (alone, child, whole, *children)] == [True, False] + [True] * 3


def test_what_is_attached_by_hand_is_found(cosign: Cosign, registry: Registry, repository_name: str) -> None:
    key = cosign.new_key("by-hand")
    image = registry.push_image(repository_name)
    cosign.sign(image, key)
    bundle = registry.bundles(image)[0]
    copied = registry.push_image(f"{repository_name}/copy")
    assert copied.digest == image.digest
    assert not cosign.verifies(copied, key)
    registry.attach(copied, bundle)
    assert cosign.verifies(copied, key)


def test_attestation_is_attached(
    cosign: Cosign, odd_registry: OddRegistry, repository_name: str, tmp_path: Path
) -> None:
    key = cosign.new_key("attestation")
    image = odd_registry.push_image(repository_name)
    predicate = tmp_path / "predicate.json"
    predicate.write_text('{"answer": 42}')
    cosign.attest(image, key, "https://acme.example/qa/v1", predicate)
    [bundle] = odd_registry.bundles(image)
    assert "dsseEnvelope" in msgspec.json.decode(bundle)


def test_login_is_required_where_it_is_configured(
    cosign: Cosign, distribution_with_login: Registry, repository_name: str
) -> None:
    key = cosign.new_key("login")
    image = distribution_with_login.push_image(repository_name)
    with pytest.raises(CosignError, match="UNAUTHORIZED"):
        cosign.sign(image, key)
    cosign.log_in(distribution_with_login.host, USER, PASSWORD)
    cosign.sign(image, key)
    assert cosign.verifies(image, key)
