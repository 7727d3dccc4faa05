"""What is attached to an image is found wherever clients put it, within bounds."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web

from sekisho.images.scans import SCAN_PREDICATE
from sekisho.images.statements import SIGN_PREDICATE as SIGN
from sekisho.registry import (
    Failure,
    Hold,
    RegistryClient,
    RegistryError,
    Room,
    Wanted,
    find_candidates,
    find_listed,
    find_tagged,
)
from sekisho.registry import attached as attached_module
from sekisho.registry import candidates as module
from sekisho.registry import client as client_module
from sekisho.registry.manifests import OCI_INDEX, OCI_MANIFEST
from tests.unit.registry.registry_server import (
    BUNDLE_V3,
    NAME,
    Misbehaviour,
    Registry,
    client_of,
    descriptor,
    digest_of,
    serving,
)
from tests.unit.registry.test_registry_client import answering
from tests.unit.waiting import until


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    registry = Registry()
    async with serving(registry):
        yield registry


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with client_of() as client:
        yield client


async def payloads_of(client: RegistryClient, registry: Registry, image: str) -> list[tuple[str, bytes]]:
    candidates = await find_candidates(client, registry.repository, image)
    return [(candidate.source, candidate.payload) for candidate in candidates.candidates]


async def test_image_without_signatures_has_no_candidates(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    assert await find_candidates(client, registry.repository, image) == module.Candidates()


@pytest.mark.parametrize("has_referrers", [True, False])
@pytest.mark.parametrize("is_newest_first", [True, False])
async def test_newest_of_very_many_attachments_and_a_signature_among_them_are_found(
    registry: Registry, client: RegistryClient, *, has_referrers: bool, is_newest_first: bool
) -> None:
    registry.has_referrers, registry.page, count = has_referrers, 500, 700
    image = registry.image()
    signature = registry.attach(image, b"signature", predicate=SIGN)
    newest = registry.attach(image, b"newest", predicate=SCAN_PREDICATE)
    *_, signed, scanned = registry.referrers[image]
    others = [scanned | {"digest": digest_of(str(number).encode())} for number in range(count)]
    listed = [*others[: count // 2], signed, *others[count // 2 :], scanned]
    registry.referrers[image] = listed[::-1] if is_newest_first else listed
    if not has_referrers:
        registry.push_fallback(image)
    find = client.referrers if has_referrers else client.fallback_referrers
    referrers = await find(registry.repository, image)
    assert referrers is not None
    digests = {one.digest for one in referrers.descriptors}
    assert {signature, newest} <= digests
    assert (len(digests), referrers.omitted) == (client_module.MAX_LISTED, count + 2 - client_module.MAX_LISTED)


async def test_bundle_is_found_by_the_referrers_api(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    manifest = registry.attach(image, b"bundle", predicate=SIGN)
    (candidate,) = (await find_candidates(client, registry.repository, image)).candidates
    assert (candidate.source, candidate.media_type) == ("referrers", BUNDLE_V3)
    assert (candidate.payload, candidate.digest) == (b"bundle", manifest)
    tag = f"manifests/{image.replace(':', '-')}"
    assert sorted(registry.paths()) == sorted(
        [f"referrers/{image}", f"manifests/{manifest}", f"blobs/{digest_of(b'bundle')}", tag, f"{tag}.sig"]
    )


async def test_bundle_is_found_by_the_fallback_tag(registry: Registry, client: RegistryClient) -> None:
    registry.has_referrers = False
    image = registry.image()
    registry.attach(image, b"bundle")
    assert await payloads_of(client, registry, image) == [("fallback tag", b"bundle")]


@pytest.mark.parametrize("lists", ["nothing", "an SBOM"])
async def test_fallback_tag_is_read_where_the_api_lists_no_bundle(
    registry: Registry, client: RegistryClient, lists: str
) -> None:
    image = registry.image()
    registry.attach(image, b"bundle")
    registry.push_fallback(image)
    registry.referrers.clear()
    if lists == "an SBOM":
        registry.attach(image, b"sbom", media_type="application/spdx+json")
    assert await payloads_of(client, registry, image) == [("fallback tag", b"bundle")]


async def test_bundle_in_the_list_does_not_hide_what_only_tags_have(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    registry.attach(image, b"signature")
    registry.push_fallback(image)
    registry.referrers.clear()
    registry.attach(image, b"of anyone")
    registry.attach_tag(image, "by one")
    expected = [("referrers", b"of anyone"), (".sig tag", b"simple"), ("fallback tag", b"signature")]
    assert await payloads_of(client, registry, image) == expected


async def test_many_bundles_in_the_list_do_not_hide_what_only_tags_have(
    registry: Registry, client: RegistryClient
) -> None:
    image = registry.image()
    registry.attach(image, b"signature")
    registry.push_fallback(image)
    registry.referrers.clear()
    for number in range(40):
        registry.attach(image, b"%d" % number, predicate=SIGN)
    registry.attach_tag(image, "by one", "by two")
    result = await find_candidates(client, registry.repository, image)
    *listed, by_one, by_two, signature = [one.payload for one in result.candidates]
    assert {int(payload) for payload in listed} == BOTH_ENDS_OF_40
    assert (by_one, by_two, signature) == (b"simple", b"simple", b"signature")
    assert result.omitted == 8


async def test_tags_are_left_out_until_more_signatures_are_needed(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    registry.attach(image, b"signature")
    registry.attach_tag(image, "by one")
    listed = await find_listed(client, registry.repository, image)
    assert [one.payload for one in listed.candidates.candidates] == [b"signature"]
    assert len(registry.requests) == 3
    result = await find_tagged(client, registry.repository, image, listed)
    assert [one.payload for one in result.candidates] == [b"simple"]


async def test_tags_with_attestations_are_read_where_a_policy_needs_some(
    registry: Registry, client: RegistryClient
) -> None:
    image = registry.image()
    registry.attach(image, b"in the fallback tag", predicate=SCAN)
    registry.push_fallback(image)
    registry.referrers.clear()
    registry.attach(image, b"listed", predicate=SCAN)
    layers: list[tuple[bytes, str, dict[str, str]]] = [(b"of cosign 2", module.ENVELOPE, {})]
    registry.push(registry.manifest_of(layers), f"{image.replace(':', '-')}.att")
    listed = await find_listed(client, registry.repository, image, wanted(SCAN))
    assert [one.payload for one in listed.candidates.candidates] == [b"listed", b"of cosign 2"]
    assert f"manifests/{image.replace(':', '-')}" not in registry.paths()
    earlier = len(registry.requests)
    result = await find_tagged(client, registry.repository, image, listed, wanted(SCAN), needs_signature=False)
    assert [one.payload for one in result.candidates] == [b"in the fallback tag"]
    assert registry.paths()[earlier] == f"manifests/{image.replace(':', '-')}"
    assert not any(path.endswith(".sig") for path in registry.paths())


async def test_fallback_tag_is_the_list_where_there_is_no_other(registry: Registry, client: RegistryClient) -> None:
    registry.has_referrers = False
    image = registry.image()
    registry.attach(image, b"signature")
    listed = await find_listed(client, registry.repository, image)
    assert [one.payload for one in listed.candidates.candidates] == [b"signature"]
    assert len(registry.requests) == 4
    assert not (await find_tagged(client, registry.repository, image, listed)).candidates
    assert registry.paths()[4:] == [f"manifests/{image.replace(':', '-')}.sig"]


async def test_large_attestations_of_all_places_together_are_bounded(
    registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached_module, "MAX_ATTESTATION_BYTES", 2 * LARGE)
    image = registry.image()
    for content in (b"a", b"b"):
        registry.attach(image, content * LARGE, predicate=SCAN)
    registry.push_fallback(image)
    registry.referrers.clear()
    registry.attach(image, b"c" * LARGE, predicate=SCAN)
    result = await find_candidates(client, registry.repository, image, wanted(SCAN))
    assert [one.payload[:1] for one in result.candidates] == [b"c", b"b"]
    assert result.omitted == 1


async def test_what_a_list_has_is_not_read_again_from_the_fallback_tag(
    registry: Registry, client: RegistryClient
) -> None:
    image = registry.image()
    manifest = registry.attach(image, b"signature")
    registry.push_fallback(image)
    assert await payloads_of(client, registry, image) == [("referrers", b"signature")]
    assert registry.paths().count(f"manifests/{manifest}") == 1


@pytest.mark.parametrize("needs", [(), ("https://cosign.sigstore.dev/attestation/vuln/v1",)])
async def test_broken_fallback_tag_does_not_hide_what_is_listed(
    registry: Registry, client: RegistryClient, needs: tuple[str, ...]
) -> None:
    image = registry.image()
    registry.attach(image, b"signature")
    registry.push(b"<html>", image.replace(":", "-"), media_type=OCI_INDEX)
    result = await find_candidates(client, registry.repository, image, wanted(*needs))
    assert [one.payload for one in result.candidates] == [b"signature"]
    assert (result.omitted, result.may_hide_vex) == (1, True)
    assert "what is attached to it cannot be listed" in result.problems[0]


async def test_fallback_tag_is_read_where_the_api_answers_with_a_page(
    registry: Registry, client: RegistryClient
) -> None:
    image = registry.image()
    registry.attach(image, b"bundle")
    registry.push_fallback(image)
    page = answering(200, b"<html>", "text/html")
    registry.misbehave["GET", f"/v2/{NAME}/referrers/{image}"] = page
    assert await payloads_of(client, registry, image) == [("fallback tag", b"bundle")]


async def test_signatures_of_one_older_tag_are_all_found(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    registry.attach_tag(image, "by one", "by another")
    candidates = (await find_candidates(client, registry.repository, image)).candidates
    assert [candidate.source for candidate in candidates] == [".sig tag"] * 2
    assert [dict(candidate.annotations) for candidate in candidates] == [
        {"dev.cosignproject.cosign/signature": "by another"},
        {"dev.cosignproject.cosign/signature": "by one"},
    ]


async def test_older_and_newer_signatures_are_found_together(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    registry.attach(image, b"bundle")
    registry.attach_tag(image, "by one")
    assert await payloads_of(client, registry, image) == [("referrers", b"bundle"), (".sig tag", b"simple")]


async def test_older_attestation_is_read_only_where_there_is_nothing_else(
    registry: Registry, client: RegistryClient
) -> None:
    image = registry.image()
    registry.attach_tag(image, "x", payload=b"attestation", suffix="att")
    assert await payloads_of(client, registry, image) == [(".att tag", b"attestation")]
    registry.attach_tag(image, "y")
    assert await payloads_of(client, registry, image) == [(".sig tag", b"simple")]


async def test_older_attestations_that_a_policy_needs_are_read_newest_first(
    registry: Registry, client: RegistryClient
) -> None:
    image = registry.image()
    registry.attach(image, b"bundle")
    layers: list[tuple[bytes, str, dict[str, str]]] = [
        (f"scan {number}".encode(), module.ENVELOPE, {}) for number in range(40)
    ]
    registry.push(registry.manifest_of(layers), f"{image.replace(':', '-')}.att")
    result = await find_candidates(client, registry.repository, image, wanted(SCAN))
    payloads = [candidate.payload for candidate in result.candidates]
    assert payloads == [b"bundle", *(f"scan {number}".encode() for number in range(39, 7, -1))]
    assert result.omitted == 8
    assert await payloads_of(client, registry, image) == [("referrers", b"bundle")]


@pytest.mark.parametrize("artifact", ["application/vnd.oci.empty.v1+json", "application/vnd.example", ""])
async def test_type_of_a_descriptor_does_not_matter(registry: Registry, client: RegistryClient, artifact: str) -> None:
    image = registry.image()
    registry.attach(image, b"bundle")
    registry.referrers[image][0]["artifactType"] = artifact
    assert await payloads_of(client, registry, image) == [("referrers", b"bundle")]


async def test_media_type_of_the_layer_decides(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    registry.attach(image, b"sbom", media_type="application/spdx+json", predicate=SIGN)
    registry.attach(image, b"bundle", media_type="application/vnd.dev.sigstore.bundle+json;version=0.3")
    assert await payloads_of(client, registry, image) == [("referrers", b"bundle")]


async def test_many_referrers_are_bounded_and_signatures_are_read_first(
    registry: Registry, client: RegistryClient
) -> None:
    image = registry.image()
    for number in range(40):
        registry.attach(image, b"scan %d" % number, predicate="https://example.test/scan/v1")
    registry.attach(image, b"signature", predicate=SIGN)
    candidates = await find_candidates(client, registry.repository, image)
    assert candidates.candidates[0].payload == b"signature"
    assert (len(candidates.candidates), candidates.omitted) == (32, 9)


async def test_large_layers_are_omitted_and_counted(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    registry.attach(image, b"x" * (module.MAX_LAYER_BYTES + 1))
    registry.attach(image, b"bundle")
    candidates = await find_candidates(client, registry.repository, image)
    assert [candidate.payload for candidate in candidates.candidates] == [b"bundle"]
    assert candidates.omitted == 1


async def test_layers_together_are_bounded(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    for letter in b"abc":
        registry.attach(image, bytes([letter]) * module.MAX_LAYER_BYTES)
    candidates = await find_candidates(client, registry.repository, image)
    assert (len(candidates.candidates), candidates.omitted) == (2, 1)


@pytest.mark.parametrize("broken", ["wrong bytes", "missing blob", "missing manifest", "an index", "another type"])
async def test_broken_candidate_is_a_problem_and_does_not_hide_others(
    registry: Registry, client: RegistryClient, broken: str
) -> None:
    image = registry.image()
    manifest = registry.attach(image, b"broken")
    registry.attach(image, b"bundle")
    if broken == "wrong bytes":
        registry.blobs[digest_of(b"broken")] = b"bROKEN"
    elif broken == "missing blob":
        del registry.blobs[digest_of(b"broken")]
    elif broken == "missing manifest":
        del registry.manifests[NAME, manifest]
    elif broken == "an index":
        registry.manifests[NAME, manifest] = (OCI_INDEX, registry.manifests[NAME, manifest][1])
    else:
        registry.manifests[NAME, manifest] = ("text/html", registry.manifests[NAME, manifest][1])
    candidates = await find_candidates(client, registry.repository, image)
    assert [candidate.payload for candidate in candidates.candidates] == [b"bundle"]
    assert len(candidates.problems) == 1
    assert len(candidates.problems[0]) <= 160


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_registry_in_trouble_is_not_an_image_without_signatures(
    registry: Registry, client: RegistryClient, status: int
) -> None:
    image = registry.image()
    manifest = registry.attach(image, b"bundle")
    registry.misbehave["GET", f"/v2/{NAME}/manifests/{manifest}"] = answering(status)
    with pytest.raises(RegistryError) as caught:
        await find_candidates(client, registry.repository, image)
    assert caught.value.failure is Failure.UNAVAILABLE


async def test_registry_that_denies_is_not_an_image_without_signatures(
    registry: Registry, client: RegistryClient
) -> None:
    image = registry.image()
    registry.attach(image, b"bundle")
    registry.scheme, registry.users = "basic", {"bot": "secret"}
    with pytest.raises(RegistryError) as caught:
        await find_candidates(client, registry.repository, image)
    assert caught.value.failure is Failure.DENIED


async def test_broken_older_tag_does_not_hide_a_bundle(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    registry.attach(image, b"bundle")
    registry.push(b"<html>", f"{image.replace(':', '-')}.sig", media_type=OCI_MANIFEST)
    candidates = await find_candidates(client, registry.repository, image)
    assert [candidate.payload for candidate in candidates.candidates] == [b"bundle"]
    assert "cannot be read" in candidates.problems[0]


async def test_list_above_the_limit_does_not_hide_an_older_signature(
    registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_LIST_BYTES", 1000)
    image = registry.image()
    for number in range(20):
        registry.attach(image, b"bundle %d" % number)
    said = "what is attached to it cannot be listed: registry 127.0.0.1"
    with pytest.raises(RegistryError, match=said) as caught:
        await find_candidates(client, registry.repository, image)
    assert caught.value.failure is Failure.INVALID
    assert str(caught.value).endswith("sent more than 1,000 bytes")
    registry.attach_tag(image, "by one")
    result = await find_candidates(client, registry.repository, image)
    assert [candidate.source for candidate in result.candidates] == [".sig tag"]
    assert (result.omitted, result.problems[0][: len(said)]) == (1, said)


async def test_list_above_the_limit_does_not_hide_the_fallback_tag(
    registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_LIST_BYTES", 1000)
    image = registry.image()
    registry.attach(image, b"signature")
    registry.push_fallback(image)
    for number in range(20):
        registry.attach(image, b"bundle %d" % number)
    result = await find_candidates(client, registry.repository, image)
    assert [(one.source, one.payload) for one in result.candidates] == [("fallback tag", b"signature")]
    assert result.omitted == 1
    assert "what is attached to it cannot be listed" in result.problems[0]
    registry.push_fallback(image)
    with pytest.raises(RegistryError, match="what is attached to it cannot be listed") as caught:
        await find_candidates(client, registry.repository, image)
    assert caught.value.failure is Failure.INVALID


@pytest.mark.parametrize("broken", [answering(200, b"x" * 2000, OCI_INDEX), answering(200, b"{}", OCI_INDEX)])
async def test_later_page_that_cannot_be_read_does_not_hide_earlier_ones(
    registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch, broken: Misbehaviour
) -> None:
    monkeypatch.setattr(client_module, "MAX_LIST_BYTES", 1000)
    image = registry.image()
    registry.attach(image, b"signature")
    registry.attach(image, b"next")
    registry.page = 1
    path = f"/v2/{NAME}/referrers/{image}"

    async def second(request: web.Request) -> web.StreamResponse:
        return await broken(request) if request.query_string else registry._content(request)  # noqa: SLF001

    registry.misbehave["GET", path] = second
    result = await find_candidates(client, registry.repository, image)
    assert [one.payload for one in result.candidates] == [b"signature"]
    assert result.omitted == 1
    registry.misbehave["GET", path] = broken
    with pytest.raises(RegistryError, match="what is attached to it cannot be listed"):
        await find_candidates(client, registry.repository, image)


async def test_list_above_the_limit_is_read_where_the_registry_sends_it_in_pages(
    registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_LIST_BYTES", 1000)
    image = registry.image()
    for number in range(5):
        registry.attach(image, b"bundle %d" % number)
    registry.page = 1
    assert len((await find_candidates(client, registry.repository, image)).candidates) == 5


async def test_small_candidates_take_no_room_and_larger_signatures_do(
    registry: Registry, client: RegistryClient
) -> None:
    for size, units in ((1000, 0), (module.MAX_UNHELD_BYTES + 1, 1), (70_000, 2)):
        image = registry.image(f"v{size}")
        registry.attach(image, b"x" * size)
        needs = wanted(room=1 << 20)
        await find_candidates(client, registry.repository, image, needs)
        assert needs.hold._room.units._all._free == 16 - units  # noqa: SLF001
        await needs.hold.release()


BOTH_ENDS_OF_40 = {*range(16), *range(24, 40)}
SCAN = "https://cosign.sigstore.dev/attestation/vuln/v1"
VEX = "https://openvex.dev/ns"
LARGE = module.MAX_LAYER_BYTES + 1


def wanted(*predicates: str, room: int = 64 << 20) -> Wanted:
    return Wanted(predicates, Hold(Room(room)))


async def test_large_attestation_is_read_only_where_it_is_wanted(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    registry.attach(image, b"signature", predicate=SIGN)
    registry.attach(image, b"s" * LARGE, predicate=SCAN)
    registry.attach(image, b"b" * LARGE, predicate="https://spdx.dev/Document")
    registry.attach(image, b"u" * LARGE)
    for needs, expected, omitted in ((wanted(SCAN), b"sus", 1), (wanted(), b"s", 3), (None, b"s", 3)):
        result = await find_candidates(client, registry.repository, image, needs)
        assert sorted(one.payload[:1] for one in result.candidates) == sorted(bytes([byte]) for byte in expected)
        assert result.omitted == omitted


async def test_attestation_above_the_bound_is_omitted_and_said(
    registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PAYLOAD_BYTES", LARGE)
    for size, read in ((LARGE, True), (LARGE + 1, False)):
        image = registry.image(f"v{size}")
        registry.attach(image, b"x" * size, predicate=SCAN)
        result = await find_candidates(client, registry.repository, image, wanted(SCAN))
        said = f"an attestation has {size:,} bytes; the maximum is {LARGE:,}"
        assert (len(result.candidates) == 1, said not in result.problems) == (read, read)
        registry.referrers.clear()


UNKNOWN = datetime.max.replace(tzinfo=UTC)
LARGE_SCANS = {
    "a scan": (SCAN, "2026-11-02T00:00:00Z", datetime(2026, 11, 2, tzinfo=UTC)),
    "a scan without a time": (SCAN, "", UNKNOWN),
    "a scan with another time": (SCAN, "yesterday", UNKNOWN),
    "of no type": ("", "2026-11-02T00:00:00Z", datetime(2026, 11, 2, tzinfo=UTC)),
    "an SBOM": ("https://spdx.dev/Document", "2026-11-02T00:00:00Z", None),
}


@pytest.mark.parametrize("name", LARGE_SCANS)
async def test_what_is_above_the_bound_may_be_a_scan_by_its_hints(
    registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(module, "MAX_PAYLOAD_BYTES", LARGE)
    predicate, created, expected = LARGE_SCANS[name]
    image = registry.image()
    registry.attach(image, b"o" * (LARGE + 1), predicate=predicate, created=created and "2026-11-01T00:00:00Z")
    registry.attach(image, b"x" * (LARGE + 1), predicate=predicate, created=created)
    registry.attach(image, b"x" * LARGE, predicate=SCAN, created="2026-11-03T00:00:00Z")
    for needs, unread_scan_at in ((wanted(SCAN, "https://spdx.dev/Document"), expected), (wanted(), None)):
        result = await find_candidates(client, registry.repository, image, needs)
        assert result.unread_scan_at == unread_scan_at


async def test_older_attestation_says_its_type_in_its_layer(
    registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PAYLOAD_BYTES", LARGE)
    for predicate, unread_scan_at in ((SCAN, UNKNOWN), ("https://spdx.dev/Document", None)):
        image = registry.image(predicate)
        layer = (b"x" * (LARGE + 1), module.ENVELOPE, {"predicateType": predicate})
        registry.push(registry.manifest_of([layer]), f"{image.replace(':', '-')}.att")
        result = await find_candidates(client, registry.repository, image, wanted(SCAN))
        assert result.unread_scan_at == unread_scan_at


async def test_tag_with_many_layers_is_read(registry: Registry, client: RegistryClient) -> None:
    note = {"dev.sigstore.cosign/bundle": "b" * 1700}
    layers = [(b"%d" % number, module.ENVELOPE, note) for number in range(45)]
    for suffix in ("att", "sig"):
        image = registry.image(suffix)
        registry.push(registry.manifest_of(layers), f"{image.replace(':', '-')}.{suffix}")
        result = await find_candidates(client, registry.repository, image, wanted(SCAN))
        numbers = {int(one.payload) for one in result.candidates}
        assert numbers == ({*range(13, 45)} if suffix == "att" else {*range(16), *range(29, 45)})
        registry.manifests.clear()


@pytest.mark.parametrize("place", ["list", "fallback tag", ".att tag", "second page"])
async def test_newest_scan_is_unknown_where_a_place_cannot_be_read(
    registry: Registry, client: RegistryClient, place: str
) -> None:
    image = registry.image()
    for number in range(2):
        registry.attach(image, b"scan %d" % number, predicate=SCAN)
    registry.attach_tag(image, "by one")
    registry.page = 1

    async def broken(request: web.Request) -> web.StreamResponse:
        is_first = place == "second page" and not request.query_string
        return registry._content(request) if is_first else await answering(200, b"{", OCI_INDEX)(request)  # noqa: SLF001

    tag = image.replace(":", "-") + (".att" if place == ".att tag" else "")
    registry.has_referrers = place != "fallback tag"
    path = f"manifests/{tag}" if place.endswith("tag") else f"referrers/{image}"
    registry.misbehave["GET", f"/v2/{NAME}/{path}"] = broken
    for needs, unread_scan_at in ((wanted(SCAN), UNKNOWN), (wanted("https://spdx.dev/Document"), None)):
        assert (await find_candidates(client, registry.repository, image, needs)).unread_scan_at == unread_scan_at


async def test_newest_attestations_are_read_first(
    registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached_module, "MAX_ATTESTATION_BYTES", 2 * LARGE)
    image = registry.image()
    for day in (3, 1, 4, 2):
        registry.attach(image, bytes([day]) * LARGE, predicate=SCAN)
        registry.referrers[image][-1]["annotations"]["org.opencontainers.image.created"] = f"2026-11-0{day}T00:00:00Z"
    result = await find_candidates(client, registry.repository, image, wanted(SCAN))
    assert [one.payload[0] for one in result.candidates] == [4, 3]
    assert result.omitted == 2


async def test_newest_attestations_of_each_type_are_read_first(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    for number in range(40):
        registry.attach(image, b"scan %d" % number, predicate=SCAN)
    registry.attach(image, b"vex", predicate=VEX)
    result = await find_candidates(client, registry.repository, image, wanted(SCAN, VEX))
    assert b"vex" in {one.payload for one in result.candidates}
    assert (result.omitted, result.may_hide_vex) == (9, False)


@pytest.mark.parametrize(
    ("predicate", "may_hide_vex"), [(VEX, True), ("", True), (SCAN, False), ("https://spdx.dev/Document", False)]
)
async def test_what_is_not_read_may_be_vex_by_its_hint(
    registry: Registry, client: RegistryClient, predicate: str, may_hide_vex: bool
) -> None:
    image = registry.image()
    registry.attach(image, b"vex", predicate=VEX)
    for number in range(33):
        registry.attach(image, b"%d" % number, predicate=predicate)
    result = await find_candidates(client, registry.repository, image, wanted(SCAN, VEX))
    assert (result.omitted, result.may_hide_vex) == (2, may_hide_vex)


async def test_vex_whose_content_is_past_the_bounds_is_hidden(
    registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PAYLOAD_BYTES", LARGE)
    for size, predicate, is_hidden in ((LARGE, VEX, False), (LARGE + 1, VEX, True), (LARGE + 1, SCAN, False)):
        image = registry.image(f"v{size} {predicate}")
        registry.attach(image, b"x" * size, predicate=predicate)
        result = await find_candidates(client, registry.repository, image, wanted(SCAN, VEX))
        assert result.may_hide_vex is is_hidden
        registry.referrers.clear()


@pytest.mark.parametrize(("predicate", "may_hide_vex"), [(VEX, True), ("", True), (SCAN, False), (SIGN, False)])
@pytest.mark.parametrize("part", ["manifest", "layer"])
async def test_vex_that_is_listed_and_cannot_be_read_is_hidden(
    registry: Registry, client: RegistryClient, part: str, predicate: str, may_hide_vex: bool
) -> None:
    image = registry.image()
    registry.attach(image, b"older", predicate=VEX)
    newest = registry.attach(image, b"newest", predicate=predicate)
    assert not (await find_candidates(client, registry.repository, image, wanted(SCAN, VEX))).may_hide_vex
    if part == "manifest":
        del registry.manifests[NAME, newest]
    else:
        del registry.blobs[digest_of(b"newest")]
    result = await find_candidates(client, registry.repository, image, wanted(SCAN, VEX))
    assert [one.payload for one in result.candidates] == [b"older"]
    assert result.may_hide_vex is may_hide_vex


@pytest.mark.parametrize("predicate", ["", SIGN, SCAN, "https://example.test/other/v1"])
@pytest.mark.parametrize("needs", [(), (SCAN,)])
async def test_both_ends_of_a_long_list_without_times_are_read(
    registry: Registry, client: RegistryClient, predicate: str, needs: tuple[str, ...]
) -> None:
    image = registry.image()
    for number in range(40):
        registry.attach(image, b"%d" % number, predicate=predicate)
    result = await find_candidates(client, registry.repository, image, wanted(*needs))
    assert {int(one.payload) for one in result.candidates} == BOTH_ENDS_OF_40


@pytest.mark.parametrize("place", ["list", "fallback tag", ".sig tag"])
@pytest.mark.parametrize("position", [0, 50])
async def test_first_and_newest_signature_of_many_small_attachments_are_read(
    registry: Registry, client: RegistryClient, place: str, position: int
) -> None:
    contents = [b"%02d" % number * (module.MAX_TOTAL_BYTES // 32) for number in range(50)]
    contents.insert(position, b"signature")
    image = registry.image()
    registry.has_referrers = place == "list"
    if place == ".sig tag":
        layers: list[tuple[bytes, str, dict[str, str]]] = [(one, module.SIMPLE_SIGNING, {}) for one in contents]
        registry.push(registry.manifest_of(layers), f"{image.replace(':', '-')}.sig")
    else:
        for content in contents:
            registry.attach(image, content)
    result = await find_candidates(client, registry.repository, image)
    assert b"signature" in {one.payload for one in result.candidates}


async def test_room_is_waited_for_and_given_back(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    registry.attach(image, b"x" * (3 << 20), predicate=SCAN)
    room = Room(4 << 20)
    first, second = Wanted((SCAN,), Hold(room)), Wanted((SCAN,), Hold(room))
    await find_candidates(client, registry.repository, image, first)
    waiting = asyncio.create_task(find_candidates(client, registry.repository, image, second))
    await until(lambda: room.units.waiting)
    assert not waiting.done()
    await first.hold.release()
    assert len((await waiting).candidates) == 1
    third = asyncio.create_task(Hold(room).take(64 << 20))  # more than the room: as much as there is
    await until(lambda: room.units.waiting)
    await second.hold.release()
    await third


async def test_registry_leaves_half_of_the_room_to_others() -> None:
    room = Room(4 << 20)
    holds = [Hold(room, "slow", f"busy-{number}") for number in range(6)]
    slow = [asyncio.create_task(hold.take(1 << 20)) for hold in holds]
    await until(lambda: room.units.waiting == 4)
    async with asyncio.timeout(20):
        await Hold(room, "other", "team").take(2 << 20)
    for task in slow:
        task.cancel()
    assert sum(task.done() for task in slow) == 2
    await asyncio.gather(*slow, return_exceptions=True)


async def test_cancelled_look_up_gives_its_room_back() -> None:
    room = Room(4 << 20)
    one, other = Hold(room), Hold(room)
    await one.take(3 << 20)
    waiting = asyncio.create_task(other.take(2 << 20))
    await until(lambda: room.units.waiting)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await other.release()
    await one.release()
    await Hold(room).take(4 << 20)


@pytest.mark.parametrize("annotations", [[], {"dev.sigstore.bundle.predicateType": 7}, None])
async def test_odd_annotations_of_a_manifest_do_not_matter(
    registry: Registry, client: RegistryClient, annotations: object
) -> None:
    image = registry.image()
    manifest = registry.manifest_of([(b"bundle", BUNDLE_V3, {})], annotations=annotations)
    listed = descriptor(json.dumps(manifest).encode(), OCI_MANIFEST)
    registry.push(manifest)
    registry.referrers[image] = [listed]
    assert await payloads_of(client, registry, image) == [("referrers", b"bundle")]
