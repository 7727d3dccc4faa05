"""The time: the later of two clocks, this machine's and the API server's, which is known from its answers.

So a waiver expires in time even when this machine's clock is slow or was set back. When a clock is fast it expires too
early, which is the safe side.
"""

import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


class ServerClock:
    """The time in UTC. Call `observe` with the Date header of each answer."""

    def __init__(self) -> None:
        self._observed: tuple[datetime, float] | None = None

    def observe(self, date: str | None) -> None:
        """Take in a Date header; one that is missing (None) or invalid is ignored."""
        try:
            moment = parsedate_to_datetime(date) if date else None
        except ValueError:
            return
        if moment is not None and moment.tzinfo is not None:
            self._observed = (moment, time.monotonic())

    def server_time(self) -> datetime:
        """The API server's time; this machine's before the first answer."""
        if self._observed is None:
            return datetime.now(UTC)
        moment, at = self._observed
        return moment + timedelta(seconds=time.monotonic() - at)

    def now(self) -> datetime:
        """The later of this machine's time and the API server's."""
        return max(datetime.now(UTC), self.server_time())
