"""A token bucket: a rate with bursts."""


class TokenBucket:
    """Holds at most `burst` tokens and gains `per_second`; full at first."""

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._tokens = burst
        self._at = float("-inf")

    def take(self, now: float) -> bool:
        """Take a token at the monotonic time `now`; False when there is none."""
        if not self.has_one(now):
            return False
        self._tokens -= 1.0
        return True

    def has_one(self, now: float) -> bool:
        """Whether there is a token at the monotonic time `now`."""
        self._fill(now)
        return self._tokens >= 1.0

    def reserve(self, now: float) -> float:
        """Take the next token; gives the seconds to wait until it exists."""
        self._fill(now)
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._per_second)

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._per_second)
        self._at = now
