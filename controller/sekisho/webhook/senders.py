"""Who sends a review: the API server calls paths that nobody else knows but administrators.

The controller writes the secret part of the paths into the webhook configurations, and into a Secret for the webhook.
"""

import logging
import time
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from sekisho.admission import Outcome
from sekisho.telemetry.families import Family, counters

logger = logging.getLogger(__name__)

LOG_SECONDS: Final = 60.0
"""The shortest time between two lines about unknown senders."""


class _SecretData(Struct, frozen=True):
    path: bytes = b""


class _Secret(Struct, frozen=True):
    data: _SecretData | None = None


def decode_path(raw: bytes) -> str:
    """The secret part of the paths, from the Secret's JSON; empty when it has none yet."""
    return (msgspec.json.decode(raw, type=_Secret).data or _SecretData()).path.decode("ascii", "replace")


class UnknownSenders:
    """Counts reviews of unknown senders, and logs that there are some: one line a minute, however many they send."""

    def __init__(self) -> None:
        self._reviews = 0
        self._logged = 0
        self._logged_at = float("-inf")

    def count(self, _webhook: str, _outcome: Outcome, _seconds: float) -> None:
        """Count one review, which has its answer. It counts in no other metric and in no status."""
        self._reviews += 1
        now = time.monotonic()
        if now - self._logged_at >= LOG_SECONDS:
            number, self._logged, self._logged_at = self._reviews - self._logged, self._reviews, now
            logger.warning("%d reviews were not sent by the API server, and cause no Event", number)

    def families(self) -> Iterable[Family]:
        """Its metrics."""
        text = "Reviews of pods that were not sent by the API server."
        yield counters("sekisho_unknown_sender_reviews", text, (), {(): self._reviews})
