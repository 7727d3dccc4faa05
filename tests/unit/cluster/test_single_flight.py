"""Single flight, and the token bucket."""

import asyncio

import pytest

from sekisho.cluster.single_flight import SingleFlight
from sekisho.telemetry.rates import TokenBucket


async def test_callers_at_the_same_time_share_one_call() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    calls: list[str] = []
    gate, both = asyncio.Event(), asyncio.Barrier(3)

    async def call() -> int:
        calls.append("x")
        if not gate.is_set():
            await both.wait()
        await gate.wait()
        return len(calls)

    waiting = [asyncio.create_task(flights.run("k", call)) for _ in range(5)]
    other = asyncio.create_task(flights.run("other", call))
    await both.wait()
    waiting[0].cancel()
    gate.set()
    assert await asyncio.gather(*waiting[1:], other) == [2] * 5
    assert len(flights) == 0
    assert await flights.run("k", call) == 3


async def test_callers_share_a_failure_which_is_not_kept() -> None:
    flights: SingleFlight[str, int] = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    results = await asyncio.gather(flights.run("k", fail), flights.run("k", fail), return_exceptions=True)
    assert [str(result) for result in results] == ["no", "no"]
    with pytest.raises(ValueError, match="no"):
        await flights.run("k", fail)


def test_bucket_gives_its_burst_and_then_so_much_a_second() -> None:
    bucket = TokenBucket(burst=2, per_second=0.5)
    assert [bucket.take(100.0) for _ in range(3)] == [True, True, False]
    assert [bucket.take(101.0), bucket.take(102.0), bucket.take(102.5)] == [False, True, False]
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]
