"""Times as the API server writes and reads them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from sekisho.timestamps import micro_time, parse, rfc3339

NOON = datetime(2026, 11, 26, 12, 0, 0, 250, UTC)
EAST = timezone(timedelta(hours=14))
WEST = timezone(timedelta(hours=-12))


@pytest.mark.parametrize(
    ("moment", "seconds", "microseconds"),
    [
        (NOON, "2026-11-26T12:00:00Z", "2026-11-26T12:00:00.000250Z"),
        (NOON.astimezone(EAST), "2026-11-26T12:00:00Z", "2026-11-26T12:00:00.000250Z"),
        (datetime(7, 1, 1, tzinfo=UTC), "0007-01-01T00:00:00Z", "0007-01-01T00:00:00.000000Z"),
        (datetime(1, 1, 1, tzinfo=EAST), "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        (datetime(9999, 12, 31, 23, tzinfo=WEST), "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_moment_is_written_in_utc(moment: datetime, seconds: str, microseconds: str) -> None:
    assert rfc3339(moment) == seconds
    assert micro_time(moment) == microseconds


@pytest.mark.parametrize("text", ["2026-11-26T12:00:00.000250Z", "2026-11-26T13:00:00.00025+01:00"])
def test_a_moment_is_read_back(text: str) -> None:
    assert parse(text) == NOON


def test_a_moment_without_a_zone_is_in_utc() -> None:
    assert parse("2026-11-26T12:00:00") == datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z"])
def test_invalid_time_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(text)
