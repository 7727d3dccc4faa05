"""The hourly refresh of what runs: which images are looked up again, by whom, and with which credentials."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from aiohttp import web

from sekisho.images.evidence import ImageFacts, Signature
from sekisho.policies.image_evidence import name_of, shared
from sekisho.webhook.evidence import EvidenceStore
from sekisho.webhook.evidence_refresh import EvidenceRefresh
from sekisho.webhook.shared_evidence import SharedEvidence
from tests.unit.cluster.collection_server import serving as serving_api
from tests.unit.images.signing import P256, bundle, keyed, statement
from tests.unit.registry.registry_server import NAME, Registry, client_of, serving
from tests.unit.waiting import until
from tests.unit.webhook.test_shared_evidence import EvidenceServer, running

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
RELEASE = "sekisho-system"
LONG_AGO, RECENTLY = NOW - timedelta(hours=1), NOW - timedelta(minutes=10)


class Site:
    """A registry, and an API server with pods and with what was found about their images."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.server = EvidenceServer()
        self.pods: list[Any] = []
        self.page_requests: list[str] = []
        self.refresh: EvidenceRefresh

    def image(self, text: str, looked_up: datetime | None) -> str:
        """A signed image, and its evidence unless nobody has looked it up."""
        digest = self.registry.push(b'{"schemaVersion":2,"layers":[]}' + b" " * len(text))
        self.registry.attach(digest, json.dumps(bundle(P256, statement(digest))).encode())
        repository = f"{self.registry.host}/{NAME}"
        facts = ImageFacts(repository, digest, (Signature("release", "01" * 32),), looked_up=looked_up)
        if looked_up is not None:
            spec = shared(facts, looked_up)
            self.server.place(name_of(facts, RELEASE), msgspec.to_builtins(spec), {"sekisho.dev/release": RELEASE})
        return f"{repository}@{digest}"

    def run(self, **spec: Any) -> None:
        self.pods.append({"metadata": {"name": "x", "namespace": "team"}, "spec": spec})

    def looked_up(self) -> set[str]:
        """The images that the registry was asked about."""
        asked = [one.path for one in self.registry.requests if "/referrers/" in one.path]
        return {f"{self.registry.host}/{NAME}@{path.rpartition('/')[2]}" for path in asked}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/api/v1/pods":
            return await self.server.handle(request)
        self.page_requests.append(request.query.get("fieldSelector", ""))
        return web.json_response({"metadata": {}, "items": self.pods})


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    authorities = {"release": keyed("release", P256)}
    async with serving_api(site, "/{rest:.*}") as api, serving(site.registry), client_of() as client:
        evidence = EvidenceStore(client, lambda: authorities, lambda: NOW)
        sharing = SharedEvidence(api, RELEASE, lambda: NOW, evidence.offer)
        site.refresh = EvidenceRefresh(api, RELEASE, "one", evidence, sharing, lambda: NOW, uses_pod_secrets=False)
        async with running(sharing.reflector.run()):
            yield site
            await evidence.close()


async def test_only_what_runs_and_is_not_recent_is_looked_up_again(site: Site) -> None:
    old = [site.image(text, LONG_AGO) for text in ("a", "ab", "abc")]
    recent, unknown = site.image("abcd", RECENTLY), site.image("abcde", None)
    stopped = site.image("abcdef", LONG_AGO)
    site.run(containers=[{"name": "a", "image": old[0]}, {"name": "b", "image": recent}])
    site.run(initContainers=[{"name": "a", "image": old[1]}], ephemeralContainers=[{"name": "b", "image": old[2]}])
    site.run(containers=[{"name": "a", "image": unknown}, {"name": "b", "image": "not/../valid"}, {"name": "c"}])
    site.run(containers=[{"name": "a", "image": old[0].partition("@")[0]}])
    await site.refresh.refresh()
    assert site.looked_up() == set(old)
    assert stopped not in site.looked_up()
    assert site.page_requests == ["status.phase!=Succeeded,status.phase!=Failed"]


async def test_image_of_a_slow_registry_does_not_hold_up_the_others(site: Site) -> None:
    slow, *others = [site.image("x" * number, LONG_AGO) for number in (1, 2, 3)]
    reached, release = asyncio.Event(), asyncio.Event()
    path = f"/v2/{NAME}/referrers/{slow.partition('@')[2]}"

    async def wait(request: web.Request) -> web.StreamResponse:
        reached.set()
        await release.wait()
        del site.registry.misbehave["GET", path]
        return await site.registry.handle(request)

    site.registry.misbehave["GET", path] = wait
    for image in (slow, *others):
        site.run(containers=[{"name": "a", "image": image}])
    refreshing = asyncio.create_task(site.refresh.refresh())
    await reached.wait()
    await until(lambda: site.looked_up() == {slow, *others})
    assert not refreshing.done()
    release.set()
    await refreshing


async def test_image_of_many_pods_is_looked_up_once(site: Site) -> None:
    image = site.image("a", LONG_AGO)
    for _ in range(3):
        site.run(containers=[{"name": "a", "image": image}])
    await site.refresh.refresh()
    assert sum("/referrers/" in one.path for one in site.registry.requests) == 1
