"""Times as the Kubernetes API writes them: RFC 3339, in UTC.

Source: https://github.com/kubernetes/apimachinery/blob/master/pkg/apis/meta/v1/time.go and micro_time.go
"""

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """A moment, with its zone, to the second: 2027-01-31T00:00:00Z."""
    return _write(moment, "seconds")


def micro_time(moment: datetime) -> str:
    """A moment, with its zone, as a MicroTime, to the microsecond: 2027-01-31T00:00:00.000000Z."""
    return _write(moment, "microseconds")


def parse(text: str) -> datetime:
    """The moment that a text names; one without a zone is in UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _write(moment: datetime, precision: str) -> str:
    return in_utc(moment).replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def in_utc(moment: datetime) -> datetime:
    """A moment in UTC; the first or the last that Python knows for one that UTC puts outside the years 1 to 9999."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if moment.year == 1 else datetime.max.replace(tzinfo=UTC)
