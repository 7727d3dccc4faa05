"""The port for the kubelet and Prometheus, over HTTP."""

import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web
from prometheus_client.core import Metric

from sekisho.telemetry import health as module
from sekisho.telemetry.families import gauges, rendered
from sekisho.telemetry.health import Health


@asynccontextmanager
async def serving(health: Health) -> AsyncIterator[ClientSession]:
    runner = web.ServerRunner(web.Server(health.handle))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
            yield session
    finally:
        await runner.cleanup()


async def answer(health: Health, path: str, method: str = "GET") -> tuple[int, str]:
    async with serving(health) as session, session.request(method, path) as response:
        return response.status, await response.text()


@pytest.mark.parametrize("path", ["/healthz", "/healthz?verbose"])
async def test_a_process_that_works_is_healthy(path: str) -> None:
    assert await answer(Health(list), path) == (200, '{"healthy":true}\n')


async def test_a_process_that_stalls_is_not_healthy_and_says_why() -> None:
    health = Health(list, stalled=lambda: "the watch of policies ended")
    assert await answer(health, "/healthz") == (503, '{"healthy":false,"reason":"the watch of policies ended"}\n')
    assert (await answer(health, "/readyz"))[0] == 200


async def test_a_process_that_lacks_nothing_is_ready() -> None:
    assert await answer(Health(list), "/readyz") == (200, '{"ready":true,"missing":[]}\n')


async def test_a_process_that_lacks_something_is_not_ready_and_says_what() -> None:
    health = Health(list, missing=lambda: ["no certificate"])
    assert await answer(health, "/readyz") == (503, '{"ready":false,"missing":["no certificate"]}\n')
    assert (await answer(health, "/healthz"))[0] == 200


async def test_metrics_are_rendered_in_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def noting_rendered(families: Iterable[Metric]) -> bytes:
        threads.append(threading.current_thread())
        return rendered(families)

    monkeypatch.setattr(module, "rendered", noting_rendered)
    status, text = await answer(Health(lambda: [gauges("up", "Up.", (), {(): 1.0})]), "/metrics")
    assert (status, text) == (200, "# HELP up Up.\n# TYPE up gauge\nup 1.0\n")
    assert threads != [threading.main_thread()]


async def test_another_path_and_another_method_are_errors() -> None:
    assert (await answer(Health(list), "/"))[0] == 404
    assert (await answer(Health(list), "/readyz", "POST"))[0] == 405
    assert await answer(Health(list), "/healthz", "HEAD") == (200, "")
