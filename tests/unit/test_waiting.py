"""How tests wait for conditions."""

import time

import pytest

from tests.unit.waiting import until


async def test_waiting_goes_on_on_a_machine_that_stops_the_test_for_longer_than_the_limit() -> None:
    calls = 0

    def condition() -> bool:
        nonlocal calls
        calls += 1
        time.sleep(0.05)  # nothing of this process runs meanwhile, as on a busy machine
        return calls == 3

    await until(condition, seconds=0.02)


async def test_waiting_for_what_does_not_happen_ends() -> None:
    with pytest.raises(TimeoutError):
        await until(lambda: False, seconds=0.02)
