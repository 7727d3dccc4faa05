"""A token bucket, by a clock that the test turns."""

from sekisho.telemetry.rates import TokenBucket


def test_a_burst_and_then_a_rate() -> None:
    bucket = TokenBucket(3, 2)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(10.5), bucket.take(10.5)] == [True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]


def test_reservations_are_spaced() -> None:
    bucket = TokenBucket(1, 50)
    assert [round(bucket.reserve(10.0), 6) for _ in range(4)] == [0.0, 0.02, 0.04, 0.06]
    assert round(bucket.reserve(10.03), 6) == 0.05
    assert not bucket.take(10.05)
    assert bucket.reserve(11.0) == 0.0


def test_clock_that_is_set_back_gains_nothing() -> None:
    bucket = TokenBucket(1, 1)
    assert bucket.take(10.0)
    assert not bucket.take(5.0)
