"""The time, as the later of two clocks tells it: this machine's, and the API server's as its answers show it.

What ends at a time thus ends even where this machine's clock is slow, or set back. A clock that is fast ends it early,
which is the strict side.
"""

import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


class ServerClock:
    """Tells the time, in UTC. Let it `hear` the Date of each answer."""

    def __init__(self) -> None:
        self._heard: tuple[datetime, float] | None = None

    def hear(self, date: str | None) -> None:
        """Take note of an answer's Date header; one that is missing or no date is passed over."""
        try:
            told = parsedate_to_datetime(date) if date else None
        except ValueError:
            return
        if told is not None and told.tzinfo is not None:
            self._heard = (told, time.monotonic())

    def now(self) -> datetime:
        """The later of this machine's time and the API server's."""
        own = datetime.now(UTC)
        if self._heard is None:
            return own
        told, at = self._heard
        return max(own, told + timedelta(seconds=time.monotonic() - at))
