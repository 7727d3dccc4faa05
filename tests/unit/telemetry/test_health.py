"""The port for the kubelet and Prometheus, over HTTP."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web
from prometheus_client.core import Metric

from sekisho.telemetry import scrapes as module
from sekisho.telemetry.families import Family, gauge, gauges, rendered
from sekisho.telemetry.health import Health
from sekisho.telemetry.scrapes import Scrapes


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


class Renderings:
    """The real rendering, and the threads in which it ran. seconds: of CPU that each takes in addition."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0) -> None:
        self.threads: list[threading.Thread] = []
        self._seconds = seconds
        monkeypatch.setattr(module, "rendered", self.rendered)

    def rendered(self, families: Iterable[Metric | Family]) -> bytes:
        self.threads.append(threading.current_thread())
        until = time.thread_time() + self._seconds
        while time.thread_time() < until:
            pass
        return rendered(families)


async def test_metrics_are_rendered_in_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    renderings = Renderings(monkeypatch)
    status, text = await answer(Health(lambda: [gauges("up", "Up.", (), {(): 1.0})]), "/metrics")
    assert (status, text) == (200, "# HELP up Up.\n# TYPE up gauge\nup 1.0\n")
    assert len(renderings.threads) == 1
    assert threading.main_thread() not in renderings.threads


async def test_samples_are_made_in_the_thread_that_renders_of_the_values_at_the_scrape() -> None:
    threads: list[threading.Thread] = []
    values: dict[tuple[str, ...], float] = {(): 1.0}

    def slow() -> float:
        threads.append(threading.current_thread())
        values[()] = 2.0  # too late for this scrape
        return 3.0

    _, text = await answer(Health(lambda: [gauge("slow", "Slow.", slow), gauges("up", "Up.", (), values)]), "/metrics")
    assert "slow 3.0\n" in text
    assert "up 1.0\n" in text
    assert len(threads) == 1
    assert threading.main_thread() not in threads


@pytest.mark.parametrize(("seconds", "renderings"), [(0.0, 4), (0.03, 1)])
async def test_many_scrapes_of_metrics_that_take_long_to_render_share_a_text(
    monkeypatch: pytest.MonkeyPatch, seconds: float, renderings: int
) -> None:
    now = 1000.0
    counted, scrapes = Renderings(monkeypatch, seconds), Scrapes(list, lambda: now)
    assert await asyncio.gather(*[scrapes.text() for _ in range(4)]) == [b""] * 4
    assert len(counted.threads) == renderings
    now += 3600.0
    await scrapes.text()
    assert len(counted.threads) == renderings + 1


async def test_another_path_and_another_method_are_errors() -> None:
    assert (await answer(Health(list), "/"))[0] == 404
    assert (await answer(Health(list), "/readyz", "POST"))[0] == 405
    assert await answer(Health(list), "/healthz", "HEAD") == (200, "")
