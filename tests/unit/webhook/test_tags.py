"""Tags are resolved once for a short time, and never hold a pod longer than they may."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from sekisho.images import Reference
from sekisho.images.evidence import tag_key
from sekisho.registry import RegistryClient, Shares
from sekisho.webhook.tags import Tags
from tests.unit.registry.registry_server import NAME, Registry, client_of, serving
from tests.unit.registry.test_registry_authentication import answering


class Site:
    def __init__(self, registry: Registry, client: RegistryClient) -> None:
        self.registry, self.client, self.tags = registry, client, Tags(client)

    def reference(self, tag: str | None = "1.2", digest: str | None = None) -> Reference:
        return Reference(self.registry.host, NAME, tag, digest)

    async def digest(self, tag: str | None = "1.2", seconds: float = 5) -> str | None:
        return (await self.tags.digests([self.reference(tag)], seconds)).get(self.reference(tag))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    registry = Registry()
    async with serving(registry), client_of() as client:
        yield Site(registry, client)


async def test_tag_is_resolved(site: Site) -> None:
    digest = site.registry.image("1.2", "latest")
    assert await site.digest("1.2") == digest
    assert await site.digest(None) == digest


async def test_tag_that_moves_stays_the_same_for_a_short_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site.registry.image("1.2")
    assert await site.digest() == first
    second = site.registry.push(b'{"schemaVersion":2,"layers":[]}', "1.2")
    assert await site.digest() == first
    monkeypatch.setattr("sekisho.webhook.tags.time.monotonic", lambda now=time.monotonic: now() + 31)
    assert await site.digest() == second


async def test_image_with_a_digest_is_not_resolved(site: Site) -> None:
    digest = site.registry.image("1.2")
    assert await site.tags.digests([site.reference("1.2", digest)], 5) == {}
    assert site.registry.requests == []


async def test_pods_at_the_same_time_share_one_question(site: Site) -> None:
    digest = site.registry.image("1.2")
    assert set(await asyncio.gather(*(site.digest() for _ in range(20)))) == {digest}
    assert len(site.registry.requests) == 1


async def test_tag_that_takes_longer_stays_a_tag_and_is_known_later(site: Site) -> None:
    digest = site.registry.image("1.2")
    release = asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(headers={"Docker-Content-Digest": digest})

    site.registry.misbehave["HEAD", f"/v2/{NAME}/manifests/1.2"] = held
    assert site.tags.unknown(tag_key(site.reference())) is None
    assert await site.digest(seconds=0.05) is None
    assert (unknown := site.tags.unknown(tag_key(site.reference()))) is not None
    assert unknown.is_pending
    release.set()
    assert await site.digest() == digest
    assert len(site.registry.requests) == 1


async def test_tag_that_does_not_exist_stays_a_tag(site: Site) -> None:
    site.registry.image("1.3")
    assert await site.digest("1.2") is None
    assert await site.digest("1.2") is None
    assert len(site.registry.requests) == 1
    assert await site.digest("1.3")
    unknown = site.tags.unknown(tag_key(site.reference("1.2")))
    assert unknown is not None
    assert not unknown.is_pending
    assert unknown.reason.startswith("has a tag that cannot be resolved: registry ")
    assert unknown.reason.endswith("has no acme/pay:1.2")


async def test_registry_that_fails_leaves_tags_as_they_are(site: Site) -> None:
    site.registry.image("1.2")
    site.registry.misbehave["HEAD", f"/v2/{NAME}/manifests/1.2"] = answering(503)
    assert await site.digest() is None


async def test_tags_that_are_known_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.webhook.tags.MAX_TAGS", 3)
    site.registry.image(*(f"1.{number}" for number in range(6)))
    for number in range(6):
        assert await site.digest(f"1.{number}")
    assert len(site.tags._known) == 3  # noqa: SLF001


async def test_namespace_that_floods_does_not_hold_up_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.webhook.tags.MAX_FLIGHTS_OF_NAMESPACE", 1)
    digest = site.registry.image("1.2")
    release = asyncio.Event()

    async def held(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(status=404)

    site.registry.misbehave["HEAD", f"/v2/{NAME}/manifests/junk"] = held
    await site.tags.digests([site.reference("junk")], 0.05, "flood")
    wanted = site.reference("1.2")
    assert await site.tags.digests([wanted], 0.05, "flood") == {}
    assert await site.tags.digests([wanted], 5, "team") == {wanted: digest}
    release.set()
    assert await site.tags.digests([site.reference("junk")], 5, "flood") == {}


@pytest.fixture
async def held(site: Site) -> AsyncIterator[Site]:
    """A site whose registry answers nothing about the tags `junk-0` to `junk-9` until the test ends."""
    release = asyncio.Event()

    async def hold(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(status=404)

    junk = [f"junk-{number}" for number in range(10)]
    for tag in junk:
        site.registry.misbehave["HEAD", f"/v2/{NAME}/manifests/{tag}"] = hold
    yield site
    release.set()
    await site.tags.digests(map(site.reference, junk), 5)


async def test_namespaces_that_flood_leave_room_to_others(held: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MAX_FLIGHTS", 6), ("MIN_FREE_FLIGHTS", 2), ("MIN_BUSY_FLIGHTS", 1)):
        monkeypatch.setattr(f"sekisho.webhook.tags.{name}", value)
    digest = held.registry.image("1.2")
    for namespace, numbers in (("flood-a", range(3)), ("flood-b", range(3, 8))):
        await held.tags.digests([held.reference(f"junk-{number}") for number in numbers], 0, namespace)
    wanted = held.reference("1.2")
    assert await held.tags.digests([wanted], 5, "team") == {wanted: digest}


async def test_tag_does_not_wait_for_all_of_the_namespace_that_named_it_first(
    held: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held.client._connections, "requests", Shares(8, 4))  # noqa: SLF001
    wanted, digest = held.reference("1.2"), held.registry.image("1.2")
    junk = [held.reference(f"junk-{number}") for number in range(10)]
    assert await held.tags.digests([*junk, wanted], 0.05, "flood") == {}
    assert await held.tags.digests([wanted], 5, "team") == {wanted: digest}


async def test_tag_that_finds_no_room_is_pending(held: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.webhook.tags.MAX_FLIGHTS_OF_NAMESPACE", 2)
    held.registry.image("1.2")
    # The bound holds for all pods of one turn of the loop too.
    flood = [held.tags.digests([held.reference(f"junk-{number}")], 0, "flood") for number in range(4)]
    await asyncio.gather(*flood)
    texts = []
    for number in range(4):
        unknown = held.tags.unknown(tag_key(held.reference(f"junk-{number}")))
        assert unknown is not None
        assert unknown.is_pending
        texts.append("too many tags are being resolved" in unknown.reason)
    assert texts == [False, False, True, True]
    await held.tags.digests([held.reference("junk-3")], 0, "team")
    unknown = held.tags.unknown(tag_key(held.reference("junk-3")))
    assert unknown is not None
    assert "still being resolved" in unknown.reason


async def test_tags_that_found_no_room_are_bounded(held: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.webhook.tags.MAX_FLIGHTS_OF_NAMESPACE", 0)
    monkeypatch.setattr("sekisho.webhook.tags.MAX_WITHOUT_ROOM", 2)
    for number in range(4):
        await held.tags.digests([held.reference(f"junk-{number}")], 0, "flood")
    unknown = [held.tags.unknown(tag_key(held.reference(f"junk-{number}"))) for number in range(4)]
    assert [one is None for one in unknown] == [True, True, False, False]
