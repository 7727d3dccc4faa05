"""The loop in which the leader keeps the objects of the webhook's certificate as they should be.

It caches nothing: a watch of each object only wakes the loop, which then reads all objects again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from msgspec import Struct

from sekisho.backoff import backoff
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.reflector import Reflector
from sekisho.operator.metrics import Metrics, Subject

logger = logging.getLogger(__name__)

RESYNC_SECONDS = 3600.0
"""The longest time between two reconciliations."""
_MIN_SECONDS = 0.5
"""The shortest time between two: another program that keeps writing another caBundle must not cause a tight loop."""


class Watched(Struct, frozen=True):
    """One object: the path of its collection, and its name. It is watched by its name, as the role allows no more."""

    collection: str
    name: str


async def keep_certificates(
    api: ApiClient, watched: Iterable[Watched], reconcile: Callable[[], Awaitable[float]], metrics: Metrics
) -> None:
    """Call `reconcile` at once, when one of the objects changes, and after the seconds that it returned last.

    Runs until cancelled. API failures are logged, counted and tried again.
    """
    wake = asyncio.Event()
    failures = 0
    async with asyncio.TaskGroup() as watches:
        for watched_object in watched:
            watches.create_task(_watch(api, watched_object, wake).run())
        while True:
            wake.clear()
            try:
                pause, failures = min(await reconcile(), RESYNC_SECONDS), 0
            except (ApiError, ApiUnavailable) as error:
                if isinstance(error, ApiError) and error.status == 409:  # the object changed since it was read
                    pause = 0.0
                else:
                    failures += 1
                    pause = backoff(failures)
                    metrics.reconcile_errors.labels(Subject.CERTIFICATES).inc()
                    logger.warning("cannot bring the certificates up to date: %s", error)
            await asyncio.sleep(_MIN_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(pause, 0.0)):
                    await wake.wait()


def _watch(api: ApiClient, watched: Watched, wake: asyncio.Event) -> Reflector[bytes]:
    return Reflector(
        api,
        watched.collection,
        bytes,
        on_change=lambda _: wake.set(),
        field_selector=f"metadata.name={watched.name}",
        metadata_only=True,
    )
