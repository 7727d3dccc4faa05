"""Keeps the shared evidence of images that run up to date, so that their pods never wait and outages find it fresh.

One replica does it for all, the one that holds a Lease: each image is asked about once an hour, however many replicas
there are.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final, NoReturn

import msgspec
from msgspec import Struct

from sekisho.backoff import spread
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.lease import LeaderLease, LeaseLost, Timing
from sekisho.cluster.pages import pages
from sekisho.images import ImageError, Reference, parse
from sekisho.images.evidence import evidence_key
from sekisho.pods import PodSpec
from sekisho.webhook.evidence import LOOKUP_SECONDS, EvidenceStore
from sekisho.webhook.pod_pull_secrets import PodPullSecrets, pull_secrets_of_pod
from sekisho.webhook.shared_evidence import SharedEvidence

logger = logging.getLogger(__name__)

PODS: Final = "/api/v1/pods"
LEASE: Final = "sekisho-image-evidence"
TIMING: Final = Timing(duration=60.0, renew_deadline=45.0, retry=15.0)
"""Another replica may take over late: the work is hourly."""
REFRESH_SECONDS: Final = 3600.0
RETRY_SECONDS: Final = 60.0
"""After pods could not be listed."""
MAX_AT_ONCE: Final = 8
"""Images that are looked up again at the same time: one slow registry must not hold up the images of others."""
RECENT: Final = timedelta(minutes=30)
"""Facts that are younger are not looked up again: a request may have renewed them."""
_RUNNING: Final = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}


class _Meta(Struct, frozen=True):
    namespace: str = ""


class _RunningPod(Struct, frozen=True):
    metadata: _Meta
    spec: PodSpec = PodSpec()


_decoder = msgspec.json.Decoder(_RunningPod)
Running = Mapping[str, tuple[Reference, PodPullSecrets | None]]
"""Images that run, by `evidence_key`, each with the pull Secrets of one of its pods."""


class EvidenceRefresh:
    """Looks up again what runs; run `run`.

    namespace, identity: of the Lease, and of this replica, unique among them.
    clock: the time that facts age by.
    uses_pod_secrets: whether pods' own pull Secrets are read.
    """

    def __init__(
        self,
        api: ApiClient,
        namespace: str,
        identity: str,
        evidence: EvidenceStore,
        sharing: SharedEvidence,
        clock: Callable[[], datetime],
        *,
        uses_pod_secrets: bool,
    ) -> None:
        self._api = api
        self._lease = LeaderLease(api, namespace, LEASE, identity, TIMING)
        self._evidence = evidence
        self._sharing = sharing
        self._clock = clock
        self._uses_pod_secrets = uses_pod_secrets

    async def run(self) -> NoReturn:
        """Refresh each hour while this replica holds the Lease, until cancelled."""
        while True:
            await self._lease.acquire()
            refreshing = asyncio.create_task(self._refresh_hourly(), name="refresh of evidence")
            try:
                await self._lease.hold()
            except LeaseLost as lost:
                logger.warning("another replica refreshes evidence about images: %s", lost)
            finally:
                refreshing.cancel()
                await self._lease.release()

    async def _refresh_hourly(self) -> NoReturn:
        while True:
            seconds = REFRESH_SECONDS
            try:
                await self.refresh()
            except (ApiError, ApiUnavailable, msgspec.DecodeError) as error:
                logger.warning("cannot list the pods whose images are to be looked up again: %s", error)
                seconds = RETRY_SECONDS
            except Exception:  # the facts stay, and requests renew those that they need
                logger.exception("internal error while evidence about images was refreshed")
            await asyncio.sleep(spread(seconds, 0.1))

    async def refresh(self) -> None:
        """Look up each image that runs and whose shared facts are not recent, a few at the same time.

        Raises ApiError, ApiUnavailable, msgspec.DecodeError.
        """
        await self._sharing.reflector.wait_synced()
        running = await self._running()
        waiting = iter(running.values())
        await asyncio.gather(*(self._look_up(waiting) for _ in range(MAX_AT_ONCE)))

    async def _look_up(self, images: Iterator[tuple[Reference, PodPullSecrets | None]]) -> None:
        """Look up one image after the other."""
        for reference, secrets in images:
            self._evidence.start([reference], "", secrets)
            await self._evidence.settled([reference], LOOKUP_SECONDS, secrets)

    async def _running(self) -> Running:
        """The images that run, as far as their shared facts are not recent."""
        before = self._clock() - RECENT
        running: dict[str, tuple[Reference, PodPullSecrets | None]] = {}
        async for namespace, spec in self._pods():
            secrets = pull_secrets_of_pod(namespace, spec) if self._uses_pod_secrets else None
            for reference in _references(spec):
                key = evidence_key(reference)
                looked_up = None if key is None else self._sharing.looked_up(key)
                if key is not None and looked_up is not None and looked_up < before:
                    running.setdefault(key, (reference, secrets))
        return running

    async def _pods(self) -> AsyncIterator[tuple[str, PodSpec]]:
        async for page in pages(self._api, PODS, _RUNNING):
            for raw in page.items or ():
                pod = _decoder.decode(raw)
                yield pod.metadata.namespace, pod.spec


def _references(spec: PodSpec) -> Iterator[Reference]:
    """The images of a pod that have a digest."""
    containers = (*(spec.init_containers or ()), *(spec.containers or ()), *(spec.ephemeral_containers or ()))
    volumes = (volume.image.reference for volume in spec.volumes or () if volume.image is not None)
    for image in (*(container.image for container in containers), *volumes):
        try:
            reference = parse(image or "")
        except ImageError:
            continue
        if reference.digest is not None:
            yield reference
