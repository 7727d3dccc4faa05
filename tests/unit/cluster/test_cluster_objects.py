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
from sekisho.cluster.namespace_objects import (
    LIMIT_RANGES,
    MAX_LIMIT_RANGE_LENGTH,
    MAX_LIMIT_RANGES,
    SERVICE_ACCOUNTS,
    ClusterObjects,
    decode_limit_range,
    decode_service_account,
)
from sekisho.pods import Pod, PodSpec
from tests.unit.waiting import until

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


class Changes:
    """What the watch of LimitRanges tells, one after another."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()

    def add(self, kind: str, thing: dict[str, object]) -> None:
        self.lines.put_nowait(json.dumps({"type": kind, "object": thing}).encode() + b"\n")


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
async def objects(changes: Changes) -> AsyncIterator[ClusterObjects]:
    async def serve(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": COLLECTIONS[request.path]})
        answer = web.StreamResponse()
        await answer.prepare(request)
        while request.path == LIMIT_RANGES:
            await answer.write(await changes.lines.get())
        await asyncio.Event().wait()
        return answer

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


async def test_what_one_namespace_can_make_the_webhook_keep_is_bounded(
    objects: ClusterObjects, changes: Changes, caplog: pytest.LogCaptureFixture
) -> None:
    kept = objects.limit_ranges.objects
    names = [f"r{index:03}" for index in range(MAX_LIMIT_RANGES + 5)]
    for name in names:
        changes.add("ADDED", limit_range("full", name, "1"))
    changes.add("ADDED", limit_range("beside", "r", "1"))
    await until(lambda: "beside/r" in kept)
    assert [key for key in kept if key.startswith("full/")] == [f"full/{name}" for name in names[:MAX_LIMIT_RANGES]]
    left_out = names[MAX_LIMIT_RANGES]
    assert f"full/{left_out} is left out, as its namespace has more than {MAX_LIMIT_RANGES}" in caplog.text
    changes.add("MODIFIED", limit_range("full", names[1], "2"))
    changes.add("DELETED", limit_range("full", names[0], "1"))
    changes.add("MODIFIED", limit_range("full", left_out, "1"))
    await until(lambda: f"full/{left_out}" in kept)
    assert kept[f"full/{names[1]}"].limits == {"cpu": "2"}
    assert len([key for key in kept if key.startswith("full/")]) == MAX_LIMIT_RANGES


async def test_a_very_long_limit_range_is_left_out(
    objects: ClusterObjects, changes: Changes, caplog: pytest.LogCaptureFixture
) -> None:
    long = {f"example.com/resource-{index}": "1" for index in range(MAX_LIMIT_RANGE_LENGTH // 20)}
    item = {"type": "Container", "default": long}
    changes.add("ADDED", {"metadata": {"namespace": "long", "name": "r"}, "spec": {"limits": [item]}})
    changes.add("ADDED", limit_range("long", "short", "1"))
    await until(lambda: "long/short" in objects.limit_ranges.objects)
    assert "long/r" not in objects.limit_ranges.objects
    assert "LimitRange long/r is left out: its resources and quantities have more than 4096 characters" in caplog.text


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


def test_pull_secrets_of_an_account_with_names_that_no_secret_has_are_not_kept() -> None:
    secrets = [{"name": "x" * 254}] * 9 + [{"name": "login"}]
    account = decode_service_account(json.dumps({"imagePullSecrets": secrets}).encode(), keeps_pull_secrets=True)
    assert account is not None
    assert [secret.name for secret in account.image_pull_secrets] == ["login"]
