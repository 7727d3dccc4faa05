"""The three collections of policies that a replica follows, and the one set that comes of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from sekisho.cluster.api import ApiClient
from sekisho.cluster.config import ApiConfig
from sekisho.policies import PolicySet
from sekisho.webhook.policies import ClusterPolicies
from tests.unit.cluster.collection_server import CollectionServer, line
from tests.unit.waiting import until

PLURALS = ("clusterpodpolicies", "podpolicies", "policywaivers", "imageauthorities", "imagecatalogs")
DENY: dict[str, object] = {"controls": {"privileged": {}}}
WAIVE = {"policies": ["p"], "controls": ["privileged"], "expires": "2999-01-01T00:00:00Z", "reason": "x"}
CERTIFIES = {"owner": "platform-security"}
SIGNS = {"keyless": {"issuer": "https://issuer.test", "identities": ["ci@acme.test"]}}


class Followed:
    """The collections, and what became of them."""

    def __init__(self, *, verifies_images: bool = True) -> None:
        self.verifies_images = verifies_images
        self.servers = {plural: CollectionServer() for plural in PLURALS}
        self.sets: list[PolicySet] = []
        self.versions: dict[str, str] = {}
        self.unusable: dict[str, set[str]] = {}
        self.changes = 0
        self.removed: list[tuple[str, str]] = []
        self.policies: ClusterPolicies
        self.building_seconds = 0.0

    def enforce(self, policies: PolicySet) -> None:
        """Keep a set, after as long as a large one may take."""
        began = time.monotonic()
        while time.monotonic() - began < self.building_seconds:
            pass
        self.sets.append(policies)

    def put(self, plural: str, name: str, spec: Any, generation: int = 1, namespace: str = "", uid: str = "u") -> None:
        """Make or change an object, and send the event to watches."""
        server = self.servers[plural]
        server.version += 1
        meta = {"name": name, "uid": f"{uid}-{name}", "generation": generation, "resourceVersion": str(server.version)}
        thing = {"metadata": meta | ({"namespace": namespace} if namespace else {}), "spec": spec}
        kind = "MODIFIED" if name in server.things else "ADDED"
        server.things[name] = thing
        server.send(line(kind, thing))

    def reached(self, plural: str, resource_version: str, unusable: Iterable[str], *, changed: bool) -> None:
        self.versions[plural], self.unusable[plural] = resource_version, set(unusable)
        self.changes += changed

    def titles(self, namespace: str = "shop") -> set[str]:
        """The policies that the present set asks for in a namespace."""
        steps = self.sets[-1].plan(namespace, {}, None).steps if self.sets else ()
        return {name for step in steps for requirement in step.required_by for name in requirement.policies}


@asynccontextmanager
async def following(followed: Followed) -> AsyncIterator[Followed]:
    app = web.Application()
    for plural, server in followed.servers.items():
        app.router.add_get(f"/apis/sekisho.dev/v1alpha1/{plural}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    api = ApiClient(ApiConfig(host=f"http://{host}:{port}", authorization=None, tls=False))
    followed.policies = ClusterPolicies(
        api,
        followed.enforce,
        followed.reached,
        lambda plural, title: followed.removed.append((plural, title)),
        verifies_images=followed.verifies_images,
    )
    running = asyncio.create_task(followed.policies.run())
    try:
        yield followed
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await api.close()
        await runner.cleanup()


@pytest.fixture
async def followed() -> AsyncIterator[Followed]:
    """One policy of each kind, a waiver, an authority and a catalog."""
    collections = Followed()
    collections.put("clusterpodpolicies", "p", DENY)
    collections.put("podpolicies", "own", DENY, namespace="shop")
    collections.put("policywaivers", "w", WAIVE)
    collections.put("imageauthorities", "release", SIGNS)
    collections.put("imagecatalogs", "certified", CERTIFIES)
    async with following(collections):
        await until(lambda: not collections.policies.missing and bool(collections.sets))
        yield collections


async def test_one_set_is_built_from_all_kinds(followed: Followed) -> None:
    assert len(followed.sets) == 1
    assert followed.titles() == {"p", "shop/own"}
    assert followed.titles("pay") == {"p"}
    assert [waiver.name for waiver in followed.sets[-1].waivers_of("p", "shop")] == ["w"]
    assert list(followed.sets[-1].authorities) == ["release"]
    assert list(followed.sets[-1].catalogs) == ["certified"]
    assert followed.versions == dict.fromkeys(PLURALS, "101")


async def test_no_set_is_built_before_all_kinds_are_listed() -> None:
    collections = Followed()
    collections.put("clusterpodpolicies", "p", DENY)
    collections.servers["policywaivers"].status = 503
    async with following(collections):
        await until(lambda: collections.policies.missing == "not listed yet: policywaivers")
        assert collections.sets == []
        assert collections.versions == {}
        collections.servers["policywaivers"].status = None
        await until(lambda: bool(collections.sets))
        assert len(collections.sets) == 1
        assert set(collections.versions) == set(PLURALS)


async def test_authorities_are_not_read_where_images_are_not_verified() -> None:
    collections = Followed(verifies_images=False)
    collections.put("clusterpodpolicies", "p", DENY)
    collections.put("imageauthorities", "release", SIGNS)
    collections.servers["imageauthorities"].status = 403
    async with following(collections):
        await until(lambda: bool(collections.sets))
        assert collections.titles() == {"p"}
        assert set(collections.versions) == set(PLURALS) - {"imageauthorities"}
        assert collections.servers["imageauthorities"].requests == []


@pytest.mark.parametrize("plural", PLURALS)
async def test_a_change_of_any_kind_builds_a_new_set_and_is_reported(followed: Followed, plural: str) -> None:
    await until(lambda: all(server.watchers for server in followed.servers.values()))
    spec = {"policywaivers": WAIVE, "imageauthorities": SIGNS, "imagecatalogs": CERTIFIES}.get(plural, DENY)
    followed.put(plural, "new", spec, namespace="shop" if plural == "podpolicies" else "")
    await until(lambda: len(followed.sets) == 2 and followed.versions[plural] == "102")
    assert followed.versions == {name: "102" if name == plural else "101" for name in PLURALS}


async def test_a_written_status_builds_no_new_set(followed: Followed) -> None:
    await until(lambda: all(server.watchers for server in followed.servers.values()))
    followed.put("policywaivers", "w", WAIVE)
    before = followed.changes
    await until(lambda: followed.versions["policywaivers"] == "102")
    assert len(followed.sets) == 1
    assert followed.changes == before


async def test_a_written_status_compiles_nothing(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    await until(lambda: all(server.watchers for server in followed.servers.values()))
    kept = dict(followed.policies.reflectors["podpolicies"].objects)
    followed.put("podpolicies", "own", DENY, namespace="shop")
    await until(lambda: followed.versions["podpolicies"] == "102")
    assert followed.policies.reflectors["podpolicies"].objects["shop/own"] is kept["shop/own"]
    followed.put("podpolicies", "own", DENY, generation=2, namespace="shop")
    await until(lambda: followed.versions["podpolicies"] == "103")
    assert followed.policies.reflectors["podpolicies"].objects["shop/own"] is not kept["shop/own"]
    assert len(followed.sets) == 2


async def test_policies_applied_one_by_one_cost_few_sets_when_a_set_is_large(followed: Followed) -> None:
    await until(lambda: all(server.watchers for server in followed.servers.values()))
    followed.building_seconds = 0.02
    began, sets = time.monotonic(), len(followed.sets)
    for number in range(40):
        followed.put("podpolicies", f"own-{number}", DENY, namespace="shop")
        await until(lambda: f"shop/own-{number}" in followed.policies.reflectors["podpolicies"].objects)  # noqa: B023
    await until(lambda: followed.versions["podpolicies"] == "141")
    assert followed.titles() == {"p", "shop/own", *(f"shop/own-{number}" for number in range(40))}
    assert len(followed.sets) - sets <= (time.monotonic() - began) / (4 * followed.building_seconds) + 2


async def test_a_policy_of_a_deleted_ones_name_is_another(followed: Followed) -> None:
    await until(lambda: all(server.watchers for server in followed.servers.values()))
    followed.put("podpolicies", "own", DENY, generation=2, namespace="shop")
    await until(lambda: len(followed.sets) == 2)
    assert followed.removed == []
    followed.put("podpolicies", "own", DENY, namespace="shop", uid="another")
    await until(lambda: len(followed.sets) == 3)
    assert followed.removed == [("podpolicies", "shop/own")]


async def test_an_unusable_policy_affects_no_other_and_its_last_version_stays(
    followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    await until(lambda: all(server.watchers for server in followed.servers.values()))
    followed.put("podpolicies", "own", {"enforcment": "Warn"}, generation=2, namespace="shop")
    followed.put("policywaivers", "w", WAIVE | {"match": {"images": ["acme/x"]}}, generation=2)
    followed.put("clusterpodpolicies", "q", DENY)
    await until(lambda: followed.titles() == {"p", "q", "shop/own"})
    changed = {"clusterpodpolicies", "podpolicies", "policywaivers"}
    await until(lambda: {plural for plural, version in followed.versions.items() if version == "102"} == changed)
    assert followed.unusable == {
        "clusterpodpolicies": set(),
        "podpolicies": {"shop/own"},
        "policywaivers": {"w"},
        "imageauthorities": set(),
        "imagecatalogs": set(),
    }
    assert "PolicyWaiver w cannot be enforced" in caplog.text
    assert "PodPolicy shop/own cannot be enforced" in caplog.text
    assert [waiver.name for waiver in followed.sets[-1].waivers_of("p", "shop")] == ["w"]
