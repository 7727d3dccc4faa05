"""Keys for workers: lanes in turn, in each lane the urgent keys first, when they are due."""

import asyncio

from sekisho.cluster.work_queue import WorkQueue


async def taken(queue: WorkQueue[str], count: int) -> list[str]:
    async with asyncio.timeout(10):
        return [await queue.take() for _ in range(count)]


async def test_keys_are_taken_in_order_with_urgent_ones_first() -> None:
    queue = WorkQueue[str]()
    for key in ("a", "b"):
        queue.put(key, "ns")
    queue.put("now", "ns", urgent=True)
    queue.put("c", "ns")
    assert await taken(queue, 4) == ["now", "a", "b", "c"]


async def test_delayed_keys_are_taken_later() -> None:
    queue = WorkQueue[str]()
    queue.put("later", "ns", 0.01, urgent=True)
    queue.put("a", "ns")
    assert await taken(queue, 2) == ["a", "later"]


async def test_hurry_removes_all_delays_from_then_on() -> None:
    queue = WorkQueue[str]()
    queue.put("a", "ns", 3600.0)
    queue.put("b", "ns", 3600.0, urgent=True)
    queue.hurry()
    queue.put("c", "ns", 3600.0)
    assert await taken(queue, 3) == ["b", "a", "c"]


async def test_waiting_worker_gets_the_key_and_a_cancelled_one_loses_none() -> None:
    queue = WorkQueue[str]()
    gone = asyncio.create_task(queue.take())
    await asyncio.sleep(0)  # both wait before there is a key
    gone.cancel()
    stays = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.put("a", "ns")
    async with asyncio.timeout(10):
        assert await stays == "a"


async def test_lanes_take_turns_and_a_long_one_delays_no_other() -> None:
    queue = WorkQueue[str]()
    for number in range(3):
        queue.put(f"many-{number}", "many")
    queue.put("one", "other")
    queue.put("urgent", "many", urgent=True)
    assert await taken(queue, 5) == ["urgent", "one", "many-0", "many-1", "many-2"]


async def test_last_key_to_be_worked_on_is_removed_first_and_others_stay() -> None:
    queue = WorkQueue[str]()
    queue.put("urgent", "ns", urgent=True)
    queue.put("later", "ns", 3600.0)
    for key in ("a", "b"):
        queue.put(key, "ns")
    queue.put("other", "other")
    assert [queue.remove_last("ns") for _ in range(3)] == ["b", "a", "later"]
    assert await taken(queue, 2) == ["urgent", "other"]
    assert queue.remove_last("ns") is None
    queue.put("again", "ns")
    assert await taken(queue, 1) == ["again"]
