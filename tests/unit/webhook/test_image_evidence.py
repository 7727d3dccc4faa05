"""Evidence about images: shared look-ups, how long facts stay, and what a registry that fails does to them."""

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from msgspec import structs

from sekisho.images import Reference, parse, signers
from sekisho.images.authorities import Authority
from sekisho.images.evidence import ImageFacts, Unknown
from sekisho.images.keys import has_signed
from sekisho.images.reported import Severity
from sekisho.images.scans import SCAN_PREDICATE
from sekisho.images.verification import Verified, verify_more
from sekisho.registry import Hold, Shares
from sekisho.registry.manifests import OCI_INDEX, OCI_MANIFEST
from sekisho.webhook import evidence as module
from sekisho.webhook import signed_images
from sekisho.webhook.evidence import EvidenceStore
from sekisho.webhook.image_needs import Needs
from tests.unit.images.scan_data import scanned_by, scans_of, trivy, trivy_row
from tests.unit.images.signing import OTHER_P256, P256, bundle, keyed, statement
from tests.unit.registry.registry_server import NAME, Registry, client_of, serving
from tests.unit.registry.test_registry_authentication import answering
from tests.unit.waiting import until

START = datetime(2026, 11, 26, 12, tzinfo=UTC)
RELEASE = keyed("release", P256)


class Site:
    """A registry, evidence from it, and a clock."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.now = START
        self.authorities: Mapping[str, Authority] = {"release": RELEASE}
        self.shared: list[ImageFacts] = []
        self.predicates: tuple[str, ...] = ()
        self.required = {"release"}
        """Who must have signed each image."""
        self.evidence: EvidenceStore

    def signed(self, text: bytes = b"", key: object = P256) -> Reference:
        """An image with a signature."""
        image = self.image(text)
        self.sign(image, key)
        return image

    def image(self, text: bytes = b"") -> Reference:
        digest = self.registry.push(b'{"schemaVersion":2,"layers":[]}' + text)
        return Reference(self.registry.host, NAME, None, digest)

    def sign(self, image: Reference, key: object = P256) -> None:
        made = bundle(key, statement(image.digest or ""))  # type: ignore[arg-type]
        self.registry.attach(image.digest or "", json.dumps(made).encode())

    async def look(self, image: Reference, seconds: float = 5) -> ImageFacts | Unknown:
        """What a request finds that waits so long where the facts are not current."""
        known = self.now_known(image)
        if not isinstance(known, ImageFacts) and self.evidence.start([image], "team"):
            await self.evidence.settled([image], seconds)
            known = self.now_known(image)
        assert known is not None
        return known

    async def renewed(self, image: Reference) -> None:
        self.now_known(image)
        await self.evidence.settled([image], 5)

    def now_known(self, image: Reference) -> ImageFacts | Unknown | None:
        """What is known without waiting; facts that are due are renewed behind."""
        view = self.evidence.view()
        known = view.get(key_of(image))
        self.evidence.start(map(parse, view.due))
        return known

    async def facts(self, image: Reference) -> ImageFacts:
        known = await self.look(image)
        assert isinstance(known, ImageFacts)
        return known

    def after(self, **time: float) -> None:
        self.now += timedelta(**time)


def key_of(image: Reference) -> str:
    return f"{image.registry}/{image.repository}@{image.digest}"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site(Registry())
    async with serving(site.registry), client_of() as client:
        site.evidence = EvidenceStore(
            client,
            lambda: site.authorities,
            lambda: site.now,
            on_facts=lambda facts, namespace: site.shared.append(facts),
            needs=Needs(
                predicates=lambda: site.predicates,
                named=lambda _: site.required,
                lacks_signature=lambda _, facts: not site.required.issubset(one.authority for one in facts.signatures),
                fails_statement=lambda _, facts: bool(site.predicates) and not facts.attestations,
                lacks_statement=lambda _, facts: bool(site.predicates) and not facts.attestations,
            ),
        )
        yield site
        await site.evidence.close()


async def test_signed_image_has_facts(site: Site) -> None:
    image = site.signed()
    facts = await site.facts(image)
    assert [signature.authority for signature in facts.signatures] == ["release"]
    assert facts.repository == f"{site.registry.host}/{NAME}"
    assert facts.checked == {"release": RELEASE.fingerprint}
    assert site.shared == [facts]


async def test_image_that_the_registry_does_not_have_is_not_reported_as_unsigned(site: Site) -> None:
    image = structs.replace(site.image(), digest="sha256:" + "0" * 64)
    looked_up = await site.look(image)
    assert isinstance(looked_up, Unknown)
    assert f"registry {site.registry.host} has no {NAME}@{image.digest}" in looked_up.reason
    assert looked_up.fix == "name an image that the registry has"
    assert (await site.facts(site.image(b" "))).signatures == ()


async def test_image_signed_by_another_key_has_none(site: Site) -> None:
    facts = await site.facts(site.signed(key=OTHER_P256))
    assert (facts.signatures, facts.others) == ((), 1)


async def test_known_image_needs_no_request_to_the_registry(site: Site) -> None:
    image = site.signed()
    facts = await site.facts(image)
    requests = len(site.registry.requests)
    assert site.now_known(image) is facts
    assert len(site.registry.requests) == requests


async def test_signature_that_only_a_tag_has_is_found_whatever_the_list_has(site: Site) -> None:
    image = site.signed()
    site.registry.push_fallback(image.digest or "")
    site.registry.referrers.clear()
    site.sign(image, OTHER_P256)
    site.authorities = {"release": RELEASE, "other": keyed("other", OTHER_P256)}
    for required, expected in (({"other"}, ["other"]), ({"other", "release"}, ["other", "release"])):
        site.required = required
        site.after(seconds=15)
        site.evidence.withdraw(f"{site.registry.host}/{NAME}", image.digest or "")
        assert [one.authority for one in (await site.facts(image)).signatures] == expected


@pytest.mark.parametrize(("is_scanned", "requests"), [(False, 3), (True, 6)])
async def test_requests_for_an_image_are_few(site: Site, is_scanned: bool, requests: int) -> None:
    image = site.signed()
    if is_scanned:
        site.predicates = (SCAN_PREDICATE,)
        scan(site, image)
    facts = await site.facts(image)
    assert (len(facts.signatures), len(facts.attestations)) == (1, int(is_scanned))
    assert len(site.registry.requests) == requests


async def test_requests_for_an_image_without_the_referrers_api_are_few(site: Site) -> None:
    site.registry.has_referrers = False
    image = site.signed()
    assert (await site.facts(image)).signatures
    assert len(site.registry.requests) == 4  # its list, the fallback tag, a manifest and a blob


async def test_scan_that_only_the_fallback_tag_has_counts(site: Site) -> None:
    site.predicates = (SCAN_PREDICATE,)
    image = site.signed()
    scan(site, image)
    site.registry.push_fallback(image.digest or "")
    site.registry.referrers[image.digest or ""].pop()
    assert (await site.facts(image)).attestations
    assert len(site.registry.requests) == 7


async def test_candidates_are_verified_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    image = site.image()
    for _ in range(3):
        site.sign(image, OTHER_P256)
    site.registry.attach(image.digest or "", b"another", media_type="application/spdx+json")
    signatures: list[bytes] = []

    def counted(key: Any, message: Any, signature: bytes) -> bool:
        signatures.append(signature)
        return has_signed(key, message, signature)

    monkeypatch.setattr(signers, "has_signed", counted)
    assert (await site.facts(image)).others == 3
    assert any(one.path.endswith(".sig") for one in site.registry.requests)
    assert len(signatures) == len(set(signatures)) == 3


async def test_facts_stay_current_where_keys_that_no_rule_names_were_not_tried(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signers, "MAX_KEY_CHECKS", 1)
    site.authorities = {"a": keyed("a", OTHER_P256), "release": RELEASE}
    site.required = {"a"}
    image = site.signed()
    facts = await site.facts(image)
    assert (facts.checked["release"], facts.others) == ("", 1)
    assert site.now_known(image) is facts
    site.authorities = {**site.authorities, "a": keyed("a", OTHER_P256, P256)}
    assert site.now_known(image) is not facts


async def test_requests_for_an_image_that_somebody_else_signed_are_few(site: Site) -> None:
    await site.facts(site.signed(key=OTHER_P256))
    assert len(site.registry.requests) == 5


async def test_tag_that_the_registry_does_not_give_hides_no_signature(site: Site) -> None:
    signed, other = site.signed(), site.signed(b" ", OTHER_P256)
    for image in (signed, other):
        tag = f"{(image.digest or '').replace(':', '-')}.sig"
        site.registry.misbehave["GET", f"/v2/{NAME}/manifests/{tag}"] = answering(403)
    site.required = {"release", "somebody"}
    facts = await site.facts(signed)
    assert ([one.authority for one in facts.signatures], facts.omitted) == (["release"], 1)
    assert "status 403" in facts.problems[0]
    assert isinstance(await site.look(other), Unknown)


async def test_requests_at_the_same_time_share_one_look_up(site: Site) -> None:
    image = site.signed()
    all_facts = await asyncio.gather(*(site.facts(image) for _ in range(50)))
    assert len({id(facts) for facts in all_facts}) == 1
    assert sum("/referrers/" in one.path for one in site.registry.requests) == 1


async def test_reference_without_digest_has_no_evidence(site: Site) -> None:
    assert not site.evidence.start([Reference("ghcr.io", "acme/pay", "1.2", None)])


class Held:
    """Answers of the registry's referrers that wait until they are released."""

    def __init__(self, site: Site, image: Reference) -> None:
        self.release, self.reached = asyncio.Event(), asyncio.Event()
        path = f"/v2/{NAME}/referrers/{image.digest}"

        async def wait(request: web.Request) -> web.StreamResponse:
            self.reached.set()
            await self.release.wait()
            del site.registry.misbehave["GET", path]
            return await site.registry.handle(request)

        site.registry.misbehave["GET", path] = wait


async def test_look_up_that_takes_longer_is_pending_and_goes_on(site: Site) -> None:
    image = site.signed()
    held = Held(site, image)
    unknown = await site.look(image, 0.05)
    assert isinstance(unknown, Unknown)
    assert unknown.is_pending
    assert re.fullmatch(rf"is still being verified at registry {site.registry.host}, \d+\.\d s so far", unknown.reason)
    held.release.set()
    assert (await site.facts(image)).signatures
    assert sum("/referrers/" in one.path for one in site.registry.requests) == 2  # the held one is answered again


async def test_cancelled_request_does_not_end_the_look_up(site: Site) -> None:
    image = site.signed()
    held = Held(site, image)
    waiting = asyncio.create_task(site.look(image))
    await held.reached.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    held.release.set()
    assert (await site.facts(image)).signatures


async def test_requests_that_wait_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    image = site.signed()
    held = Held(site, image)
    waiting = [asyncio.create_task(site.look(image)) for _ in range(2)]
    await held.reached.wait()
    unknown = await site.look(image)
    assert isinstance(unknown, Unknown)
    assert unknown.is_pending
    held.release.set()
    assert all(isinstance(one, ImageFacts) for one in await asyncio.gather(*waiting))


async def test_requests_of_one_namespace_leave_waits_to_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_IN_ALL", 4)
    junk, image = site.signed(), site.signed(b" ")
    held, other = Held(site, junk), Held(site, image)
    site.evidence.start([junk, image], "team")
    flood = [asyncio.create_task(site.evidence.settled([junk], 5, None, "flood")) for _ in range(4)]
    await asyncio.gather(held.reached.wait(), other.reached.wait())
    assert [task.done() for task in flood] == [False, False, True, True]
    waiting = asyncio.create_task(site.evidence.settled([image], 5, None, "team"))
    other.release.set()
    await waiting
    assert isinstance(site.now_known(image), ImageFacts)
    held.release.set()
    await asyncio.gather(*flood)


async def test_namespaces_take_turns_at_verification(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SMALL_CHECKS", 0)
    images = [site.signed(b" " * number) for number in range(6)]
    order: list[str] = []
    begun, may_go_on = threading.Event(), threading.Event()

    def verify(verified: Verified, *candidates: Any, **more: Any) -> Verified:
        order.append(verified.digest)
        begun.set()
        may_go_on.wait(30)
        return verify_more(verified, *candidates, **more)

    monkeypatch.setattr(module, "verify_more", verify)
    site.evidence.start(images[:1], "flood")
    await until(begun.is_set)
    site.evidence.start(images[1:5], "flood")
    turns = site.evidence._client.worker._turns  # noqa: SLF001
    await until(lambda: turns.waiting == 4)
    site.evidence.start(images[5:], "team")
    await until(lambda: turns.waiting == 5)
    may_go_on.set()
    await site.evidence.settled(images, 30)
    assert images[5].digest in order[:3]


async def test_look_ups_are_bounded_and_others_are_pending(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FLIGHTS", 2)
    images = [site.signed(b" " * number) for number in range(3)]
    site.evidence.start(images)
    last = site.now_known(images[2])
    assert isinstance(last, Unknown)
    assert last.is_pending
    assert "too many images" in last.reason
    await site.evidence.settled(images[:2], 5)
    assert (await site.facts(images[2])).signatures


async def test_one_namespace_does_not_take_all_look_ups(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FLIGHTS_OF_NAMESPACE", 1)
    images = [site.signed(b" " * number) for number in range(3)]
    assert [site.evidence.start([image], "flood") for image in images[:2]] == [True, False]
    assert site.evidence.start(images[2:], "other")
    await site.evidence.settled(images, 5)
    assert isinstance(site.now_known(images[0]), ImageFacts)
    assert site.now_known(images[1]) is None
    assert isinstance(site.now_known(images[2]), ImageFacts)


async def test_namespaces_that_flood_leave_look_ups_to_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FLIGHTS", 4)
    monkeypatch.setattr(module, "MIN_FREE_FLIGHTS", 1)
    monkeypatch.setattr(module, "MIN_BUSY_FLIGHTS", 1)
    images = [site.signed(b" " * number) for number in range(6)]
    flood = [site.evidence.start([image], "flood") for image in images[:4]]
    assert flood == [True, True, True, False]
    assert [site.evidence.start([image], "team") for image in images[4:]] == [True, False]
    await site.evidence.settled(images, 5)
    assert isinstance(site.now_known(images[4]), ImageFacts)


async def test_namespaces_take_turns_at_a_registry(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.evidence, "_turns", Shares(module.MAX_LOOKUPS, 1))
    images = [site.signed(b" " * number) for number in range(6)]
    site.evidence.start(images[:5], "flood")
    site.evidence.start(images[5:], "team")
    await site.evidence.settled(images, 5)
    assert [images[place].digest for place in (0, 1, 5, 2)] == looked_up(site)[:4]


def looked_up(site: Site) -> list[str]:
    """The digests whose referrers were requested, in this order."""
    return list(dict.fromkeys(path.removeprefix("referrers/") for path in site.registry.paths() if "refer" in path))


@pytest.mark.parametrize("bounds_requests", [False, True])
async def test_image_does_not_wait_for_all_of_the_namespace_that_named_it_first(
    site: Site, monkeypatch: pytest.MonkeyPatch, bounds_requests: bool
) -> None:
    if bounds_requests:
        monkeypatch.setattr(site.evidence._client._connections, "requests", Shares(1, 1))  # noqa: SLF001
    else:
        monkeypatch.setattr(site.evidence, "_turns", Shares(1, 1))
    images = [site.signed(b" " * number) for number in range(7)]
    held = Held(site, images[0])
    site.evidence.start(images, "flood")
    await held.reached.wait()
    site.evidence.start(images[6:], "team")
    held.release.set()
    await site.evidence.settled(images, 5)
    assert looked_up(site)[:3] == [images[place].digest for place in (0, 1, 6)]


async def test_platform_does_not_wait_for_all_of_the_namespace_that_named_it_first(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.evidence, "_turns", Shares(module.MAX_LOOKUPS, 1))
    site.predicates = (SCAN_PREDICATE,)
    images = [site.signed(b" " * number) for number in range(12)]
    index = index_of(site, ("linux/amd64", images[-1]))
    held = Held(site, images[0])
    site.evidence.start(images, "flood")
    await held.reached.wait()
    site.evidence.start([index], "team")
    held.release.set()
    await site.evidence.settled([*images, index], 5)
    order = looked_up(site)
    assert order.index(images[-1].digest or "") < order.index(images[-2].digest or "")


async def test_namespaces_on_a_slow_registry_leave_look_ups_to_another(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.evidence, "_turns", Shares(module.MAX_LOOKUPS, 16))
    image, release, waiting = site.signed(), asyncio.Event(), set[str]()

    async def held(request: web.Request) -> web.StreamResponse:
        waiting.add(request.path)
        await release.wait()
        return web.Response(status=404)

    names = [f"busy-{number}" for number in range(5)]
    for number in range(16 * len(names)):
        digest = f"sha256:{number:064x}"
        site.registry.misbehave["GET", f"/v2/{NAME}/referrers/{digest}"] = held
        site.evidence.start([Reference(site.registry.host, NAME, None, digest)], names[number // 16])
    await until(lambda: len(waiting) == 8 + 4 + 3)
    site.evidence.start([image], "team")
    await site.evidence.settled([image], 5)
    assert isinstance(site.now_known(image), ImageFacts)
    release.set()
    await site.evidence.close()


async def test_slow_registries_leave_look_ups_to_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.evidence, "_turns", Shares(8, 4))
    image, release, waiting = site.signed(), asyncio.Event(), 0

    async def held(request: web.Request) -> web.StreamResponse:
        nonlocal waiting
        waiting += 1
        await release.wait()
        return web.Response(status=404)

    digests = [f"sha256:{number:064x}" for number in range(4)]
    async with serving(first := Registry()), serving(second := Registry()):
        for registry in (first, second):
            for digest in digests:
                registry.misbehave["GET", f"/v2/{NAME}/referrers/{digest}"] = held
                reference = Reference(registry.host, NAME, None, digest)
                site.evidence.start([reference], f"{registry.host}-{digest[-1]}")
        await until(lambda: waiting >= 6)
        site.evidence.start([image], "team")
        await site.evidence.settled([image], 5)
        assert isinstance(site.now_known(image), ImageFacts)
        assert waiting == 6
        release.set()
        await site.evidence.close()


async def test_namespace_that_floods_cannot_keep_an_image_from_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FLIGHTS_OF_NAMESPACE", 1)
    junk, image = site.image(), site.signed(b" ")
    assert [site.evidence.start([one], "flood") for one in (junk, image)] == [True, False]
    assert site.evidence.start([image], "team")
    await site.evidence.settled([image], 5)
    assert isinstance(site.now_known(image), ImageFacts)


async def test_unsigned_image_is_looked_up_again_after_seconds(site: Site) -> None:
    image = site.image()
    assert not (await site.facts(image)).signatures
    site.sign(image)
    site.after(seconds=14)
    assert not (await site.facts(image)).signatures
    site.after(seconds=2)
    assert (await site.facts(image)).signatures


async def test_signed_image_is_looked_up_again_behind_the_request(site: Site) -> None:
    image = site.signed()
    first = await site.facts(image)
    site.after(minutes=59)
    assert site.now_known(image) is first
    await site.evidence.settled([image], 5)
    assert site.now_known(image) is first
    site.after(minutes=2)
    assert site.now_known(image) is first
    await site.evidence.settled([image], 5)
    assert (await site.facts(image)).looked_up == site.now


async def test_removed_signature_is_noticed_at_the_next_look_up(site: Site) -> None:
    image = site.signed()
    await site.facts(image)
    site.registry.referrers.clear()
    site.after(minutes=61)
    assert (await site.facts(image)).signatures
    await site.evidence.settled([image], 5)
    assert not (await site.facts(image)).signatures


def stop(site: Site, image: Reference) -> None:
    site.registry.misbehave["GET", f"/v2/{NAME}/referrers/{image.digest}"] = answering(503)


async def test_signed_image_stays_known_for_a_day_while_the_registry_is_down(site: Site) -> None:
    image = site.signed()
    first = await site.facts(image)
    stop(site, image)
    site.after(hours=23)
    assert await site.facts(image) is first
    site.after(hours=2)
    unknown = await site.look(image)
    assert isinstance(unknown, Unknown)
    assert not unknown.is_pending
    assert unknown.reason.startswith("cannot be verified: registry ")


async def test_unsigned_image_is_not_reported_as_unsigned_while_the_registry_is_down(site: Site) -> None:
    image = site.image()
    await site.facts(image)
    stop(site, image)
    site.after(seconds=20)
    assert isinstance(await site.look(image), Unknown)


async def test_failure_is_kept_for_two_seconds_and_doubles(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("sekisho.webhook.evidence.time.monotonic", lambda: now)
    image = site.signed()
    site.registry.scheme, site.registry.users = "basic", {"bot": "secret"}
    for pause in (2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        unknown = await site.look(image)
        assert isinstance(unknown, Unknown)
        assert "without credentials" in unknown.reason
        assert "pull secret" in unknown.fix
        requests = len(site.registry.requests)
        now += pause - 0.1
        assert await site.look(image) == unknown
        assert len(site.registry.requests) == requests
        now += 0.2
    site.registry.scheme = ""
    assert (await site.facts(image)).signatures


async def test_changed_authority_has_images_looked_up_again(site: Site) -> None:
    image = site.signed()
    site.sign(image, OTHER_P256)
    assert len((await site.facts(image)).signatures) == 1
    site.authorities = {"release": RELEASE, "other": keyed("other", OTHER_P256)}
    await site.renewed(image)
    facts = await site.facts(image)
    assert {signature.authority for signature in facts.signatures} == {"release", "other"}
    site.authorities = {"release": keyed("release", OTHER_P256)}
    await site.renewed(image)
    (signature,) = (await site.facts(image)).signatures
    assert signature.fingerprint == site.authorities["release"].keys[0].fingerprint


async def test_facts_of_another_replica_are_used(site: Site) -> None:
    image = site.signed()
    facts = await site.facts(image)
    site.evidence.withdraw(facts.repository, facts.digest)
    site.evidence.offer(facts)
    requests = len(site.registry.requests)
    assert await site.facts(image) is facts
    assert len(site.registry.requests) == requests


async def test_older_facts_of_another_replica_do_not_replace_newer_ones(site: Site) -> None:
    image = site.signed()
    facts = await site.facts(image)
    site.evidence.offer(structs.replace(facts, signatures=(), looked_up=START - timedelta(hours=1)))
    assert await site.facts(image) is facts
    newer = structs.replace(facts, looked_up=START + timedelta(seconds=1))
    site.evidence.offer(newer)
    assert await site.facts(image) is newer


async def test_facts_from_the_future_are_neither_taken_nor_kept_as_fresh(site: Site) -> None:
    image = site.signed()
    facts = await site.facts(image)
    site.after(minutes=1)
    site.evidence.offer(structs.replace(facts, looked_up=site.now + module.MAX_AHEAD + timedelta(seconds=1)))
    assert site.evidence.known(key_of(image)) == (facts, False)
    ahead = structs.replace(facts, looked_up=site.now + module.MAX_AHEAD)
    site.evidence.offer(ahead)
    assert site.evidence.known(key_of(image)) == (ahead, False)
    site.after(minutes=-3)  # its own clock was wrong before
    assert site.evidence.known(key_of(image)) == (ahead, True)
    site.evidence.offer(facts)
    assert site.evidence.known(key_of(image)) == (facts, False)


async def test_unsigned_images_do_not_displace_signed_ones(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNSIGNED", 3)
    image = site.signed()
    facts = await site.facts(image)
    for number in range(10):
        await site.facts(site.image(b" " * (number + 1)))
    assert await site.facts(image) is facts
    assert len(site.evidence._unsigned) == 3  # noqa: SLF001


async def test_memory_is_bounded_by_bytes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_images, "MAX_CACHE_BYTES", 2000)
    for number in range(10):
        await site.facts(site.signed(b" " * number))
    assert 0 < len(site.evidence._signed) < 5  # noqa: SLF001
    assert 0 < site.evidence._signed.size <= 2000  # noqa: SLF001


async def test_error_inside_verification_is_a_failure_not_a_pass(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> ImageFacts:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "verify_more", broken)
    unknown = await site.look(site.signed())
    assert isinstance(unknown, Unknown)
    assert "internal error" in unknown.reason
    assert "internal error" in caplog.text


async def test_metrics_count_look_ups(site: Site) -> None:
    image = site.signed()
    await site.facts(image)
    families = {family.name: family for family in site.evidence.families()}
    results = {sample.labels["result"]: sample.value for sample in families["sekisho_image_lookups"].metric().samples}
    assert results == {"found": 1, "unavailable": 0, "denied": 0, "missing": 0, "invalid": 0}


async def test_metric_has_the_age_of_facts_that_could_not_be_renewed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def oldest() -> float:
        families = {family.name: family for family in site.evidence.families()}
        (sample,) = families["sekisho_image_facts_oldest_seconds"].metric().samples
        return sample.value

    now = 1000.0
    monkeypatch.setattr("sekisho.webhook.evidence.time.monotonic", lambda: now)
    unused, image = site.signed(b"unused"), site.signed(b"used")
    await site.facts(unused)
    await site.facts(image)
    site.after(hours=7)
    assert oldest() == 0
    answers = site.registry.misbehave
    stop(site, image)
    await site.renewed(image)
    assert oldest() == 7 * 3600
    now += module.RETRIED_SECONDS + module.MAX_RETRY_SECONDS
    assert oldest() == 0
    await site.renewed(image)
    assert oldest() == 7 * 3600
    answers.clear()
    now += module.MAX_RETRY_SECONDS
    await site.renewed(image)
    assert oldest() == 0


def scan(site: Site, image: Reference, rows: int = 0) -> None:
    """Attach a scan by the key of the authority release."""
    digest = image.digest or ""
    report = trivy(*[trivy_row(f"CVE-2026-{row}", Description="x" * 1500) for row in range(rows)], digest=digest)
    site.registry.attach(digest, scanned_by(P256, report, START, digest).payload, predicate=SCAN_PREDICATE)


async def test_image_is_looked_up_again_for_scans_once_a_policy_needs_them(site: Site) -> None:
    image = site.signed()
    scan(site, image)
    assert (await site.facts(image)).attestations == ()
    site.predicates = (SCAN_PREDICATE,)
    assert (await site.facts(image)).attestations == ()  # the facts of before, while it is looked up again
    await site.renewed(image)
    (attestation,) = (await site.facts(image)).attestations
    assert attestation.scan is not None
    assert attestation.scan.finished == START
    requests = len(site.registry.requests)
    site.predicates = ()
    assert (await site.facts(image)).attestations == (attestation,)
    assert len(site.registry.requests) == requests


async def test_image_that_is_only_scanned_stays_known_as_a_signed_one_does(site: Site) -> None:
    site.predicates = (SCAN_PREDICATE,)
    image = site.image()
    scan(site, image)
    first = await site.facts(image)
    assert (first.signatures, len(first.attestations)) == ((), 1)
    assert site.shared == [first]
    stop(site, image)
    site.after(hours=23)
    assert await site.facts(image) is first


async def test_many_large_scans_at_the_same_time_wait_for_room(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.predicates = (SCAN_PREDICATE,)
    images = [site.image(b"%d" % number) for number in range(6)]
    for image in images:
        scan(site, image, rows=200)
    room = site.evidence._room  # noqa: SLF001
    peak = 0
    held = Hold.take

    async def take(hold: Hold, size: int) -> None:
        nonlocal peak
        await held(hold, size)
        peak = max(peak, 4 - room.units._all._free)  # noqa: SLF001

    room.units, room.units_of_registry = Shares(4, 2), 2
    monkeypatch.setattr(Hold, "take", take)
    await asyncio.gather(*(site.look(image, 60) for image in images))
    all_facts = [await site.facts(image) for image in images]
    assert [scan.count(Severity.CRITICAL) for facts in all_facts for scan in scans_of(facts)] == [200] * 6
    assert (peak, room.units._all._free) == (2, 4)  # noqa: SLF001


async def test_slow_registry_with_large_scans_leaves_room_to_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.predicates = (SCAN_PREDICATE,)
    image, release = site.image(), asyncio.Event()
    scan(site, image, rows=20)
    room = site.evidence._room  # noqa: SLF001
    room.units, room.units_of_registry = Shares(4, 2), 2

    async def held(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(status=404)

    async with serving(registry := Registry()):
        slow = Site(registry)
        images = [slow.image(b" " * number) for number in range(5)]
        for number, one in enumerate(images):
            scan(slow, one, rows=20)
            site.evidence.start([one], f"busy-{number}")
        registry.misbehave.update({("GET", f"/v2/{NAME}/blobs/{digest}"): held for digest in registry.blobs})
        await until(lambda: room.units.waiting == 3)
        assert (await site.facts(image)).attestations
        release.set()
        await site.evidence.close()


def index_of(site: Site, *platforms: tuple[str, Reference], media_type: str = OCI_MANIFEST) -> Reference:
    """An index of images by platform, such as linux/arm64."""
    manifests = []
    for name, image in platforms:
        system, _, architecture = name.partition("/")
        named = {"platform": {"os": system, "architecture": architecture}} if name else {}
        manifests.append({"mediaType": media_type, "digest": image.digest, "size": 30} | named)
    digest = site.registry.push({"schemaVersion": 2, "manifests": manifests}, media_type=OCI_INDEX)
    return Reference(site.registry.host, NAME, None, digest)


async def test_index_has_the_platforms_that_can_run_if_one_is_attested(site: Site) -> None:
    site.predicates = (SCAN_PREDICATE,)
    amd, arm, builds = (site.image(text) for text in (b" ", b"  ", b"   "))
    index = index_of(site, ("linux/amd64", amd), ("linux/arm64", arm), ("unknown/unknown", builds))
    assert (await site.facts(index)).platforms == {}
    scan(site, amd)
    site.after(seconds=16)
    facts = await site.facts(index)
    assert (facts.platforms, facts.is_vouched_for) == ({amd.digest: "linux/amd64", arm.digest: "linux/arm64"}, True)
    of_amd, of_arm = site.now_known(amd), site.now_known(arm)
    assert isinstance(of_amd, ImageFacts)
    assert isinstance(of_arm, ImageFacts)
    assert (bool(of_amd.attestations), bool(of_arm.attestations)) == (True, False)
    assert key_of(builds) not in {f"{one.repository}@{one.digest}" for one in site.shared}


async def test_name_of_a_platform_cannot_control_a_terminal(site: Site) -> None:
    site.predicates = (SCAN_PREDICATE,)
    image = site.signed()
    scan(site, image)
    index = index_of(site, ("\x1b[2K\n\nError: run\u202e/amd64", image))
    assert (await site.facts(index)).platforms == {image.digest: "\\x1b[2K\\n\\nError: run\\u202e/amd64"}


async def test_platforms_are_only_looked_at_where_a_statement_is_missing(site: Site) -> None:
    amd = site.image(b" ")
    index = index_of(site, ("linux/amd64", amd))
    await site.facts(index)
    site.predicates = (SCAN_PREDICATE,)
    scan(site, index)
    assert (await site.facts(index)).platforms == {}
    assert f"manifests/{index.digest}" not in site.registry.paths("GET")
    assert f"referrers/{amd.digest}" not in site.registry.paths()


async def test_image_that_is_not_an_index_has_no_platforms(site: Site) -> None:
    site.predicates = (SCAN_PREDICATE,)
    assert (await site.facts(site.signed())).platforms == {}


async def test_platform_of_an_index_has_no_platforms_itself(site: Site) -> None:
    site.predicates = (SCAN_PREDICATE,)
    inner = site.image(b" ")
    scan(site, inner)
    nested = index_of(site, ("linux/amd64", inner))
    assert (await site.facts(index_of(site, ("linux/arm64", nested), media_type=OCI_INDEX))).platforms == {}
    assert (await site.facts(index_of(site, ("linux/arm64", nested)))).platforms == {}
    site.after(seconds=16)
    assert (await site.facts(nested)).platforms


async def test_platforms_of_an_index_are_bounded(site: Site) -> None:
    site.predicates = (SCAN_PREDICATE,)
    images = [site.image(b" " * number) for number in range(17)]
    for image in images:
        scan(site, image)
    assert (await site.facts(index_of(site, *(("linux/a", image) for image in images)))).platforms == {}
    assert len((await site.facts(index_of(site, *(("linux/a", image) for image in images[:16])))).platforms) == 16


async def test_scan_of_a_platform_counts_once_the_index_is_looked_up_again(site: Site) -> None:
    site.predicates = (SCAN_PREDICATE,)
    amd = site.image(b" ")
    scan(site, amd)
    index = index_of(site, ("", amd))
    assert (await site.facts(index)).platforms == {amd.digest: "without a name"}
    before = site.now_known(amd)
    site.after(hours=2)
    await site.renewed(index)
    after = site.now_known(amd)
    assert isinstance(before, ImageFacts)
    assert isinstance(after, ImageFacts)
    assert (before.looked_up, after.looked_up) == (START, site.now)


async def test_index_stays_known_while_its_platforms_cannot_be_looked_up(site: Site) -> None:
    site.predicates = (SCAN_PREDICATE,)
    amd = site.image(b" ")
    scan(site, amd)
    index = index_of(site, ("linux/amd64", amd))
    assert (await site.facts(index)).platforms
    site.evidence.withdraw(f"{site.registry.host}/{NAME}", amd.digest or "")
    site.registry.misbehave["GET", f"/v2/{NAME}/referrers/{amd.digest}"] = answering(503)
    site.after(hours=2)
    await site.renewed(index)
    known = site.now_known(index)
    assert isinstance(known, ImageFacts)
    assert (bool(known.platforms), known.looked_up) == (True, START)


async def test_signed_index_is_known_although_its_platforms_cannot_be_looked_up(site: Site) -> None:
    site.predicates = (SCAN_PREDICATE,)
    amd = site.image(b" ")
    signed, unsigned = index_of(site, ("linux/amd64", amd)), index_of(site, ("linux/arm64", amd))
    site.sign(signed)
    site.registry.misbehave["GET", f"/v2/{NAME}/referrers/{amd.digest}"] = answering(503)
    facts = await site.facts(signed)
    assert (len(facts.signatures), facts.platforms) == (1, {amd.digest: "linux/amd64"})
    assert isinstance(site.now_known(amd), Unknown)
    assert isinstance(await site.look(unsigned), Unknown)


async def test_signed_index_that_cannot_be_read_itself_keeps_its_signatures(site: Site) -> None:
    site.predicates = (SCAN_PREDICATE,)
    amd = site.image(b" ")
    scan(site, amd)
    signed, unsigned = index_of(site, ("linux/amd64", amd)), index_of(site, ("linux/arm64", amd))
    site.sign(signed)
    for index in (signed, unsigned):
        site.registry.misbehave["GET", f"/v2/{NAME}/manifests/{index.digest}"] = answering(503)
    facts = await site.facts(signed)
    assert (len(facts.signatures), facts.attestations, facts.predicates) == (1, (), ())  # so scans count as not read
    assert isinstance(await site.look(unsigned), Unknown)
    assert site.shared == []
    site.registry.misbehave.clear()

    def has_platforms() -> bool:
        site.evidence.start([signed], "")
        return isinstance(facts := site.now_known(signed), ImageFacts) and bool(facts.platforms)

    await until(has_platforms)  # a failure is tried again after a while


async def test_platforms_are_looked_up_although_indexes_have_all_the_room(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FLIGHTS_OF_NAMESPACE", 4)
    site.predicates = (SCAN_PREDICATE,)
    indexes = []
    for number in range(4):
        images = [site.image(b" " * (1 + number * 3 + place)) for place in range(3)]
        for image in images:
            scan(site, image)
        indexes.append(index_of(site, *((f"linux/{place}", image) for place, image in enumerate(images))))
    site.evidence.start(indexes, "team")
    await site.evidence.settled(indexes, 10, None, "team")
    for index in indexes:
        facts = site.now_known(index)
        assert isinstance(facts, ImageFacts)
        assert len(facts.platforms) == 3
        known = [site.evidence.known(f"{facts.repository}@{digest}")[0] for digest in facts.platforms]
        assert all(isinstance(one, ImageFacts) for one in known)
