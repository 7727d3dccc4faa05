"""Who has a turn, and who is next."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from sekisho.webhook.turns import Turns

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


async def test_a_turn_that_comes_when_nobody_waits_for_it_any_more_goes_on() -> None:
    turns = Turns()
    async with turns.turn("a", SOON):
        given_up = asyncio.create_task(AsyncExitStack().enter_async_context(turns.turn("b", SOON)))
        await asyncio.sleep(0)  # it waits for its turn
    given_up.cancel()  # it has the turn by now, and does not know yet
    with pytest.raises(asyncio.CancelledError):
        await given_up
    async with turns.turn("c", SOON):
        pass


async def test_an_error_ends_the_turn() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError):
        async with turns.turn("a", SOON):
            raise ZeroDivisionError
    async with turns.turn("a", SOON):
        pass
