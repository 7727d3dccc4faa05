"""The wait between attempts."""

import pytest

from sekisho.backoff import backoff, doubling_delay


def test_backoff_grows_to_a_limit_and_is_never_the_same_for_all() -> None:
    for failures, shortest, longest in ((1, 0.25, 0.5), (3, 1.0, 2.0), (50, 7.5, 15.0)):
        waits = {backoff(failures) for _ in range(50)}
        assert shortest <= min(waits) <= max(waits) <= longest
        assert len(waits) > 40


@pytest.mark.parametrize(("times", "seconds"), [(0, 2.0), (1, 2.0), (2, 4.0), (5, 32.0), (6, 60.0), (100_000, 60.0)])
def test_time_doubles_up_to_a_limit_however_often(times: int, seconds: float) -> None:
    assert doubling_delay(2.0, times, 60.0) == seconds
