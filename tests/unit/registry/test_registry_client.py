"""The registry client over real HTTPS: what it reads, and what it does not accept."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web

from sekisho.registry import Failure, RegistryClient, RegistryError, Repository
from sekisho.registry import client as client_module
from sekisho.registry import http as http_module
from sekisho.registry.connections import MAX_REQUESTS
from sekisho.registry.manifests import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, Descriptor
from tests.serving_certificates import Signer, make
from tests.unit.registry.registry_server import (
    CA,
    NAME,
    SERVER,
    Misbehaviour,
    Registry,
    client_of,
    digest_of,
    serving,
    settings_for_tests,
)


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    registry = Registry()
    async with serving(registry):
        yield registry


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with client_of() as client:
        yield client


@pytest.fixture
def long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was unavailable is not tried again while a test runs, also on a busy machine."""
    monkeypatch.setattr(client_module, "FIRST_PAUSE_SECONDS", client_module.MAX_PAUSE_SECONDS)


def answering(status: int = 200, body: bytes = b"", media_type: str = OCI_MANIFEST, **headers: str) -> Misbehaviour:
    async def answer(request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers={"Content-Type": media_type, **named})

    return answer


async def fails(failure: Failure, read: Callable[[], object], *parts: str) -> str:
    with pytest.raises(RegistryError) as caught:
        await read()  # type: ignore[misc]
    assert caught.value.failure is failure
    for part in parts:
        assert part in str(caught.value)
    return str(caught.value)


async def test_tag_is_resolved_by_head_so_that_no_pull_is_counted(registry: Registry, client: RegistryClient) -> None:
    digest = registry.image("1.2")
    assert await client.digest(registry.repository, "1.2") == digest
    assert [(one.method, one.path) for one in registry.requests] == [("HEAD", f"/v2/{NAME}/manifests/1.2")]


async def test_tag_is_resolved_by_its_bytes_without_a_digest_header(registry: Registry, client: RegistryClient) -> None:
    registry.sends_digests = False
    digest = registry.image("1.2")
    assert await client.digest(registry.repository, "1.2") == digest
    assert registry.paths() == ["manifests/1.2", "manifests/1.2"]


async def test_tag_that_does_not_exist_is_missing(registry: Registry, client: RegistryClient) -> None:
    await fails(Failure.MISSING, lambda: client.digest(registry.repository, "1.3"), f"has no {NAME}:1.3")


async def test_invalid_digest_header_is_not_used(registry: Registry, client: RegistryClient) -> None:
    digest = registry.image("1.2")
    registry.misbehave["HEAD", f"/v2/{NAME}/manifests/1.2"] = answering(Docker_Content_Digest="sha256:ABC")
    assert await client.digest(registry.repository, "1.2") == digest


async def test_manifest_has_the_digest_of_its_bytes(registry: Registry, client: RegistryClient) -> None:
    digest = registry.image("1.2")
    assert (await client.manifest(registry.repository, digest)).digest == digest
    assert (await client.manifest(registry.repository, "1.2")).digest == digest


async def test_other_bytes_than_those_of_the_digest_are_not_accepted(
    registry: Registry, client: RegistryClient
) -> None:
    digest = registry.image()
    media_type, content = registry.manifests[NAME, digest]
    registry.manifests[NAME, digest] = (media_type, content + b" ")
    await fails(Failure.INVALID, lambda: client.manifest(registry.repository, digest), "does not match")


async def test_sha512_is_hashed_as_such(registry: Registry, client: RegistryClient) -> None:
    registry.image("1.2")
    content = registry.manifests[NAME, "1.2"][1]
    digest = "sha512:" + hashlib.sha512(content).hexdigest()
    registry.manifests[NAME, digest] = (OCI_MANIFEST, content)
    assert (await client.manifest(registry.repository, digest)).digest == digest
    registry.manifests[NAME, digest] = (OCI_MANIFEST, content + b" ")
    await fails(Failure.INVALID, lambda: client.manifest(registry.repository, digest), "does not match")


LAYERS = b'{"schemaVersion":2,"layers":[]'
DIGEST = b'"digest":"sha256:' + b"1" * 64 + b'"'


def index_with(members: bytes, *, beside: bytes = b"") -> bytes:
    """An index with one descriptor, which has these members, and with others beside the list."""
    return b'{"schemaVersion":2,"manifests":[{"size":2,' + DIGEST + b"," + members + b"}]" + beside + b"}"


@pytest.mark.parametrize(
    ("content", "media_type", "why"),
    [
        (LAYERS + b',"manifests":[]}', OCI_MANIFEST, "is a manifest and has manifests"),
        (LAYERS + b',"mediaType":"' + OCI_INDEX.encode() + b'"}', OCI_MANIFEST, "another mediaType"),
        (LAYERS + b',"layers":[]}', OCI_MANIFEST, "duplicate key"),
        (LAYERS + b"}", OCI_INDEX, "is an index and has layers"),
        (b'{"schemaVersion":2,"manifests":[]}', OCI_MANIFEST, "is a manifest and has manifests"),
        (LAYERS + b"}", DOCKER_LIST, "is an index and has layers"),
        (LAYERS + b"}", "text/html", "'text/html', not a manifest"),
        (LAYERS + b',"x":' + b'{"x":' * 30_000 + b"1" + b"}" * 30_000 + b"}", OCI_MANIFEST, "nested too deeply"),
        (b'{"schemaVersion":1,"layers":[]}', OCI_MANIFEST, "schemaVersion"),
        (b'{"schemaVersion":2,"layers":{}}', OCI_MANIFEST, "cannot be read"),
        (b"<html>", OCI_MANIFEST, "cannot be read"),
        (b"\xff\xfe", OCI_MANIFEST, "cannot be read"),
        (LAYERS + b',"Manifests":[]}', OCI_MANIFEST, 'the key "Manifests", which some readers take for "manifests"'),
        (LAYERS + b',"MEDIATYPE":""}', OCI_MANIFEST, 'take for "mediaType"'),
        (LAYERS + b',"a":[[{"Ab":1,"aB":2}]]}', OCI_MANIFEST, 'the key "aB", which some readers take for "Ab"'),
        (LAYERS + b',"Annotations":{}}', OCI_MANIFEST, 'take for "annotations"'),
        (index_with(b'"a":0', beside=b',"Manifests":[]'), OCI_INDEX, 'take for "manifests"'),
        (index_with(b'"a":0', beside=b',"manife\\u017fts":[]'), OCI_INDEX, 'take for "manifests"'),
        (index_with(b'"Digest":""'), OCI_INDEX, 'take for "digest"'),
        (index_with(b'"platform":{"os":"unknown","architecture":"unknown","OS":"linux"}'), OCI_INDEX, 'take for "os"'),
    ],
)
async def test_confusing_manifest_is_not_accepted(
    registry: Registry, client: RegistryClient, content: bytes, media_type: str, why: str
) -> None:
    digest = registry.push(content, media_type=media_type)
    await fails(Failure.INVALID, lambda: client.manifest(registry.repository, digest), why)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (LAYERS + b"}", OCI_MANIFEST),
        (LAYERS + b',"mediaType":"' + OCI_MANIFEST.encode() + b'"}', OCI_MANIFEST),
        (b'{"schemaVersion":2,"manifests":null}', OCI_INDEX),
        (b'{"schemaVersion":2,"manifests":[],"x":' + b"[" * 50 + b"]" * 50 + b"}", DOCKER_LIST),
        (LAYERS + b',"Comment":"a","comments":"b","annotations":{"Ab":"1","aB":"2","Layers":"3"}}', OCI_MANIFEST),
        (index_with(b'"os":"x","annotations":{"Digest":"1"},"platform":{"os.version":"1"}'), OCI_INDEX),
    ],
)
async def test_plain_manifest_is_accepted(
    registry: Registry, client: RegistryClient, content: bytes, media_type: str
) -> None:
    digest = registry.push(content, media_type=media_type)
    assert (await client.manifest(registry.repository, digest)).media_type == media_type


def layer(content: bytes, size: int | None = None) -> Descriptor:
    return Descriptor(digest_of(content), len(content) if size is None else size)


async def test_blob_has_the_size_and_digest_of_its_descriptor(registry: Registry, client: RegistryClient) -> None:
    registry.blobs[digest_of(b"payload")] = b"payload"
    assert await client.blob(registry.repository, layer(b"payload")) == b"payload"
    shorter, longer = layer(b"payload", 6), layer(b"payload", 8)
    await fails(Failure.INVALID, lambda: client.blob(registry.repository, shorter), "more than 6 bytes")
    await fails(Failure.INVALID, lambda: client.blob(registry.repository, longer), "does not match")
    registry.blobs[digest_of(b"payload")] = b"pAyload"
    await fails(Failure.INVALID, lambda: client.blob(registry.repository, layer(b"payload")), "does not match")
    await fails(Failure.MISSING, lambda: client.blob(registry.repository, layer(b"other")), "has no")


@pytest.mark.parametrize("size", [-1, (16 << 20) + 1])
async def test_blob_of_an_impossible_size_is_not_requested(
    registry: Registry, client: RegistryClient, size: int
) -> None:
    await fails(Failure.INVALID, lambda: client.blob(registry.repository, layer(b"payload", size)), "too large")
    assert registry.requests == []


async def test_endless_body_ends_at_the_limit(registry: Registry, client: RegistryClient) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)
            await asyncio.sleep(0)  # writing to a connection that is closed gives no turn to others
            sent += 65536

    registry.misbehave["GET", f"/v2/{NAME}/manifests/1.2"] = endless
    await fails(Failure.INVALID, lambda: client.manifest(registry.repository, "1.2"), "more than 4,194,304 bytes")
    assert sent < 16 << 20


async def test_body_byte_by_byte_ends_at_the_deadline(
    registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_module, "_LIMITS", aiohttp.ClientTimeout(total=0.3))

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.01)  # the slowness of this registry is what is tested

    registry.misbehave["GET", f"/v2/{NAME}/manifests/1.2"] = slow
    await fails(Failure.UNAVAILABLE, lambda: client.manifest(registry.repository, "1.2"), "cannot be reached")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "x-nonsense"])
async def test_compressed_body_is_not_accepted(registry: Registry, client: RegistryClient, encoding: str) -> None:
    registry.misbehave["GET", f"/v2/{NAME}/manifests/1.2"] = answering(body=b"\x1f\x8b", Content_Encoding=encoding)
    await fails(Failure.INVALID, lambda: client.manifest(registry.repository, "1.2"), "compressed")


async def test_large_length_is_believed_before_the_body_is_read(registry: Registry, client: RegistryClient) -> None:
    registry.misbehave["GET", f"/v2/{NAME}/manifests/1.2"] = answering(body=b"x" * (5 << 20))
    await fails(Failure.INVALID, lambda: client.manifest(registry.repository, "1.2"), "more than 4,194,304 bytes")


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_registry_in_trouble_is_paused(registry: Registry, client: RegistryClient, status: int) -> None:
    registry.image("1.2")
    registry.misbehave["HEAD", f"/v2/{NAME}/manifests/1.2"] = answering(status)
    await fails(Failure.UNAVAILABLE, lambda: client.digest(registry.repository, "1.2"), f"status {status}")
    del registry.misbehave["HEAD", f"/v2/{NAME}/manifests/1.2"]
    await fails(Failure.UNAVAILABLE, lambda: client.digest(registry.repository, "1.2"), "a moment ago")
    assert len(registry.requests) == 1


async def test_pause_ends_and_doubles_with_each_failure(
    registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("sekisho.registry.client.time.monotonic", lambda: now)
    registry.image("1.2")
    registry.misbehave["HEAD", f"/v2/{NAME}/manifests/1.2"] = answering(503)
    for pause in (2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        await fails(Failure.UNAVAILABLE, lambda: client.digest(registry.repository, "1.2"), "status 503")
        now += pause - 0.1
        await fails(Failure.UNAVAILABLE, lambda: client.digest(registry.repository, "1.2"), "a moment ago")
        now += 0.2
    del registry.misbehave["HEAD", f"/v2/{NAME}/manifests/1.2"]
    assert await client.digest(registry.repository, "1.2")
    registry.misbehave["HEAD", f"/v2/{NAME}/manifests/1.2"] = answering(503)
    await fails(Failure.UNAVAILABLE, lambda: client.digest(registry.repository, "1.2"), "status 503")
    now += 2.1
    await fails(Failure.UNAVAILABLE, lambda: client.digest(registry.repository, "1.2"), "status 503")


@pytest.mark.parametrize("status", [429, 503])
async def test_another_repository_of_the_registry_is_not_paused(
    registry: Registry, client: RegistryClient, long_pauses: None, status: int
) -> None:
    registry.image("1.2")
    broken = Repository(registry.host, "tenant/broken")
    registry.misbehave["HEAD", "/v2/tenant/broken/manifests/1"] = answering(status)
    await fails(Failure.UNAVAILABLE, lambda: client.digest(broken, "1"), f"status {status}")
    await fails(Failure.UNAVAILABLE, lambda: client.digest(broken, "1"), "tenant/broken", "a moment ago")
    assert await client.digest(registry.repository, "1.2")
    assert len(registry.requests) == 2


async def test_repository_that_does_not_answer_does_not_pause_others(
    registry: Registry, client: RegistryClient, long_pauses: None
) -> None:
    registry.image("1.2")
    slow = Repository(registry.host, "tenant/slow")

    async def closes(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    registry.misbehave["HEAD", "/v2/tenant/slow/manifests/1"] = closes
    await fails(Failure.UNAVAILABLE, lambda: client.digest(slow, "1"), "cannot be reached")
    sent = len(registry.requests)
    await fails(Failure.UNAVAILABLE, lambda: client.digest(slow, "1"), "cannot be reached")
    assert len(registry.requests) == sent
    assert await client.digest(registry.repository, "1.2")


async def test_registry_without_a_connection_is_paused_for_all_repositories(
    client: RegistryClient, long_pauses: None
) -> None:
    async with serving(registry := Registry()):
        gone = registry.host
    await fails(Failure.UNAVAILABLE, lambda: client.digest(Repository(gone, "one"), "1"), "cannot be reached")
    async with serving(registry):
        await fails(Failure.UNAVAILABLE, lambda: client.digest(Repository(gone, "two"), "1"), "cannot be reached")
    assert registry.requests == []


async def test_host_that_a_registry_redirects_to_does_not_pause_the_registry(
    registry: Registry, client: RegistryClient
) -> None:
    registry.image("1.2")
    other = Repository(registry.host, "tenant/other")
    registry.misbehave["HEAD", "/v2/tenant/other/manifests/1"] = answering(307, Location="https://127.0.0.1:1/gone")
    await fails(Failure.UNAVAILABLE, lambda: client.digest(other, "1"), "cannot be reached")
    assert await client.digest(registry.repository, "1.2")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("30", 30.0), ("9999", 60.0), ("9" * 5000, 60.0), ("0", 2.0), ("-5", 2.0), ("soon", 2.0)],
)
async def test_repository_is_paused_for_as_long_as_the_registry_says(
    registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch, written: str, seconds: float
) -> None:
    now = 1000.0
    monkeypatch.setattr("sekisho.registry.client.time.monotonic", lambda: now)
    registry.image("1.2")
    registry.misbehave["HEAD", f"/v2/{NAME}/manifests/1.2"] = answering(429, Retry_After=written)
    await fails(Failure.UNAVAILABLE, lambda: client.digest(registry.repository, "1.2"), "status 429")
    registry.misbehave.clear()
    now += seconds - 0.1
    await fails(Failure.UNAVAILABLE, lambda: client.digest(registry.repository, "1.2"), "a moment ago")
    now += 0.2
    assert await client.digest(registry.repository, "1.2")


async def test_another_registry_is_not_paused(registry: Registry, client: RegistryClient) -> None:
    async with serving(other := Registry()):
        digest = other.image("1.2")
        registry.misbehave["HEAD", f"/v2/{NAME}/manifests/1.2"] = answering(503)
        await fails(Failure.UNAVAILABLE, lambda: client.digest(registry.repository, "1.2"))
        assert await client.digest(other.repository, "1.2") == digest


async def test_failures_to_connect_have_one_wording(registry: Registry) -> None:
    messages = set()
    async with client_of() as client:
        closed = Repository("127.0.0.1:1", NAME)
        messages.add(await fails(Failure.UNAVAILABLE, lambda: client.digest(closed, "1")))
        unknown = Repository("registry.invalid", NAME)
        messages.add(await fails(Failure.UNAVAILABLE, lambda: client.digest(unknown, "1")))
        long = Repository("a" * 80 + ".example", NAME)
        messages.add(await fails(Failure.UNAVAILABLE, lambda: client.digest(long, "1")))
    async with client_of(settings=settings_for_tests(allowed_networks=())) as client:
        messages.add(await fails(Failure.UNAVAILABLE, lambda: client.digest(registry.repository, "1")))
    assert {message.split(" ", 2)[2] for message in messages} == {
        "cannot be reached, or its certificate is not trusted"
    }
    assert registry.requests == []


ADDRESS = "127.0.0.1"
PAST = datetime(2020, 1, 1, tzinfo=UTC)
REGISTRY_CA = "add the authority by imageVerification.registryCA of the chart, or by --registry-ca-file"
UNTRUSTED = [
    (make(names=[ADDRESS]), "has a certificate that is signed by an unknown authority", REGISTRY_CA),
    (
        make(make(ca=True, cert_sign=True, subject="own"), names=[ADDRESS]),
        "has a certificate that is signed by an unknown authority",
        REGISTRY_CA,
    ),
    (make(CA, names=["registry.example"]), "has a certificate for another name", "name the registry as"),
    (
        make(CA, names=[ADDRESS], begins=PAST, ends=PAST + timedelta(days=1)),
        "has a certificate that has expired",
        "renew the registry's certificate",
    ),
]


@pytest.mark.parametrize(("certificate", "problem", "fix"), UNTRUSTED, ids=range(len(UNTRUSTED)))
async def test_untrusted_certificate_of_a_registry_is_named_as_the_reason(
    certificate: Signer, problem: str, fix: str
) -> None:
    registry = Registry()
    async with serving(registry, certificate), client_of() as client:
        for _ in range(2):  # also while it is not tried again
            with pytest.raises(RegistryError) as caught:
                await client.digest(registry.repository, "1.2")
            assert caught.value.failure is Failure.UNAVAILABLE
            assert str(caught.value) == f"registry {registry.host} {problem}"
            assert fix in caught.value.fix
    assert registry.requests == []
    async with serving(registry, SERVER), client_of() as client:
        digest = registry.image("1.2")
        assert await client.digest(registry.repository, "1.2") == digest


async def test_requests_to_one_registry_are_bounded(registry: Registry, client: RegistryClient) -> None:
    running = peak = 0
    full = asyncio.Event()

    async def counted(request: web.Request) -> web.StreamResponse:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        if running == MAX_REQUESTS:
            full.set()
        await full.wait()
        running -= 1
        return web.Response(headers={"Docker-Content-Digest": digest_of(b"")})

    registry.misbehave["HEAD", f"/v2/{NAME}/manifests/1.2"] = counted
    await asyncio.gather(*(client.digest(registry.repository, "1.2") for _ in range(MAX_REQUESTS + 2)))
    assert peak == MAX_REQUESTS


async def test_registries_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_REGISTRIES", 3)
    async with client_of(settings=settings_for_tests(allowed_networks=())) as client:
        for last in range(1, 8):
            repository = Repository(f"127.0.0.{last}", NAME)
            await fails(Failure.UNAVAILABLE, lambda repository=repository: client.digest(repository, "1"))  # type: ignore[misc]
        assert len(client._paused_registries) == 3  # noqa: SLF001


async def test_paused_repositories_that_are_remembered_are_bounded(
    registry: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client._paused_repositories, "_max_pauses", 3)  # noqa: SLF001
    for number in range(5):
        registry.misbehave["HEAD", f"/v2/tenant/{number}/manifests/1"] = answering(503)
        repository = Repository(registry.host, f"tenant/{number}")
        await fails(Failure.UNAVAILABLE, lambda repository=repository: client.digest(repository, "1"))  # type: ignore[misc]
    assert len(client._paused_repositories) == 3  # noqa: SLF001


# Referrers


async def test_referrers_are_read_over_all_pages(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    attached = [registry.attach(image, b"bundle %d" % number) for number in range(5)]
    registry.page = 2
    referrers = await client.referrers(registry.repository, image)
    assert referrers is not None
    assert [descriptor.digest for descriptor in referrers.descriptors] == attached
    assert referrers.omitted == 0


async def test_endless_pages_end_and_are_reported(registry: Registry, client: RegistryClient) -> None:
    image = registry.image()
    registry.attach(image, b"bundle")
    path = f"/v2/{NAME}/referrers/{image}"
    page = json.dumps({"schemaVersion": 2, "manifests": registry.referrers[image]}).encode()
    registry.misbehave["GET", path] = answering(body=page, media_type=OCI_INDEX, Link='</v2/>; rel="next"')
    referrers = await client.referrers(registry.repository, image)
    assert referrers is not None
    assert referrers.omitted == 1
    assert len(registry.requests) == client_module.MAX_PAGES


async def test_next_page_cannot_lead_to_another_host(registry: Registry, client: RegistryClient) -> None:
    async with serving(other := Registry()):
        image = registry.image()
        link = f'<https://{other.host}/v2/{NAME}/referrers/{image}?from=1>; rel="next"'
        page = b'{"schemaVersion":2,"manifests":[]}'
        registry.misbehave["GET", f"/v2/{NAME}/referrers/{image}"] = answering(
            body=page, media_type=OCI_INDEX, Link=link
        )
        await client.referrers(registry.repository, image)
        assert other.requests == []


@pytest.mark.parametrize(("status", "media_type"), [(404, "text/plain"), (200, "text/html"), (405, ""), (400, "")])
async def test_registry_without_referrers_says_so(
    registry: Registry, client: RegistryClient, status: int, media_type: str
) -> None:
    image = registry.image()
    registry.misbehave["GET", f"/v2/{NAME}/referrers/{image}"] = answering(status, b"<html>", media_type)
    assert await client.referrers(registry.repository, image) is None
