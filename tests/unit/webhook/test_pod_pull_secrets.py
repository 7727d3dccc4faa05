"""The pull Secrets that pods name: whose images they are for, and what they may not change for others."""

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from sekisho.admission import NO_OBJECTS, NamespaceObjects, ServiceAccount, decode
from sekisho.images import Reference
from sekisho.images.authorities import Authority
from sekisho.images.evidence import ImageFacts, Unknown, tag_key
from sekisho.pods import LocalObjectReference, PodSpec
from sekisho.registry import decode_secret
from sekisho.registry.credentials import Entry
from sekisho.turns import Turns
from sekisho.webhook import pod_pull_secrets as module
from sekisho.webhook.evidence import EvidenceStore
from sekisho.webhook.pod_pull_secrets import PodPullSecretReader, PodPullSecrets, pull_secrets_of, pull_secrets_of_pod
from sekisho.webhook.tags import Tags
from tests.pods import container, restricted_pod
from tests.reviews import DEPLOYMENT, DEPLOYMENTS, review_body
from tests.unit.cluster.collection_server import serving as serving_api
from tests.unit.images.signing import P256, bundle, keyed, statement
from tests.unit.registry.registry_server import NAME, Registry, client_of, serving
from tests.unit.waiting import until

TEAM = PodPullSecrets("team", ("login",))
WRONG = PodPullSecrets("team", ("wrong",))
START = datetime(2026, 11, 26, 12, tzinfo=UTC)
USERS = {"bot": "hunter2"}


def secret(host: str, password: str, kind: str = "kubernetes.io/dockerconfigjson") -> dict[str, Any]:
    config = json.dumps({"auths": {host: {"username": "bot", "password": password}}})
    return {"type": kind, "data": {".dockerconfigjson": base64.b64encode(config.encode()).decode()}}


class Site:
    """A registry that requires a login, and an API server with Secrets."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.registry.scheme, self.registry.users = "basic", USERS
        self.secrets: dict[str, Mapping[str, Any]] = {}
        self.status = 404
        self.reads: list[str] = []
        self.authorities: Mapping[str, Authority] = {"release": keyed("release", P256)}
        self.now = START
        self.shared: list[ImageFacts] = []
        self.evidence: EvidenceStore
        self.tags: Tags
        self.release, self.waiting = asyncio.Event(), 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name = request.path.removeprefix("/api/v1/namespaces/").replace("/secrets", "")
        self.reads.append(name)
        if "/slow" in name:
            self.waiting += 1
            await self.release.wait()
        if name in self.secrets:
            return web.json_response(self.secrets[name])
        return web.json_response({"message": "no"}, status=self.status)

    def image(self, tag: str = "v1", *, is_signed: bool = True) -> Reference:
        digest = self.registry.push(b'{"schemaVersion":2,"layers":[]}' + b" " * len(tag), tag)
        if is_signed:
            self.registry.attach(digest, json.dumps(bundle(P256, statement(digest))).encode())
        return Reference(self.registry.host, NAME, None, digest)

    async def look(self, image: Reference, secrets: PodPullSecrets | None) -> ImageFacts | Unknown | None:
        """What a pod with these pull Secrets finds, after the look-up that it starts where it finds nothing."""
        known = self.known(image, secrets)
        if known is None:
            self.evidence.start([image], "team", secrets)
            await self.evidence.settled([image], 5, secrets)
            known = self.known(image, secrets)
        return known

    def known(self, image: Reference, secrets: PodPullSecrets | None) -> ImageFacts | Unknown | None:
        key = f"{image.registry}/{image.repository}@{image.digest}"
        return self.evidence.view(pull_secrets=secrets).get(key)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    async with serving_api(site, "/{rest:.*}") as api, serving(site.registry), client_of() as client:
        site.secrets["team/login"] = secret(site.registry.host, "hunter2")
        site.secrets["team/wrong"] = secret(site.registry.host, "guess")
        client_with = PodPullSecretReader(api, client).client_with
        site.evidence = EvidenceStore(
            client, lambda: site.authorities, lambda: site.now, client_with, lambda facts, _: site.shared.append(facts)
        )
        site.tags = Tags(client, client_with)
        yield site
        await site.evidence.close()


async def test_image_is_looked_up_with_the_pods_own_credentials(site: Site) -> None:
    known = await site.look(site.image(), TEAM)
    assert isinstance(known, ImageFacts)
    assert known.signatures
    assert site.shared == [known]


async def test_failure_counts_only_for_the_same_credentials(site: Site) -> None:
    image = site.image()
    for secrets, fix in ((None, "give Sekisho a pull secret"), (WRONG, "name a pull secret in the pod")):
        failed = await site.look(image, secrets)
        assert isinstance(failed, Unknown)
        assert "does not let acme/pay be read" in failed.reason
        assert fix in failed.fix
        assert "guess" not in failed.reason
    assert isinstance(await site.look(image, TEAM), ImageFacts)


async def test_signatures_count_for_pods_with_other_credentials(site: Site) -> None:
    image = site.image()
    known = await site.look(image, TEAM)
    assert site.known(image, WRONG) == site.known(image, None) == known


async def test_registry_that_hides_signatures_from_a_tenant_hides_them_from_nobody_else(site: Site) -> None:
    image = site.image()
    known = await site.look(image, TEAM)
    site.now += timedelta(hours=2)  # due to be looked up again
    site.registry.referrers.clear()
    site.evidence.start([image], "other", WRONG)
    site.registry.users = {"bot": "guess"}
    await site.evidence.settled([image], 5, WRONG)
    hidden = site.known(image, WRONG)
    assert isinstance(hidden, ImageFacts)
    assert not hidden.signatures
    assert site.known(image, TEAM) == known
    assert site.shared == [known]


async def test_changed_secret_counts_at_once(site: Site) -> None:
    image, other = site.image(), site.image("longer")
    site.secrets["team/login"] = secret(site.registry.host, "guess")
    assert isinstance(await site.look(image, TEAM), Unknown)
    site.secrets["team/login"] = secret(site.registry.host, "hunter2")
    assert isinstance(await site.look(other, TEAM), ImageFacts)


async def test_large_secret_is_decoded_in_a_thread(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def decode(raw: bytes) -> tuple[Entry, ...]:
        threads.append(threading.current_thread())
        return decode_secret(raw)

    monkeypatch.setattr(module, "decode_secret", decode)
    small = secret(site.registry.host, "hunter2")
    large = small | {"metadata": {"annotations": {"a": "x" * module.MAX_SMALL_BYTES}}}
    for tag, written in (("v", small), ("v2", large)):
        site.secrets["team/login"] = written
        assert isinstance(await site.look(site.image(tag), TEAM), ImageFacts)
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


async def test_pods_of_one_namespace_leave_reads_of_secrets_to_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.secrets["other/login"] = site.secrets["team/login"]
    reader = site.tags._client_with.__self__  # type: ignore[union-attr]  # noqa: SLF001
    monkeypatch.setattr(reader, "_reading", Turns(4, is_shared=True))
    flood = PodPullSecrets("team", tuple(f"slow{number}" for number in range(8)))
    task = asyncio.create_task(reader.client_with(flood))
    await until(lambda: site.waiting == 2)
    assert isinstance(await site.look(site.image(), PodPullSecrets("other", ("login",))), ImageFacts)
    assert site.waiting == 2
    site.release.set()
    await task


@pytest.mark.parametrize(
    "broken",
    [
        None,
        {"type": "Opaque", "data": {}},
        {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "!"}},
        {"type": "kubernetes.io/dockerconfigjson"},
    ],
)
async def test_secret_that_is_missing_or_broken_is_left_out(site: Site, broken: Mapping[str, Any] | None) -> None:
    site.secrets.pop("team/wrong")
    if broken is not None:
        site.secrets["team/wrong"] = broken
    both = PodPullSecrets("team", ("wrong", "login"))
    assert isinstance(await site.look(site.image(), both), ImageFacts)
    assert sorted(site.reads) == ["team/login", "team/wrong"]


@pytest.mark.parametrize(
    "name", ["../../team/secrets/login", "../../../pods?limit=500&x=", "login?x=1", "login#", "login/", "Login", ".."]
)
async def test_invalid_name_of_a_secret_is_not_another_path_of_the_api(site: Site, name: str) -> None:
    assert isinstance(await site.look(site.image(), PodPullSecrets("other", (name,))), Unknown)
    assert isinstance(await site.look(site.image(), PodPullSecrets("../namespaces/team", ("login",))), Unknown)
    assert site.reads == []
    assert isinstance(await site.look(site.image(), TEAM), ImageFacts)


async def test_secret_of_another_type_is_not_used(site: Site) -> None:
    site.secrets["team/login"] = secret(site.registry.host, "hunter2", "Opaque")
    assert isinstance(await site.look(site.image(), TEAM), Unknown)


async def test_secret_that_cannot_be_read_is_a_failure(site: Site) -> None:
    site.secrets.clear()
    site.status = 403
    known = await site.look(site.image(), TEAM)
    assert isinstance(known, Unknown)
    assert "the pod's pull Secret login cannot be read (status 403)" in known.reason


async def test_tag_is_resolved_with_the_pods_own_credentials(site: Site) -> None:
    image = site.image("v1")
    tagged = Reference(image.registry, image.repository, "v1", None)
    assert await site.tags.digests([tagged], 5, "team", WRONG) == {}
    assert await site.tags.digests([tagged], 5, "team", TEAM) == {tagged: image.digest}
    assert site.tags.known(tagged, WRONG) is None
    assert site.tags.unknown(tag_key(tagged), WRONG) is not None


POD = restricted_pod(container("app", image="x"))


def test_pull_secrets_are_those_of_the_pod() -> None:
    pod = {
        "metadata": {},
        "spec": POD["spec"] | {"imagePullSecrets": [{"name": "b"}, {}, {"name": "a"}, {"name": "b"}]},
    }
    review = decode(review_body(pod, namespace="team"))
    assert pull_secrets_of(review, lambda *_: NO_OBJECTS) == PodPullSecrets("team", ("b", "a"))


def test_pod_without_pull_secrets_has_none() -> None:
    account = ServiceAccount(image_pull_secrets=(LocalObjectReference("login"),))
    objects = NamespaceObjects((), {"default": account})
    assert pull_secrets_of(decode(review_body(POD)), lambda *_: objects) is None


def test_template_has_those_of_its_service_account() -> None:
    template = {"metadata": {"name": "x"}, "spec": {"template": POD}}
    review = decode(review_body(template, namespace="team", kind=DEPLOYMENT, resource=DEPLOYMENTS))
    account = ServiceAccount(image_pull_secrets=(LocalObjectReference("login"),))
    objects = NamespaceObjects((), {"default": account})
    assert pull_secrets_of(review, lambda *_: objects) == TEAM
    assert pull_secrets_of(review, lambda *_: NO_OBJECTS) is None


@pytest.mark.parametrize(("name", "is_kept"), [("x" * 253, True), ("x" * 254, False), ("a/b", False)])
def test_name_that_no_secret_can_have_is_not_a_pull_secret(name: str, is_kept: bool) -> None:
    spec = PodSpec(image_pull_secrets=[LocalObjectReference(name)])
    assert pull_secrets_of_pod("team", spec) == (PodPullSecrets("team", (name,)) if is_kept else None)
