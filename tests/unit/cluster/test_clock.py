"""The later of two clocks."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sekisho.cluster.clock import ServerClock

HOUR = timedelta(hours=1)


def test_with_a_slow_clock_the_api_servers_time_is_used() -> None:
    clock = ServerClock()
    ahead = (datetime.now(UTC) + HOUR).replace(microsecond=0)
    clock.observe(format_datetime(ahead, usegmt=True))
    assert ahead <= clock.now() <= ahead + timedelta(minutes=1)


def test_with_a_fast_clock_its_own_time_is_used() -> None:
    clock = ServerClock()
    before = datetime.now(UTC)
    clock.observe(format_datetime(before - HOUR, usegmt=True))
    assert before <= clock.now() <= datetime.now(UTC)


def test_the_last_answer_counts() -> None:
    clock = ServerClock()
    for offset in (HOUR, -HOUR):
        clock.observe(format_datetime(datetime.now(UTC) + offset, usegmt=True))
    assert clock.now() <= datetime.now(UTC)


@pytest.mark.parametrize(
    "date", [None, "", "yesterday", "Wed, 99 Nov 2026 15:00:00 GMT", "Wed, 25 Nov 2999 15:00:00 -0000"]
)
def test_an_invalid_date_is_ignored(date: str | None) -> None:
    clock = ServerClock()
    clock.observe(date)
    assert clock.now() <= datetime.now(UTC)
