"""From a denied object to the owner that its user knows."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from sekisho.cluster import owners as module
from sekisho.cluster.api import ApiClient, ApiError
from sekisho.cluster.owners import ObjectReference, Owners, controller_in
from sekisho.pods import OwnerReference
from tests.unit.cluster.collection_server import serving

NAMESPACE = "/apis/{}/namespaces/ns/{}"


def reference(kind: str, name: str, uid: str = "", version: str = "apps/v1") -> ObjectReference:
    return ObjectReference(version, kind, name, "ns", uid)


class Objects:
    """Objects by path, each with its uid and its controller."""

    def __init__(self) -> None:
        self.meta: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.status = 0

    def put(self, path: str, uid: str, *controllers: tuple[str, str, str]) -> None:
        owners = [
            {"apiVersion": version, "kind": kind, "name": name, "uid": f"uid-{name}", "controller": True}
            for version, kind, name in controllers
        ]
        self.meta[path] = {"uid": uid, "ownerReferences": owners}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        assert "as=PartialObjectMetadata;" in request.headers["Accept"]
        meta = self.meta.get(request.path)
        if self.status or meta is None:
            return web.json_response({"reason": "No", "message": "no"}, status=self.status or 404)
        return web.json_response({"metadata": meta})


@pytest.fixture
def objects() -> Objects:
    objects = Objects()
    objects.put("/apis/apps/v1/namespaces/ns/replicasets/web-1", "r", ("apps/v1", "Deployment", "web"))
    objects.put("/apis/batch/v1/namespaces/ns/jobs/tick-1", "j", ("batch/v1", "CronJob", "tick"))
    objects.put("/apis/batch/v1/namespaces/ns/jobs/alone", "j")
    objects.put("/apis/apps/v1/namespaces/ns/replicasets/roll-1", "r", ("argoproj.io/v1alpha1", "Rollout", "roll"))
    return objects


@pytest.fixture
async def api(objects: Objects) -> AsyncIterator[ApiClient]:
    async with serving(objects, "/{path:.*}") as client:
        yield client


@pytest.mark.parametrize(
    ("owner", "top"),
    [
        (reference("ReplicaSet", "web-1", "r"), reference("Deployment", "web", "uid-web")),
        (reference("Job", "tick-1", "j", "batch/v1"), reference("CronJob", "tick", "uid-tick", "batch/v1")),
        (reference("ReplicaSet", "roll-1", "r"), reference("Rollout", "roll", "uid-roll", "argoproj.io/v1alpha1")),
        (reference("Job", "alone", "j", "batch/v1"), reference("Job", "alone", "j", "batch/v1")),
        (reference("ReplicaSet", "gone", "g"), reference("ReplicaSet", "gone", "g")),
        (reference("ReplicaSet", "web-1", "another"), reference("ReplicaSet", "web-1", "another")),
    ],
)
async def test_chain_of_controllers_is_followed_to_its_top(
    api: ApiClient, owner: ObjectReference, top: ObjectReference
) -> None:
    assert await Owners(api).top(owner) == top


@pytest.mark.parametrize(
    "owner",
    [
        reference("StatefulSet", "db"),
        reference("DaemonSet", "agent"),
        reference("Widget", "w", "u", "example.com/v1"),
        reference("ReplicaSet", "web-1"),
        reference("ReplicaSet", "../../../secrets/s", "u"),
        reference("ReplicaSet", "web-1/status", "u"),
        reference("ReplicaSet", "a" * 300, "u"),
        reference("ReplicaSet", "", "u"),
        reference("ReplicaSet", "web-1", "r", "extensions/v1beta1"),
    ],
)
async def test_other_owners_are_taken_from_the_reference_without_a_request(
    api: ApiClient, objects: Objects, owner: ObjectReference
) -> None:
    assert await Owners(api).top(owner) == owner
    assert objects.requests == []


async def test_circle_of_owners_ends(api: ApiClient, objects: Objects) -> None:
    objects.put("/apis/apps/v1/namespaces/ns/replicasets/a", "uid-a", ("apps/v1", "ReplicaSet", "b"))
    objects.put("/apis/apps/v1/namespaces/ns/replicasets/b", "uid-b", ("apps/v1", "ReplicaSet", "a"))
    assert (await Owners(api).top(reference("ReplicaSet", "a", "uid-a"))).kind == "ReplicaSet"
    assert len(objects.requests) <= 4


async def test_answer_is_cached_and_requested_once_at_a_time(api: ApiClient, objects: Objects) -> None:
    owners = Owners(api)
    owner = reference("ReplicaSet", "web-1", "r")
    tops = await asyncio.gather(*(owners.top(owner) for _ in range(20)))
    assert {top.name for top in tops} == {"web"}
    await owners.top(owner)
    assert len(objects.requests) == 1


async def test_cache_is_bounded(api: ApiClient, objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 2)
    owners = Owners(api)
    for name in ("web-1", "roll-1"):
        await owners.top(reference("ReplicaSet", name, "r"))
    await owners.top(reference("Job", "alone", "j", "batch/v1"))
    assert len(objects.requests) == 3
    await owners.top(reference("ReplicaSet", "roll-1", "r"))
    assert len(objects.requests) == 3
    await owners.top(reference("ReplicaSet", "web-1", "r"))
    assert len(objects.requests) == 4


async def test_failed_look_up_is_tried_again(api: ApiClient, objects: Objects) -> None:
    owners = Owners(api)
    owner = reference("ReplicaSet", "web-1", "r")
    for status in (403, 503):
        objects.status = status
        with pytest.raises(ApiError):
            await owners.top(owner)
    objects.status = 0
    assert (await owners.top(owner)).name == "web"


def test_controller_is_the_reference_that_says_so() -> None:
    plain = OwnerReference("v1", "ConfigMap", "c", "1")
    node = OwnerReference("v1", "Node", "n", "2", True)
    owner = OwnerReference("apps/v1", "ReplicaSet", "r", "3", True)
    assert controller_in("ns", [plain, owner]) == ObjectReference("apps/v1", "ReplicaSet", "r", "ns", "3")
    assert controller_in("ns", [plain, node]) is None
    assert controller_in("ns", None) is None
