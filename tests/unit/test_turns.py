"""Who has a turn, and who is next."""

import asyncio
import threading
from contextlib import AsyncExitStack
from functools import partial
from itertools import pairwise

import pytest

from sekisho.turns import Namespaces, Turns, Worker
from tests.unit.waiting import until

SOON = 20.0


async def test_namespaces_take_turns_and_within_one_the_first_is_first() -> None:
    turns, order = Turns(), list[str]()

    async def wait(namespace: str, name: str) -> None:
        async with turns.turn(namespace, SOON):
            order.append(name)
            await asyncio.sleep(0)  # the others could run now if they had a turn too

    async with turns.turn("many", SOON):
        waiting = [asyncio.create_task(wait("many", f"many-{number}")) for number in range(4)]
        waiting += [asyncio.create_task(wait("few", "few-0"))]
        await asyncio.sleep(0)  # all wait for their turn before this one ends
        assert order == []
    await asyncio.gather(*waiting)
    assert order == ["many-0", "few-0", "many-1", "many-2", "many-3"]


async def test_so_many_have_a_turn_at_the_same_time() -> None:
    turns, order = Turns(2), list[str]()

    async def wait(name: str) -> None:
        async with turns.turn(name[0]):
            order.append(name)

    async with turns.turn("a"):
        async with turns.turn("a"):
            waiting = [asyncio.create_task(wait(name)) for name in ("a1", "a2", "b1")]
            await asyncio.sleep(0)  # all wait
            assert order == []
        await asyncio.gather(*waiting)  # by the place that one of the two has left
    assert order == ["a1", "b1", "a2"]
    async with turns.turn("a"), turns.turn("b"):
        pass


async def test_one_that_waits_too_long_leaves_its_turn_to_others() -> None:
    turns = Turns()
    async with turns.turn("a", SOON):
        with pytest.raises(TimeoutError):
            await AsyncExitStack().enter_async_context(turns.turn("b", 0.01))
        with pytest.raises(TimeoutError):
            await AsyncExitStack().enter_async_context(turns.turn("b", -1.0))
    async with turns.turn("b", SOON):
        pass


async def test_a_turn_that_nobody_waits_for_any_more_goes_to_the_next() -> None:
    turns = Turns()
    async with turns.turn("a", SOON):
        abandoned = asyncio.create_task(AsyncExitStack().enter_async_context(turns.turn("b", SOON)))
        await asyncio.sleep(0)  # it waits for its turn
    abandoned.cancel()  # it has the turn by now, and does not know yet
    with pytest.raises(asyncio.CancelledError):
        await abandoned
    async with turns.turn("c", SOON):
        pass


async def test_an_error_ends_the_turn() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError):
        async with turns.turn("a", SOON):
            raise ZeroDivisionError
    async with turns.turn("a", SOON):
        pass


async def test_namespace_holds_only_as_many_shared_places_as_it_leaves_free() -> None:
    turns, held = Turns(8, is_shared=True), list[str]()

    async def hold(namespace: str) -> None:
        async with turns.turn(namespace):
            held.append(namespace)
            await asyncio.Event().wait()

    many = [asyncio.create_task(hold("many")) for _ in range(8)]
    await until(lambda: turns.waiting == 4)
    assert held == ["many"] * 4
    others = [asyncio.create_task(hold(namespace)) for namespace in ("few", "few", "other", "other", "late", "last")]
    await until(lambda: turns.waiting == 6)
    assert held[4:] == ["few", "few", "other", "late"]
    many[0].cancel()  # the place that it gives back is for a namespace that has none
    await until(lambda: len(held) == 9)
    assert held[8:] == ["last"]
    for task in (*many, *others):
        task.cancel()
    await asyncio.gather(*many, *others, return_exceptions=True)
    await turns.take("all", 8)


async def test_few_namespaces_cannot_hold_all_shared_places() -> None:
    turns, held = Turns(128, is_shared=True), list[str]()

    async def hold(namespace: str) -> None:
        async with turns.turn(namespace):
            held.append(namespace)
            await asyncio.Event().wait()

    namespaces = [f"busy-{number}" for number in range(33)]
    many = [asyncio.create_task(hold(namespace)) for namespace in namespaces for _ in range(128)]
    await until(lambda: turns.waiting == len(many) - len(held))
    assert [held.count(namespace) for namespace in namespaces] == [64, 32] + [1] * 31
    async with turns.turn("late", SOON):
        assert len(held) == 127
    for task in many:
        task.cancel()
    await asyncio.gather(*many, return_exceptions=True)
    await turns.take("all", 128)


async def test_several_places_are_taken_at_once_and_given_back() -> None:
    turns = Turns(8, is_shared=True)
    await turns.take("a", 3)
    waiting = asyncio.create_task(turns.take("b", 6))
    await turns.take("c", 2)
    assert not waiting.done()
    turns.give_back("c", 2)
    assert not waiting.done()
    turns.give_back("a", 3)
    await waiting
    turns.give_back("b", 6)
    await turns.take("a", 8)


async def test_places_are_collected_for_one_that_needs_many() -> None:
    turns = Turns(8, is_shared=True)
    for _ in range(3):
        await turns.take("busy", 1)
    large = asyncio.create_task(turns.take("few", 8))
    await until(lambda: turns.waiting == 1)
    busy = [asyncio.create_task(turns.take("busy", 1)) for _ in range(3)]
    await turns.take("other", 1)  # it holds nothing, so it does not wait
    other = asyncio.create_task(turns.take("other", 1))
    await until(lambda: turns.waiting == 5)
    turns.give_back("busy", 1)
    turns.give_back("busy", 1)
    turns.give_back("other", 1)  # now it holds nothing again
    await other
    assert not any(one.done() for one in (large, *busy))
    turns.give_back("other", 1)
    turns.give_back("busy", 1)
    await large
    assert not any(one.done() for one in busy)
    turns.give_back("few", 8)
    await asyncio.gather(*busy)
    turns.give_back("busy", 3)
    await turns.take("all", 8)


async def test_one_that_gives_up_leaves_what_was_collected_for_it() -> None:
    turns = Turns(4, is_shared=True)
    await turns.take("busy", 1)
    large = asyncio.create_task(turns.take("few", 4))
    await until(lambda: turns.waiting == 1)
    small = asyncio.create_task(turns.take("busy", 1))
    await until(lambda: turns.waiting == 2)
    large.cancel()
    await small


async def test_namespace_that_waits_for_itself_holds_up_nobody() -> None:
    turns = Turns(8, is_shared=True)
    await turns.take("many", 3)
    large = asyncio.create_task(turns.take("many", 5))
    await until(lambda: turns.waiting == 1)
    await turns.take("few", 1)
    await turns.take("few", 1)
    assert not large.done()
    large.cancel()


async def test_one_that_gives_up_does_not_hold_up_those_behind_it() -> None:
    turns = Turns(4, is_shared=True)
    await turns.take("a", 1)
    large = asyncio.create_task(turns.take("a", 4))
    small = asyncio.create_task(turns.take("a", 1))
    await until(lambda: turns.waiting == 2)
    large.cancel()
    await small
    turns.give_back("a", 2)
    await turns.take("a", 4)


async def test_work_for_several_namespaces_has_the_first_turn_of_one_of_them() -> None:
    turns, order = Turns(), list[str]()

    async def wait(users: str | Namespaces, name: str) -> None:
        async with turns.turn(users):
            order.append(name)

    shared = Namespaces("many")
    async with turns.turn("many"):
        waiting = [asyncio.create_task(wait("many", f"many-{number}")) for number in range(3)]
        waiting += [asyncio.create_task(wait(shared, "shared")), asyncio.create_task(wait("few", "few"))]
        await until(lambda: turns.waiting == 5)
        shared.add("few")
        shared.add("third")
        shared.add("few")
        assert turns.waiting == 5
    await asyncio.gather(*waiting)
    assert order == ["many-0", "few", "shared", "many-1", "many-2"]
    assert turns.is_free


async def test_work_has_a_turn_at_once_when_a_namespace_comes_that_may_have_it() -> None:
    turns, shared = Turns(4, is_shared=True), Namespaces("busy")
    assert [await turns.take("busy"), await turns.take("busy")] == ["busy", "busy"]
    waiting = [asyncio.create_task(turns.take(users)) for users in ("busy", shared)]
    await until(lambda: turns.waiting == 2)
    shared.add("team")
    assert await waiting[1] == "team"
    assert not waiting[0].done()
    assert await turns.take(Namespaces("other")) == "other"
    for namespace in ("busy", "busy", "other", "team"):
        turns.give_back(namespace)
    turns.give_back(await waiting[0])
    assert await turns.take("all", 4)


async def test_work_for_several_namespaces_that_waits_no_longer_leaves_all_their_turns() -> None:
    turns, shared = Turns(), Namespaces("a")
    shared.add("b")
    async with turns.turn("a"):
        abandoned = asyncio.create_task(turns.take(shared))
        others = [asyncio.create_task(turns.take(name)) for name in ("a", "b")]
        await until(lambda: turns.waiting == 3)
        abandoned.cancel()
        await until(abandoned.cancelled)
        shared.add("c")
        assert turns.waiting == 2
    for other in others:
        turns.give_back(await other)
    assert turns.is_free


async def test_namespaces_take_turns_at_a_worker() -> None:
    worker, order = Worker("test"), list[str]()
    begun, may_end = threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        may_end.wait(SOON)

    calls = [asyncio.create_task(worker.run("many", first))]
    calls += [asyncio.create_task(worker.run("many", partial(order.append, "many"))) for _ in range(3)]
    calls += [asyncio.create_task(worker.run("few", partial(order.append, "few")))]
    await until(begun.is_set)
    may_end.set()
    await asyncio.gather(*calls)
    assert order == ["many", "few", "many", "many"]
    worker.close()


async def test_work_that_gives_way_to_a_worker_goes_on_when_all_its_calls_ended() -> None:
    worker, may_end = Worker("test"), [threading.Event(), threading.Event()]
    async with asyncio.timeout(SOON / 2):
        await worker.give_way(SOON)  # to nothing
    calls = [asyncio.create_task(worker.run("team", partial(one.wait, SOON))) for one in may_end]
    await asyncio.sleep(0)
    other = asyncio.create_task(worker.give_way(SOON))
    may_end[0].set()
    await calls[0]
    for _ in range(10):
        await asyncio.sleep(0)
    assert not other.done()
    may_end[1].set()
    async with asyncio.timeout(SOON / 2):
        await other
    worker.close()


async def test_many_that_gave_way_to_a_worker_go_on_one_at_a_time() -> None:
    worker, may_end = Worker("test"), threading.Event()
    call = asyncio.create_task(worker.run("team", partial(may_end.wait, SOON)))
    await asyncio.sleep(0)
    others = [asyncio.create_task(worker.give_way(SOON)) for _ in range(4)]
    await asyncio.sleep(0)
    may_end.set()
    await call
    ended = [0]
    async with asyncio.timeout(SOON / 2):
        while ended[-1] < len(others):
            await asyncio.sleep(0)
            ended.append(sum(other.done() for other in others))
    assert max(later - before for before, later in pairwise(ended)) == 1
    worker.close()


async def test_work_gives_way_to_a_worker_for_a_bounded_time() -> None:
    worker, may_end = Worker("test"), threading.Event()
    call = asyncio.create_task(worker.run("team", partial(may_end.wait, SOON)))
    await asyncio.sleep(0)
    await worker.give_way(0.001)
    assert not call.done()
    may_end.set()
    await call
    worker.close()
