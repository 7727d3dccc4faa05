"""LimitRanges and ServiceAccounts, from the reflectors to what is known of a template's namespace."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from sekisho.admission import NO_OBJECTS, LimitRange, ServiceAccount
from sekisho.cluster.api import ApiClient
from sekisho.cluster.config import ApiConfig
from sekisho.pods import Pod, PodSpec
from sekisho.webhook.namespace_objects import (
    LIMIT_RANGES,
    SERVICE_ACCOUNTS,
    ClusterObjects,
    decode_limit_range,
    decode_service_account,
)

MANY, MAX_BYTES = 10_000, 12 << 20


def limit_range(namespace: str, name: str, cpu: str) -> dict[str, object]:
    limits = [{"type": "Container", "default": {"cpu": cpu}}]
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"limits": limits}}


COLLECTIONS: dict[str, list[dict[str, object]]] = {
    LIMIT_RANGES: [limit_range("team", "b", "2"), limit_range("other", "c", "3"), limit_range("team", "a", "1")],
    SERVICE_ACCOUNTS: [
        {"metadata": {"namespace": "team", "name": "default"}},
        {"metadata": {"namespace": "team", "name": "robot"}, "automountServiceAccountToken": False},
    ],
}


async def serve(request: web.Request) -> web.StreamResponse:
    if "watch" in request.query:
        await asyncio.Event().wait()
    return web.json_response({"metadata": {"resourceVersion": "1"}, "items": COLLECTIONS[request.path]})


@pytest.fixture
async def objects() -> AsyncIterator[ClusterObjects]:
    app = web.Application()
    for path in COLLECTIONS:
        app.router.add_get(path, serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api = ApiClient(ApiConfig(host=f"http://127.0.0.1:{runner.addresses[0][1]}", authorization=None, tls=False))
    objects = ClusterObjects(api)
    tasks = [asyncio.create_task(reflector.run()) for reflector in (objects.limit_ranges, objects.service_accounts)]
    async with asyncio.timeout(10):
        await objects.limit_ranges.wait_synced()
        await objects.service_accounts.wait_synced()
    yield objects
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await api.close()
    await runner.cleanup()


async def test_a_pod_gets_the_limit_ranges_of_its_namespace_in_the_order_of_their_names(
    objects: ClusterObjects,
) -> None:
    known = objects.for_pod("team", Pod())
    assert known.limit_ranges == (
        LimitRange("a", {"cpu": "1"}, {"cpu": "1"}),
        LimitRange("b", {"cpu": "2"}, {"cpu": "2"}),
    )


async def test_a_pod_gets_its_own_service_account(objects: ClusterObjects) -> None:
    robot = Pod(spec=PodSpec(service_account_name="robot"))
    assert objects.for_pod("team", robot).service_accounts == {"robot": ServiceAccount(False)}
    assert objects.for_pod("team", Pod()).service_accounts == {}


async def test_the_older_name_of_the_service_account_counts(objects: ClusterObjects) -> None:
    robot = Pod(spec=PodSpec(service_account="robot"))
    assert objects.for_pod("team", robot).service_accounts == {"robot": ServiceAccount(False)}


async def test_nothing_is_known_of_a_namespace_without_objects(objects: ClusterObjects) -> None:
    assert objects.for_pod("elsewhere", Pod(spec=PodSpec(service_account_name="robot"))) == NO_OBJECTS


def test_null_is_the_same_as_unset() -> None:
    empty = json.dumps({"metadata": {"name": "a"}, "spec": {"limits": None}}).encode()
    assert decode_limit_range(empty) == LimitRange("a")
    unset = json.dumps({"metadata": {"name": "a"}, "automountServiceAccountToken": None}).encode()
    assert decode_service_account(unset) is None


def test_only_accounts_without_a_token_are_kept() -> None:
    def decoded(setting: str) -> ServiceAccount | None:
        return decode_service_account(b'{"metadata":{"name":"a"}%s}' % setting.encode())

    assert decoded("") is decoded(',"automountServiceAccountToken":true') is None
    without = decoded(',"automountServiceAccountToken":false')
    assert without == ServiceAccount(False)
    assert without is decoded(',"automountServiceAccountToken":false')


def test_ten_thousand_of_each_need_little_memory() -> None:
    kept: dict[str, object] = {}
    limits = {"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}
    tracemalloc.start()
    try:
        for index in range(MANY):
            limited = {"metadata": {"name": "limits"}, "spec": {"limits": [limits | {"max": {"cpu": f"{index}"}}]}}
            account = {"metadata": {"name": "a"}, "automountServiceAccountToken": False}
            kept[f"team-{index}/limits"] = decode_limit_range(json.dumps(limited).encode())
            kept[f"team-{index}/account"] = decode_service_account(json.dumps(account).encode())
        assert tracemalloc.get_traced_memory()[0] < MAX_BYTES
    finally:
        tracemalloc.stop()
