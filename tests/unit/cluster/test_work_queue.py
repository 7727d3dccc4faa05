"""Keys for workers: in order, the urgent first, when they are due."""

import asyncio

from sekisho.cluster.work_queue import WorkQueue


async def taken(queue: WorkQueue[str], count: int) -> list[str]:
    async with asyncio.timeout(10):
        return [await queue.take() for _ in range(count)]


async def test_first_come_first_served_but_the_urgent_before_all() -> None:
    queue = WorkQueue[str]()
    for key in ("a", "b"):
        queue.put(key)
    queue.put("now", urgent=True)
    queue.put("c")
    assert await taken(queue, 4) == ["now", "a", "b", "c"]


async def test_what_is_due_later_comes_later() -> None:
    queue = WorkQueue[str]()
    queue.put("later", 0.01, urgent=True)
    queue.put("a")
    assert await taken(queue, 2) == ["a", "later"]


async def test_hurry_makes_all_due_at_once_and_from_then_on() -> None:
    queue = WorkQueue[str]()
    queue.put("a", 3600.0)
    queue.put("b", 3600.0, urgent=True)
    queue.hurry()
    queue.put("c", 3600.0)
    assert await taken(queue, 3) == ["b", "a", "c"]


async def test_worker_that_waits_gets_the_key_and_one_that_left_loses_none() -> None:
    queue = WorkQueue[str]()
    gone = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    gone.cancel()
    stays = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.put("a")
    async with asyncio.timeout(10):
        assert await stays == "a"
