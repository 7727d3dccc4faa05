"""What clients of registries share: who may send requests, and where large answers are decoded."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import pytest
from aiohttp import web
from msgspec import Struct

from sekisho.registry import Failure, RegistryClient, RegistryError, Settings, Shares, http
from sekisho.registry import client as client_module
from sekisho.registry import connections as module
from sekisho.registry.client import MAX_SMALL_BLOB_BYTES
from sekisho.registry.http import MAX_SMALL_BYTES
from sekisho.registry.manifests import (
    MAX_LISTS,
    MAX_QUOTES,
    MAX_VALUES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    ImageManifest,
    decode_manifest,
)
from sekisho.turns import Turns
from tests.unit.registry.registry_server import LOOPBACK, NAME, TRUST, Registry, client_of, digest_of, serving
from tests.unit.registry.test_registry_client import answering, fails
from tests.unit.waiting import until


class Stuck(Struct):
    """How many requests wait for an answer that does not come before `release`."""

    waiting: int = 0
    release: asyncio.Event | None = None

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        assert self.release is not None
        self.waiting += 1
        await self.release.wait()
        return web.Response(headers={"Docker-Content-Digest": digest_of(b"")})


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with client_of() as client:
        yield client


@pytest.fixture
async def slow() -> AsyncIterator[tuple[Registry, Stuck]]:
    """A registry that does not answer questions about the tag `slow`, and answers others."""
    registry, stuck = Registry(), Stuck(release=asyncio.Event())
    registry.misbehave["HEAD", f"/v2/{NAME}/manifests/slow"] = stuck
    async with serving(registry):
        yield registry, stuck


async def ask(client: RegistryClient, registry: Registry, tag: str) -> str:
    return await client.digest(registry.repository, tag)


@pytest.mark.parametrize("has_own_secrets", [False, True])
async def test_slow_registry_of_one_namespace_does_not_hold_up_another_registry(
    client: RegistryClient, slow: tuple[Registry, Stuck], monkeypatch: pytest.MonkeyPatch, has_own_secrets: bool
) -> None:
    monkeypatch.setattr(client._connections, "requests", Shares(4, 4))  # noqa: SLF001
    registry, stuck = slow
    flood = [client.with_credentials(lambda *_: ()) if has_own_secrets else client for _ in range(8)]
    tasks = [asyncio.create_task(ask(one.acting_for("flood"), registry, "slow")) for one in flood]
    await until(lambda: stuck.waiting == 2)
    async with serving(other := Registry()):
        digest = other.image("1.2")
        assert await ask(client.acting_for("team"), other, "1.2") == digest
    assert stuck.waiting == 2
    assert stuck.release is not None
    stuck.release.set()
    await asyncio.gather(*tasks)
    assert not client._connections.requests._work  # noqa: SLF001 - nothing stays of a registry that is not asked


async def test_namespace_leaves_requests_to_a_slow_registry_to_others(
    client: RegistryClient, slow: tuple[Registry, Stuck], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client._connections, "requests", Shares(module.MAX_REQUESTS_IN_ALL, 4))  # noqa: SLF001
    registry, stuck = slow
    digest = registry.image("1.2")
    flood = client.acting_for("flood")
    tasks = [asyncio.create_task(ask(flood, registry, "slow")) for _ in range(8)]
    await until(lambda: stuck.waiting == 2)
    assert await ask(client.acting_for("team"), registry, "1.2") == digest
    assert stuck.release is not None
    stuck.release.set()
    await asyncio.gather(*tasks)


async def test_namespaces_on_a_slow_registry_leave_requests_to_another() -> None:
    connections, held = module.Connections(Settings((LOOPBACK,), TRUST, {})), Counter[str]()

    async def hold(namespace: str) -> None:
        async with connections.requests.turn("slow", namespace):
            held[namespace] += 1
            await asyncio.Event().wait()

    names = [f"busy-{number}" for number in range(32)]
    tasks = [asyncio.create_task(hold(name)) for name in names for _ in range(module.MAX_REQUESTS)]
    await until(lambda: len(held) == len(names))
    async with asyncio.timeout(20), connections.requests.turn("slow", "team"):
        assert held.total() < module.MAX_REQUESTS_TO_REGISTRY
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await connections.close()


async def test_slow_registries_leave_requests_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REQUESTS_IN_ALL", 8)
    monkeypatch.setattr(module, "MAX_REQUESTS_TO_REGISTRY", 4)
    connections, held = module.Connections(Settings((LOOPBACK,), TRUST, {})), list[str]()

    async def hold(registry: str, namespace: str) -> None:
        async with connections.requests.turn(registry, namespace):
            held.append(registry)
            await asyncio.Event().wait()

    flood = [(registry, f"{registry}-{number}") for registry in ("slow-a", "slow-b") for number in range(4)]
    tasks = [asyncio.create_task(hold(*one)) for one in flood]
    await until(lambda: len(held) >= 6)
    async with asyncio.timeout(20), connections.requests.turn("other", "team"):
        assert held == ["slow-a"] * 4 + ["slow-b"] * 2
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await connections.close()


def index_of(size: int) -> bytes:
    """An index with `size` descriptors, as clients write them."""
    notes = {"org.opencontainers.image.created": "2026-11-26T12:00:00Z"}
    one = {"mediaType": OCI_MANIFEST, "digest": digest_of(b""), "size": 900, "annotations": notes}
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [one] * size}).encode()


async def test_large_index_is_decoded_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def decode(content: bytes, media_type: str, name: str) -> ImageManifest:
        threads.append(threading.current_thread())
        return decode_manifest(content, media_type, name)

    monkeypatch.setattr(client_module, "decode_manifest", decode)
    async with serving(registry := Registry()), client_of() as client:
        for size in (1, 1000):
            registry.push(index_of(size), f"index-{size}", media_type=OCI_INDEX)
            registry.misbehave["GET", f"/v2/{NAME}/referrers/{size}"] = answering(200, index_of(size), OCI_INDEX)
            assert len((await client.manifest(registry.repository, f"index-{size}")).manifest.manifests or ()) == size
            listed = await client.referrers(registry.repository, str(size))
            assert listed is not None
            assert len(listed.descriptors) + listed.omitted == size
    assert [thread is threading.main_thread() for thread in threads] == [True, True, False, False]


BOMBS = {
    "objects": ["{}"] * MAX_VALUES,
    "numbers": ["0"] * MAX_VALUES,
    "lists": ["[" * 100 + "]" * 100] * (MAX_LISTS // 100 + 1),
    "members": ["{" + ",".join(f'"{number:x}":0' for number in range(MAX_VALUES)) + "}"],
}


@pytest.mark.parametrize("kind", BOMBS)
async def test_index_with_too_many_values_is_not_decoded(client: RegistryClient, kind: str) -> None:
    async with serving(registry := Registry()):
        texts = BOMBS[kind]
        for values, is_read in ((texts, False), (texts[:1], kind != "members")):
            text = b'{"schemaVersion":2,"manifests":[],"x":[' + ",".join(values).encode() + b"]}"
            registry.push(text, "index", media_type=OCI_INDEX)
            if is_read:
                await client.manifest(registry.repository, "index")
            else:
                read = lambda: client.manifest(registry.repository, "index")  # noqa: E731
                maximum = f"{MAX_LISTS:,} lists" if kind == "lists" else f"{MAX_VALUES:,} values"
                await fails(Failure.INVALID, read, f"has more than {maximum}")


@pytest.mark.parametrize("text", ["[" * (MAX_LISTS + 1), "," * (MAX_VALUES + 1), '\\"{' * (MAX_VALUES + 1)])
def test_brackets_and_commas_in_annotations_are_not_counted(text: str) -> None:
    one = {"digest": digest_of(b""), "size": 0, "annotations": {"note": text, "\\": text}}
    index = decode_manifest(json.dumps({"schemaVersion": 2, "manifests": [one, one]}).encode(), OCI_INDEX, "it")
    assert len(index.manifests or ()) == 2


def test_texts_are_counted() -> None:
    text = (
        json.dumps({"schemaVersion": 2, "x": "," * (MAX_VALUES + 1)}).encode()[:-1] + b'""' * (MAX_QUOTES // 2) + b"}"
    )
    with pytest.raises(RegistryError, match="values"):
        decode_manifest(text, OCI_INDEX, "it")


def test_descriptors_keep_only_what_is_read() -> None:
    notes = {"dev.sigstore.bundle.predicateType": "p" * 100_000, "org.opencontainers.image.created": "c" * 100_000}
    signatures = {"dev.cosignproject.cosign/signature": "s" * 100_000, "dev.sigstore.cosign/certificate": "x" * 100_000}
    one = {
        "digest": "d" * 100_000,
        "size": 1,
        "mediaType": "m" * 100_000,
        "annotations": notes | signatures | {"a": "b"},
    }
    text = json.dumps({"schemaVersion": 2, "layers": [one], "annotations": notes}).encode()
    manifest = decode_manifest(text, OCI_MANIFEST, "it")
    (layer,) = manifest.layers or ()
    assert layer.annotations is not None
    kept = [layer.digest, layer.media_type, layer.annotations.predicate_type, layer.annotations.created]
    kept += [layer.annotations.signature or "", layer.annotations.certificate or "", manifest.predicate_type]
    assert sum(map(len, kept)) < 10_000


def test_platform_cannot_control_a_terminal() -> None:
    one = {"mediaType": OCI_MANIFEST, "digest": digest_of(b""), "size": 0}
    platforms = [{"os": "\x1b[2K\n\u202e", "architecture": "amd64"}, {"os": "linux", "architecture": "amd64"}]
    text = json.dumps({"schemaVersion": 2, "manifests": [one | {"platform": platform} for platform in platforms]})
    index = decode_manifest(text.encode(), OCI_INDEX, "it")
    assert [listed.platform for listed in index.manifests or ()] == ["\\x1b[2K\\n\\u202e/amd64", "linux/amd64"]


async def test_few_large_answers_are_held_at_the_same_time(client: RegistryClient) -> None:
    connections = client._connections  # noqa: SLF001
    connections.large = Turns(1, is_shared=True)
    async with serving(registry := Registry()), AsyncExitStack() as held:
        registry.push(index_of(1), "small", media_type=OCI_INDEX)
        registry.push(index_of(1000), "large", media_type=OCI_INDEX)
        await held.enter_async_context(connections.large.turn("other"))
        reading = asyncio.create_task(client.manifest(registry.repository, "large"))
        await until(lambda: connections.large.waiting)
        await client.manifest(registry.repository, "small")
        assert not reading.done()
        await held.aclose()
        assert len((await reading).manifest.manifests or ()) == 1000


async def test_large_answer_waits_while_the_thread_works_and_small_ones_do_not(
    client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_WAIT_SECONDS", 60.0)
    registry, may_end, has_begun = Registry(), threading.Event(), asyncio.Event()
    content, digest = bytes(MAX_SMALL_BLOB_BYTES), registry.image("1.2")

    async def by_parts(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: 2 * MAX_SMALL_BYTES])
        has_begun.set()
        await response.write(content[2 * MAX_SMALL_BYTES :])
        return response

    registry.misbehave["GET", f"/v2/{NAME}/blobs/{digest_of(content)}"] = by_parts
    async with serving(registry):
        work = asyncio.create_task(client.worker.run("team", partial(may_end.wait, 60.0)))
        layer = Descriptor(digest=digest_of(content), size=len(content))
        large = asyncio.create_task(client.blob(registry.repository, layer))
        await has_begun.wait()
        for _ in range(5):
            assert await ask(client, registry, "1.2") == digest
        assert not large.done()
        may_end.set()
        assert await large == content
        await work


async def test_large_layer_is_not_requested_while_the_thread_works(
    client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_WAIT_SECONDS", 60.0)
    registry, may_end = Registry(), threading.Event()
    small, large = bytes(MAX_SMALL_BLOB_BYTES), bytes(MAX_SMALL_BLOB_BYTES + 1)
    registry.blobs = {digest_of(content): content for content in (small, large)}

    async def read(content: bytes) -> None:
        layer = Descriptor(digest=digest_of(content), size=len(content))
        assert await client.blob(registry.repository, layer) == content

    async with serving(registry):
        work = asyncio.create_task(client.worker.run("team", partial(may_end.wait, 60.0)))
        await asyncio.sleep(0)
        reading = asyncio.create_task(read(large))
        await read(small)
        assert [request.path for request in registry.requests] == [f"/v2/{NAME}/blobs/{digest_of(small)}"]
        may_end.set()
        await reading
        await work
