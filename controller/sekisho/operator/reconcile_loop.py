"""The loop in which the leader keeps objects as they should be, whatever happens to them.

Nothing is cached: a watch of each object only wakes the loop, which then reads all of them anew.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from msgspec import Struct

from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.reflector import Reflector
from sekisho.operator.metrics import Metrics

logger = logging.getLogger(__name__)

LOOK_SECONDS = 3600.0
"""How often everything is looked at without being woken."""
_MIN_SECONDS = 0.5
"""Between two looks: somebody else who insists on another caBundle is not to be fought in a tight loop."""
_RETRY_SECONDS = 5.0


class Watched(Struct, frozen=True):
    """One object: the path of its collection, and its name. A role that names the object allows just this selection."""

    collection: str
    name: str


async def keep_certificates(
    api: ApiClient, watched: Iterable[Watched], reconcile: Callable[[], Awaitable[float]], metrics: Metrics
) -> None:
    """Call `reconcile` now, when one of the objects changes, and when the seconds are over that it gave.

    Runs until cancelled; API failures are logged, counted and tried again.
    """
    wake = asyncio.Event()
    async with asyncio.TaskGroup() as watches:
        for each in watched:
            watches.create_task(_watch(api, each, wake).run())
        while True:
            wake.clear()
            pause = min(await _try(reconcile, metrics), LOOK_SECONDS)
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


async def _try(reconcile: Callable[[], Awaitable[float]], metrics: Metrics) -> float:
    try:
        return await reconcile()
    except (ApiError, ApiUnavailable) as error:
        if isinstance(error, ApiError) and error.status == 409:
            return 0.0  # it changed since it was read
        metrics.reconcile_errors.labels("certificates").inc()
        logger.warning("cannot bring the certificates up to date: %s", error)
        return _RETRY_SECONDS
