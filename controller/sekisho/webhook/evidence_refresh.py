"""Keeps the shared evidence of images that run up to date, and reports which of them are no longer trusted.

So the pods of these images never wait, and the evidence is fresh when a registry fails. The replica that holds a Lease
does it for all: each image is looked up once an hour, for any number of replicas.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import chain, zip_longest
from typing import Final, NoReturn

import msgspec

from sekisho.backoff import with_jitter
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.lease import LeaderLease, LeaseLost, Timing
from sekisho.cluster.pages import pages
from sekisho.telemetry.families import Family
from sekisho.webhook.evidence import LOOKUP_SECONDS
from sekisho.webhook.running_images import Basis, RunningImages, ToLookUp, families
from sekisho.webhook.shared_evidence import SharedEvidence

logger = logging.getLogger(__name__)

PODS: Final = "/api/v1/pods"
LEASE: Final = "sekisho-image-evidence"
TIMING: Final = Timing(duration=60.0, renew_deadline=45.0, retry=15.0)
"""Another replica may take over late: the work is done every half hour."""
PASS_SECONDS: Final = 1800.0
"""The time between two passes over what runs. An Event is kept for an hour after its last repeat, and the next pass
repeats it before that."""
RETRY_SECONDS: Final = 60.0
"""After pods could not be listed."""
MIN_REST_SECONDS: Final = 2.0
"""The shortest time between two passes, where policies or authorities change."""
REST: Final = 20
"""Then the next pass also waits this many times as long as the last one spent on reading and judging pods: thousands of
them take seconds, and policies may change all the time."""
POLL_SECONDS: Final = 1.0
"""How often it is checked whether policies or authorities have changed."""
MAX_PARALLEL_LOOKUPS: Final = 8
"""Images that are looked up again at the same time: one slow registry must not hold up the images of others."""
MAX_LOOKUP_SECONDS: Final = 600.0
"""The longest time that a pass waits for look-ups. It judges by what is known then."""
RECENT: Final = timedelta(minutes=45)
"""Facts that are younger are not looked up again: so they are in every other pass."""
_RUNNING: Final = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}


class EvidenceRefresh:
    """Looks up again what runs, and judges it; run `run`.

    namespace, identity: of the Lease, and of this replica, unique among them.
    clock: the time that facts age by.
    basis: what pods are judged by.
    """

    def __init__(
        self,
        api: ApiClient,
        namespace: str,
        identity: str,
        sharing: SharedEvidence,
        clock: Callable[[], datetime],
        basis: Basis,
    ) -> None:
        self._api = api
        self._lease = LeaderLease(api, namespace, LEASE, identity, TIMING)
        self._sharing = sharing
        self._clock = clock
        self._basis = basis
        self._counts: Mapping[tuple[str, ...], float] = {}
        self._judged_at: float | None = None
        self._seconds = 0.0
        """The time that the last pass spent on reading and judging pods."""

    async def run(self) -> NoReturn:
        """Refresh and judge while this replica holds the Lease, until cancelled."""
        while True:
            await self._lease.acquire()
            refreshing = asyncio.create_task(self.keep_up(), name="refresh of evidence")
            try:
                await self._lease.hold()
            except LeaseLost as lost:
                logger.warning("another replica refreshes evidence about images: %s", lost)
            finally:
                refreshing.cancel()
                self._counts, self._judged_at = {}, None
                await self._lease.release()

    def families(self) -> Iterator[Family]:
        """The metrics of the last pass; none on a replica without the Lease."""
        yield from families(self._counts, self._judged_at)

    async def keep_up(self) -> NoReturn:
        """Refresh and judge, until cancelled."""
        await self._basis.namespaces.wait_listed()
        while True:
            seconds, before = PASS_SECONDS, self._rules()
            try:
                await self.refresh()
            except (ApiError, ApiUnavailable, msgspec.DecodeError) as error:
                logger.warning("cannot list the pods whose images must be looked up again: %s", error)
                seconds = RETRY_SECONDS
            except Exception:  # the facts stay, and requests renew those that they need
                logger.exception("internal error while evidence about images was refreshed")
            await self._until_due(with_jitter(seconds, 0.1), before)

    async def _until_due(self, seconds: float, before: tuple[object, ...]) -> None:
        """Return after `seconds`, or soon after the rules have changed."""
        began = time.monotonic()
        soonest = max(MIN_REST_SECONDS, REST * self._seconds)
        while (waited := time.monotonic() - began) < seconds:
            if waited >= soonest and any(one is not other for one, other in zip(self._rules(), before, strict=True)):
                return
            await asyncio.sleep(POLL_SECONDS)

    def _rules(self) -> tuple[object, ...]:
        """What pods are judged by; each change makes new objects."""
        policies = self._basis.policies()
        return policies, self._basis.authorities(policies)

    async def refresh(self) -> None:
        """Look up each image that runs and whose facts are missing or old, a few at the same time, and judge all pods.

        Raises ApiError, ApiUnavailable, msgspec.DecodeError.
        """
        await self._sharing.reflector.wait_synced()
        self._seconds = 0.0
        running = await self._running()
        if running.to_look_up:
            waiting = _in_turn(running.to_look_up.values())
            with suppress(TimeoutError):
                async with asyncio.timeout(MAX_LOOKUP_SECONDS):
                    await asyncio.gather(*(self._look_up(waiting) for _ in range(MAX_PARALLEL_LOOKUPS)))
            if running.has_rules:
                running = await self._running()
        counts = await asyncio.to_thread(running.counts)
        for occurrence in running.occurrences:
            self._basis.record(occurrence)
        if running.left_out:
            logger.warning("%d owners of images that are no longer trusted get no Event", running.left_out)
        if running.unjudged:
            logger.warning("the images of %d running pods could not be judged", running.unjudged)
        self._counts, self._judged_at = counts, self._clock().timestamp()

    async def _look_up(self, images: Iterator[ToLookUp]) -> None:
        """Look up one image after the other."""
        for image in images:
            self._basis.evidence.start([image.reference], "", image.pull_secrets)
            await self._basis.evidence.settled([image.reference], LOOKUP_SECONDS, image.pull_secrets)

    async def _running(self) -> RunningImages:
        """All running pods, judged in a thread, so that reviews are answered meanwhile."""
        now = self._clock()
        running = RunningImages(self._basis, now, now - RECENT)
        try:
            async for page in pages(self._api, PODS, _RUNNING):
                began = time.monotonic()
                await asyncio.to_thread(running.judge, page.items or ())
                self._seconds += time.monotonic() - began
        finally:
            running.end()
        return running


def _in_turn(images: Iterable[ToLookUp]) -> Iterator[ToLookUp]:
    """The images of namespaces in turn, so that many of one do not hold up those of others."""
    by_namespace: dict[str, list[ToLookUp]] = {}
    for one in images:
        by_namespace.setdefault(one.namespace, []).append(one)
    in_turn = chain.from_iterable(zip_longest(*by_namespace.values()))
    return (image for image in in_turn if image is not None)
