"""Keys for workers: in order, the urgent first, when they are due."""

import asyncio

from sekisho.cluster.work_queue import WorkQueue


async def taken(queue: WorkQueue[str], count: int) -> list[str]:
    async with asyncio.timeout(10):
        return [await queue.take() for _ in range(count)]


async def test_keys_are_taken_in_order_with_urgent_ones_first() -> None:
    queue = WorkQueue[str]()
    for key in ("a", "b"):
        queue.put(key)
    queue.put("now", urgent=True)
    queue.put("c")
    assert await taken(queue, 4) == ["now", "a", "b", "c"]


async def test_delayed_keys_are_taken_later() -> None:
    queue = WorkQueue[str]()
    queue.put("later", 0.01, urgent=True)
    queue.put("a")
    assert await taken(queue, 2) == ["a", "later"]


async def test_hurry_removes_all_delays_from_then_on() -> None:
    queue = WorkQueue[str]()
    queue.put("a", 3600.0)
    queue.put("b", 3600.0, urgent=True)
    queue.hurry()
    queue.put("c", 3600.0)
    assert await taken(queue, 3) == ["b", "a", "c"]


async def test_waiting_worker_gets_the_key_and_a_cancelled_one_loses_none() -> None:
    queue = WorkQueue[str]()
    gone = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    gone.cancel()
    stays = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.put("a")
    async with asyncio.timeout(10):
        assert await stays == "a"
