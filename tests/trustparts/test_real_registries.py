"""The client with registries that others wrote, and with signatures that cosign made."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from sekisho.images.verification import verify
from sekisho.registry import (
    Credential,
    Failure,
    RegistryClient,
    RegistryError,
    Repository,
    Settings,
    find_candidates,
    tls_context,
)
from sekisho.registry.authentication import Credentials
from sekisho.registry.client import anonymous
from tests.trustparts.cosign import Cosign
from tests.trustparts.odd import (
    ENDLESS,
    HTML_REFERRERS,
    NO_DIGEST_HEADER,
    NO_REFERRERS,
    UNAVAILABLE,
    WRONG_BYTES,
    Behavior,
    Fault,
    OddRegistry,
)
from tests.trustparts.registries import PASSWORD, USER, Image, Registry
from tests.unit.images.signing import P256, keyed
from tests.unit.registry.registry_server import LOOPBACK

BUNDLE = b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}'
ROBOT = Credential(USER, PASSWORD)


@asynccontextmanager
async def reading(registry: Registry, credentials: Credentials = anonymous) -> AsyncIterator[RegistryClient]:
    client = RegistryClient(Settings((LOOPBACK,), tls_context(registry.ca.read_text()), {}), credentials)
    try:
        yield client
    finally:
        await client.close()


def repository_of(registry: Registry, name: str) -> Repository:
    return Repository(registry.host, name)


async def payloads(registry: Registry, image: Image, credentials: Credentials = anonymous) -> list[tuple[str, bytes]]:
    """What is found beside an image, by where."""
    name = image.repository.removeprefix(f"{registry.host}/")
    async with reading(registry, credentials) as client:
        candidates = await find_candidates(client, Repository(registry.host, name), image.digest)
    return [(one.source, one.payload) for one in candidates.candidates]


@pytest.fixture(params=["odd_registry", "distribution"])
def registry(request: pytest.FixtureRequest) -> Registry:
    selected: Registry = request.getfixturevalue(request.param)
    return selected


async def test_tag_stands_for_the_image_that_was_pushed(registry: Registry, repository_name: str) -> None:
    image = registry.push_image(repository_name, tag="v1")
    index = registry.push_index(repository_name, [image], tag="multi")
    async with reading(registry) as client:
        repository = repository_of(registry, repository_name)
        assert await client.digest(repository, "v1") == image.digest
        assert await client.digest(repository, "multi") == index.digest
        with pytest.raises(RegistryError) as caught:
            await client.digest(repository, "v2")
    assert caught.value.failure is Failure.MISSING


async def test_image_without_signatures_has_no_candidates(registry: Registry, repository_name: str) -> None:
    assert await payloads(registry, registry.push_image(repository_name)) == []


async def test_signatures_of_cosign_are_found_and_verified(
    cosign: Cosign, registry: Registry, repository_name: str
) -> None:
    key = cosign.new_key("client")
    image = registry.push_image(repository_name)
    cosign.sign(image, key)
    cosign.sign_older(image, key)
    async with reading(registry) as client:
        candidates = await find_candidates(client, repository_of(registry, repository_name), image.digest)
    newer = "referrers" if isinstance(registry, OddRegistry) else "fallback tag"
    assert {one.source for one in candidates.candidates} == {newer, ".sig tag"}
    assert candidates.problems == ()
    facts = verify(image.repository, image.digest, candidates.candidates, [keyed("other", P256)], datetime.now(UTC))
    assert (facts.signatures, facts.others, facts.problems) == ((), 2, ())


async def test_basic_authentication_of_distribution(distribution_with_login: Registry, repository_name: str) -> None:
    registry = distribution_with_login
    registry.push_image(repository_name, tag="v1")
    repository = repository_of(registry, repository_name)
    async with reading(registry, lambda *_: (Credential("x", "y"), ROBOT)) as client:
        assert await client.digest(repository, "v1")
    async with reading(registry) as client:
        with pytest.raises(RegistryError, match="without credentials"):
            await client.digest(repository, "v1")


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
async def test_authentication(odd_registry: OddRegistry, repository_name: str, scheme: str) -> None:
    image = odd_registry.push_image(repository_name)
    odd_registry.attach(image, BUNDLE)
    odd_registry.behave(Behavior(auth=scheme, user=USER, password=PASSWORD), repository_name)
    assert await payloads(odd_registry, image, lambda *_: (ROBOT,)) == [("referrers", BUNDLE)]
    with pytest.raises(RegistryError) as caught:
        await payloads(odd_registry, image, lambda *_: (Credential(USER, "wrong"),))
    assert caught.value.failure is Failure.DENIED


async def test_credentials_do_not_follow_redirects(odd_registry: OddRegistry, repository_name: str) -> None:
    image = odd_registry.push_image(repository_name)
    odd_registry.attach(image, BUNDLE)
    faults = (odd_registry.redirect(),)
    odd_registry.behave(Behavior(auth="basic", user=USER, password=PASSWORD, faults=faults), repository_name)
    assert await payloads(odd_registry, image, lambda *_: (ROBOT,)) == [("referrers", BUNDLE)]
    requests = [one for one in odd_registry.requests(repository_name) if one.listener == "storage"]
    assert [one.authorization for one in requests] == [""]


@pytest.mark.parametrize("fault", [NO_REFERRERS, HTML_REFERRERS])
async def test_fallback_tag_is_used_where_there_is_no_api(
    odd_registry: OddRegistry, distribution: Registry, repository_name: str, fault: Fault
) -> None:
    odd_registry.behave(Behavior(faults=(fault,)), repository_name)
    image = odd_registry.push_image(repository_name)
    odd_registry.attach_by_tag(image, ".sig", [("application/vnd.dev.sigstore.bundle.v0.3+json", BUNDLE, {})])
    assert await payloads(odd_registry, image) == [(".sig tag", BUNDLE)]
    other = distribution.push_image(repository_name)
    distribution.attach(other, BUNDLE)
    assert await payloads(distribution, other) == [("fallback tag", BUNDLE)]


async def test_pages_are_read(odd_registry: OddRegistry, repository_name: str) -> None:
    image = odd_registry.push_image(repository_name)
    attached = [odd_registry.attach(image, b"bundle %d" % number).digest for number in range(5)]
    odd_registry.behave(Behavior(page_size=2), repository_name)
    assert len(await payloads(odd_registry, image)) == len(attached)


async def test_tag_without_digest_header(odd_registry: OddRegistry, repository_name: str) -> None:
    image = odd_registry.push_image(repository_name, tag="v1")
    odd_registry.behave(Behavior(faults=(NO_DIGEST_HEADER,)), repository_name)
    async with reading(odd_registry) as client:
        assert await client.digest(repository_of(odd_registry, repository_name), "v1") == image.digest


@pytest.mark.parametrize("fault", [ENDLESS, WRONG_BYTES])
async def test_bytes_that_are_not_those_of_the_digest_do_not_count(
    odd_registry: OddRegistry, repository_name: str, fault: Fault
) -> None:
    image = odd_registry.push_image(repository_name)
    odd_registry.attach(image, BUNDLE)
    odd_registry.behave(Behavior(faults=(fault,)), repository_name)
    assert await payloads(odd_registry, image) == []
    odd_registry.behave(Behavior(), repository_name)
    assert await payloads(odd_registry, image) == [("referrers", BUNDLE)]


async def test_registry_in_trouble_is_unavailable(odd_registry: OddRegistry, repository_name: str) -> None:
    image = odd_registry.push_image(repository_name)
    odd_registry.behave(Behavior(faults=(UNAVAILABLE,)), repository_name)
    with pytest.raises(RegistryError) as caught:
        await payloads(odd_registry, image)
    assert caught.value.failure is Failure.UNAVAILABLE


async def test_registry_that_is_stopped_is_unavailable(new_odd_registry: object, repository_name: str) -> None:
    registry = new_odd_registry()  # type: ignore[operator]
    image = registry.push_image(repository_name)
    registry.component.stop()
    with pytest.raises(RegistryError, match="cannot be reached"):
        await payloads(registry, image)
