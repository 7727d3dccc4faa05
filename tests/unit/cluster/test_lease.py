"""Leader election: who may take the Lease, and when the holder must give up."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from sekisho.cluster.api import ApiClient, ApiUnavailable
from sekisho.cluster.lease import LeaderLease, Lease, LeaseLost, LeaseMeta, LeaseSpec, ObservedLease, Timing, observe
from tests.unit.cluster.lease_server import LeaseServer, serving

TIMING = Timing(duration=15.0, renew_deadline=10.0, retry=2.0)
FAST = Timing(duration=1.0, renew_deadline=0.5, retry=0.05)
PATIENT = Timing(duration=60.0, renew_deadline=30.0, retry=0.05)
"""Of candidates that try as often, where no Lease may expire before the test looks at it."""


def lease(holder: str | None = "a", renewed: str = "t0", duration: int | None = 15) -> Lease:
    return Lease(LeaseMeta("x", "1"), LeaseSpec(holder, duration, renewed, 0))


def test_a_lease_is_free_only_after_its_duration_without_a_change() -> None:
    seen = observe(None, lease(), 100.0)
    assert not seen.is_free(114.9, TIMING)
    assert seen.is_free(115.0, TIMING)


def test_each_observed_renewal_restarts_the_duration() -> None:
    seen = observe(observe(None, lease(), 100.0), lease(renewed="t1"), 110.0)
    assert not seen.is_free(124.9, TIMING)
    assert seen.is_free(125.0, TIMING)


def test_observing_the_same_lease_again_does_not_restart_the_duration() -> None:
    seen = observe(observe(None, lease(), 100.0), lease(), 110.0)
    assert seen == ObservedLease(lease(), 100.0)


@pytest.mark.parametrize("renewed", ["1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z"])
def test_the_holders_clock_is_not_consulted(renewed: str) -> None:
    seen = observe(None, lease(renewed=renewed), 100.0)
    assert not seen.is_free(100.0, TIMING)
    assert seen.is_free(115.0, TIMING)


@pytest.mark.parametrize("holder", [None, ""])
def test_a_released_lease_is_free_at_once(holder: str | None) -> None:
    assert observe(None, lease(holder), 100.0).is_free(100.0, TIMING)


def test_a_duration_of_years_is_respected_for_a_minute() -> None:
    seen = observe(None, lease(duration=2147483647), 100.0)
    assert not seen.is_free(159.9, TIMING)
    assert seen.is_free(160.0, TIMING)


def test_the_duration_is_the_one_that_the_holder_wrote() -> None:
    seen = observe(None, lease(duration=60), 100.0)
    assert not seen.is_free(159.9, TIMING)
    assert seen.is_free(160.0, TIMING)


@pytest.fixture
async def server() -> LeaseServer:
    return LeaseServer()


@pytest.fixture
async def api(server: LeaseServer) -> AsyncIterator[ApiClient]:
    async with serving(server) as client:
        yield client


def candidate(api: ApiClient, identity: str, timing: Timing = FAST) -> LeaderLease:
    return LeaderLease(api, "ns", "x", identity, timing)


def holder(server: LeaseServer) -> str | None:
    identity: str | None = server.leases["x"]["spec"].get("holderIdentity")
    return identity


async def test_the_first_process_creates_the_lease(server: LeaseServer, api: ApiClient) -> None:
    first = candidate(api, "a", PATIENT)
    await first.acquire()
    assert first.is_held
    assert holder(server) == "a"
    assert server.leases["x"]["spec"]["leaseTransitions"] == 0


async def test_of_many_candidates_one_gets_the_lease(server: LeaseServer, api: ApiClient) -> None:
    candidates = [candidate(api, name, PATIENT) for name in "abcdefgh"]
    tasks = [asyncio.create_task(one.acquire()) for one in candidates]
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await server.wait_until(lambda: len(server.requests) > 40)
    assert len(done) == 1
    assert all(not task.done() for task in waiting)
    assert [one.is_held for one in candidates].count(True) == 1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_released_lease_goes_to_the_next_without_a_wait(server: LeaseServer, api: ApiClient) -> None:
    first, second = candidate(api, "a", Timing()), candidate(api, "b")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await server.wait_until(lambda: len(server.requests) > 3)
    await first.release()
    before = len(server.requests)
    assert not first.is_held
    await waiting
    tries = (len(server.requests) - before) / 2  # each reads the Lease, and the last one writes it
    assert tries < FAST.duration / FAST.retry / 2
    assert holder(server) == "b"
    assert server.leases["x"]["spec"]["leaseTransitions"] == 1
    assert server.leases["x"]["spec"]["leaseDurationSeconds"] == 1


async def test_a_silent_holder_is_replaced_after_the_duration(server: LeaseServer, api: ApiClient) -> None:
    server.put("x", {"spec": {"holderIdentity": "dead", "leaseDurationSeconds": 1, "renewTime": "t"}})
    started = time.monotonic()
    await candidate(api, "b").acquire()
    assert time.monotonic() - started >= FAST.duration
    assert holder(server) == "b"


async def test_a_holder_of_the_same_name_is_another_one(server: LeaseServer, api: ApiClient) -> None:
    server.put("x", {"spec": {"holderIdentity": "a", "leaseDurationSeconds": 1, "renewTime": "t"}})
    started = time.monotonic()
    await candidate(api, "a").acquire()
    assert time.monotonic() - started >= FAST.duration


async def test_a_holder_renews_and_keeps_what_others_wrote(server: LeaseServer, api: ApiClient) -> None:
    server.put("x", {"metadata": {"labels": {"k": "v"}}, "spec": {}})
    timing = Timing(duration=4.0, renew_deadline=2.0, retry=0.05)
    first = candidate(api, "a", timing)
    await first.acquire()
    acquired = time.monotonic()
    holding = asyncio.create_task(first.hold())
    await server.wait_until(lambda: time.monotonic() - acquired > timing.renew_deadline)
    assert first.is_held
    assert not holding.done()
    assert server.leases["x"]["metadata"]["labels"] == {"k": "v"}
    holding.cancel()


async def test_a_holder_survives_a_write_by_another_client(server: LeaseServer, api: ApiClient) -> None:
    first = candidate(api, "a", PATIENT)
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    server.put("x", {**server.leases["x"], "metadata": {"annotations": {"k": "v"}}})
    renewed = server.leases["x"]["spec"]["renewTime"]
    await server.wait_until(lambda: server.leases["x"]["spec"]["renewTime"] > renewed)
    seen = len(server.requests)
    await server.wait_until(lambda: len(server.requests) > seen + 12)
    assert not holding.done()
    assert first.is_held
    holding.cancel()


async def test_a_holder_gives_up_at_once_when_another_took_the_lease(server: LeaseServer, api: ApiClient) -> None:
    first = candidate(api, "a", Timing(duration=15.0, renew_deadline=10.0, retry=0.05))
    await first.acquire()
    server.put("x", {"spec": {"holderIdentity": "b"}})
    with pytest.raises(LeaseLost, match="b holds it now"):
        await first.hold()
    assert not first.is_held
    await first.release()
    assert holder(server) == "b"


async def test_a_holder_gives_up_when_the_lease_is_deleted(server: LeaseServer, api: ApiClient) -> None:
    first = candidate(api, "a")
    await first.acquire()
    server.leases.clear()
    with pytest.raises(LeaseLost, match="deleted"):
        await first.hold()
    assert not first.is_held


@pytest.mark.parametrize("failure", ["is_down", "is_stuck"])
async def test_a_holder_that_cannot_renew_gives_up_before_another_can_take_the_lease(
    server: LeaseServer, api: ApiClient, failure: str
) -> None:
    timing = Timing(duration=6.0, renew_deadline=0.5, retry=0.05)
    first = candidate(api, "a", timing)
    await first.acquire()
    acquired = time.monotonic()
    setattr(server, failure, True)
    with pytest.raises(LeaseLost, match=r"not renewed within 0\.5 s"):
        await first.hold()
    assert timing.renew_deadline - 0.1 < time.monotonic() - acquired < timing.duration
    assert not first.is_held


async def test_a_holder_survives_an_outage_shorter_than_the_renew_deadline(server: LeaseServer, api: ApiClient) -> None:
    first = candidate(api, "a", Timing(duration=10.0, renew_deadline=5.0, retry=0.05))
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    server.is_down = True
    await server.wait_until(lambda: server.requests.count("PATCH") > 5)
    server.is_down = False
    await server.wait_until(lambda: server.requests.count("PATCH") > 10)
    assert not holding.done()
    assert first.is_held
    holding.cancel()


async def test_a_candidate_waits_while_the_server_is_away(
    server: LeaseServer, api: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    server.is_down = True
    first = candidate(api, "a", PATIENT)
    acquiring = asyncio.create_task(first.acquire())
    await server.wait_until(lambda: len(server.requests) > 5)
    assert not acquiring.done()
    server.is_down = False
    await acquiring
    assert first.is_held
    assert len(caplog.records) == 1  # one line an outage, not one a try


async def test_a_lease_that_is_not_held_is_not_released(server: LeaseServer, api: ApiClient) -> None:
    server.put("x", {"spec": {"holderIdentity": "b"}})
    await candidate(api, "a").release()
    assert holder(server) == "b"
    assert server.requests == []


async def test_writes_that_require_the_lease_end_with_it(server: LeaseServer, api: ApiClient) -> None:
    first = candidate(api, "a", Timing(duration=2.5, renew_deadline=2.0, retry=0.05))
    async with serving(server, may_write=lambda: first.is_held) as leading:
        path = "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
        await first.acquire()
        await leading.create(path, b'{"metadata": {"name": "work"}}')
        await candidate(api, "b").acquire()  # the first one, frozen, renews nothing
        sent = len(server.requests)
        with pytest.raises(ApiUnavailable, match="not sent"):
            await leading.delete(f"{path}/work")
        assert len(server.requests) == sent
