"""The keeper of policy status, against a server that counts what is written."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from sekisho.cluster.api import ApiClient
from sekisho.cluster.config import ApiConfig
from sekisho.cluster.lease import micro_time
from sekisho.cluster.replicas import COMPONENT, LABEL, VERSION_ANNOTATION
from sekisho.operator.metrics import Metrics
from sekisho.operator.policies import BATCH, StatusKeeper

Json = dict[str, Any]


class Server:
    """Policies and one replica's Lease, as the API server has them."""

    def __init__(self) -> None:
        self.version = 1000
        self.policies: dict[str, Json] = {}
        self.leases: list[Json] = [self._lease("a", datetime.now(UTC))]
        self.refused: set[str] = set()
        self.writes: list[str] = []
        self.conflicts = 0
        self.happened = asyncio.Event()

    def _lease(self, name: str, renewed: datetime) -> Json:
        annotations = {VERSION_ANNOTATION: "999999"}
        return {
            "metadata": {"name": f"sekisho-webhook-{name}", "labels": {LABEL: COMPONENT}, "annotations": annotations},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 30, "renewTime": micro_time(renewed)},
        }

    def abandon_a_lease(self) -> None:
        self.leases.append(self._lease("dead", datetime.fromtimestamp(0, UTC)))

    def make(self, name: str) -> Json:
        self.version += 1
        metadata = {"name": name, "uid": f"u-{name}", "generation": 1, "resourceVersion": str(self.version)}
        self.policies[name] = {"metadata": metadata, "spec": {}}
        return dict(self.policies[name])

    def touch(self, name: str) -> Json:
        """A newer version of a policy, with a label, say."""
        self.version += 1
        policy = self.policies[name]
        policy["metadata"] = {**policy["metadata"], "resourceVersion": str(self.version)}
        return dict(policy)

    async def list_or_watch(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            await asyncio.Event().wait()
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": self.leases})

    async def remove(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.leases = [lease for lease in self.leases if lease["metadata"]["name"] != name]
        self.happened.set()
        return web.json_response({})

    async def write(self, request: web.Request) -> web.Response:
        self.happened.set()
        name, patch = request.match_info["name"], await request.json()
        if name not in self.policies:
            return _refused(404)
        if name in self.refused:
            return _refused(422)
        if patch["metadata"]["resourceVersion"] != self.policies[name]["metadata"]["resourceVersion"]:
            self.conflicts += 1
            return _refused(409)
        self.writes.append(name)
        return web.json_response({**self.touch(name), "status": patch["status"]})

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 5.0
        while not condition():
            self.happened.clear()
            async with asyncio.timeout(deadline - time.monotonic()):
                await self.happened.wait()


def _refused(status: int) -> web.Response:
    return web.json_response({"reason": "Refused", "message": "refused"}, status=status)


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def keeper(server: Server) -> AsyncIterator[StatusKeeper]:
    app = web.Application()
    leases = "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
    app.router.add_get(leases, server.list_or_watch)
    app.router.add_delete(leases + "/{name}", server.remove)
    app.router.add_patch("/apis/sekisho.dev/v1alpha1/clusterpodpolicies/{name}/status", server.write)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    api = ApiClient(ApiConfig(host=f"http://{host}:{port}", authorization=None, tls=False))
    keeper = StatusKeeper(api, "ns", Metrics())
    running = asyncio.create_task(keeper.run())
    yield keeper
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await api.close()
    await runner.cleanup()


async def test_each_status_is_written_once(server, keeper):
    names = [f"p-{i}" for i in range(3 * BATCH)]
    for name in names:
        keeper.changed(server.make(name))
    await server.wait_until(lambda: len(server.writes) >= len(names))
    keeper.changed(server.make("last"))
    await server.wait_until(lambda: "last" in server.writes)
    assert sorted(server.writes) == sorted([*names, "last"])


async def test_policies_that_cannot_be_written_do_not_hold_up_the_others(server, keeper, caplog, monkeypatch):
    monkeypatch.setattr("sekisho.operator.policies._RETRY_SECONDS", 0.01)
    server.refused = {f"bad-{i}" for i in range(2 * BATCH)}
    for name in sorted(server.refused):
        keeper.changed(server.make(name))
    for i in range(2 * BATCH):
        keeper.changed(server.make(f"good-{i}"))
    await server.wait_until(lambda: len(server.writes) == 2 * BATCH)
    assert all(name.startswith("good") for name in server.writes)
    assert "refused" in caplog.text


async def test_a_policy_that_changed_meanwhile_is_written_when_the_change_arrives(server, keeper):
    stale = server.make("p")
    newer = server.touch("p")
    keeper.changed(stale)
    await server.wait_until(lambda: server.conflicts > 0)
    assert server.writes == []
    keeper.changed(newer)
    await server.wait_until(lambda: server.writes == ["p"])


async def test_a_policy_that_is_gone_is_forgotten(server, keeper):
    keeper.changed(server.make("p"))
    del server.policies["p"]
    keeper.changed(server.make("q"))
    await server.wait_until(lambda: server.writes == ["q"])
    keeper.deleted(server.policies["q"])
    keeper.changed(server.make("r"))
    await server.wait_until(lambda: server.writes == ["q", "r"])


async def test_the_lease_of_a_replica_that_died_long_ago_is_removed(server, keeper):
    server.abandon_a_lease()
    keeper.changed(server.make("p"))
    await server.wait_until(lambda: len(server.leases) == 1 and server.writes == ["p"])
    assert server.leases[0]["spec"]["holderIdentity"] == "a"
