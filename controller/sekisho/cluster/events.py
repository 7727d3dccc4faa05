"""Events about denials (events.k8s.io/v1), where the user looks: on the Deployment, not on a pod that never was.

`EventRecorder.record` only queues; a task writes. The same denial of the same owner again becomes a series of one
Event, counted. Token buckets bound what one owner and all together may write; what is dropped is counted.

Source: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

import asyncio
import hashlib
import logging
import random
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NoReturn, TypeVar

import msgspec
from msgspec import Struct

from sekisho.admission import Review
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.lease import micro_time
from sekisho.cluster.names import LONGEST_SUBDOMAIN, is_label, is_subdomain
from sekisho.cluster.owners import ObjectReference, Owners, controller_of
from sekisho.cluster.rates import TokenBucket

logger = logging.getLogger(__name__)

V = TypeVar("V")

MOST_QUEUED = 1000
MOST_SERIES = 2000
LONGEST_NOTE = 1024
"""Bytes; the API server refuses more, and instances of more than 128 characters."""
LONGEST_INSTANCE = 128
SERIES_SECONDS = 3600.0
"""A denial counts as a repeat for as long as the API server keeps an Event (--event-ttl) after its last one."""
WRITE_SECONDS = 15.0
"""A series is written at most this often."""
FLUSH_SECONDS = 3.0
_OWNER_BURST, _OWNER_PER_SECOND = 10, 1 / 60
_TOTAL_BURST, _TOTAL_PER_SECOND = 100, 10
_MOST_BACKOFF_SECONDS = 15.0


class Denial(Struct, frozen=True):
    """What an Event says: what was refused, its controller (None: it has none), why, and when.

    A new pod with a generated name is `refused` by the prefix of that name, which is what its user wrote, and with
    `is_named` false: there is no such pod, and the next try has another name.
    """

    refused: ObjectReference
    is_named: bool
    owner: ObjectReference | None
    note: str
    observed: datetime


class _Meta(Struct, frozen=True):
    name: str
    namespace: str


class _EventSeries(Struct, frozen=True, rename="camel"):
    count: int
    last_observed_time: str


class _Event(Struct, frozen=True, rename="camel", omit_defaults=True):
    metadata: _Meta
    event_time: str
    reporting_instance: str
    regarding: ObjectReference
    note: str
    related: ObjectReference | None = None
    series: _EventSeries | None = None


class _Series(Struct):
    """The Event of a denial, and its repeats."""

    event: _Event
    count: int
    observed: datetime
    seen: float
    written: float


def denial_of(review: Review, message: str, observed: datetime) -> Denial | None:
    """What to record of a review that was refused with `message`; None for a dry run, and outside of namespaces."""
    if review.dry_run or not review.namespace or not is_label(review.namespace):
        return None
    kind, meta = review.kind, review.metadata
    is_named = bool(review.name or meta.name) and not (review.operation == "CREATE" and meta.generate_name)
    name = (review.name or meta.name if is_named else meta.generate_name) or kind.kind.lower()
    refused = ObjectReference(
        api_version=(f"{kind.group}/{kind.version}" if kind.group else kind.version)[:LONGEST_SUBDOMAIN],
        kind=kind.kind[:LONGEST_SUBDOMAIN],
        name=name[:LONGEST_SUBDOMAIN],
        namespace=review.namespace,
    )
    owner = controller_of(meta.owner_references, refused.namespace)
    return Denial(refused, is_named, owner, note_of(message), observed)


def note_of(message: str) -> str:
    """The message, cut to what an Event holds: after a whole line, or else a whole sentence."""
    if len(message.encode()) <= LONGEST_NOTE:
        return message
    cut = message.encode()[: LONGEST_NOTE - 4].decode(errors="ignore")
    for end in ("\n", ". "):
        head, found, _ = cut.rpartition(end)
        if found:
            return f"{head}{end}…"
    return f"{cut}…"


class EventRecorder:
    """Writes Events as `instance`. Let a task `run`."""

    def __init__(self, api: ApiClient, owners: Owners, instance: str) -> None:
        self._api = api
        self._owners = owners
        self._instance = instance[:LONGEST_INSTANCE]
        self._queue: deque[Denial] = deque()
        self._queued = asyncio.Event()
        self._series: OrderedDict[tuple[ObjectReference, str], _Series] = OrderedDict()
        self._unwritten: dict[str, _Series] = {}
        self._owner_buckets: OrderedDict[ObjectReference, TokenBucket] = OrderedDict()
        self._bucket = TokenBucket(_TOTAL_BURST, _TOTAL_PER_SECOND)
        self.sent = 0
        """How many requests wrote an Event or a series."""
        self.dropped: Counter[str] = Counter()
        """How many denials led to no Event, by reason: queue, owner_rate, rate, refused."""

    def record(self, denial: Denial) -> None:
        """Queue a denial. Costs nothing; never fails."""
        if len(self._queue) >= MOST_QUEUED:
            self.dropped["queue"] += 1
            return
        self._queue.append(denial)
        self._queued.set()

    async def run(self) -> NoReturn:
        """Write until cancelled; what is queued then is still written, within FLUSH_SECONDS."""
        try:
            while True:
                try:
                    async with asyncio.timeout(WRITE_SECONDS if self._unwritten else None):
                        await self._queued.wait()
                except TimeoutError:
                    pass
                await self._take_queued()
                await self._write_series(WRITE_SECONDS)
        finally:
            try:
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._take_queued()
                    await self._write_series(0.0)
            except TimeoutError:
                self.dropped["queue"] += len(self._queue)

    async def _take_queued(self) -> None:
        self._queued.clear()
        while self._queue:
            try:
                await self._take(self._queue[0])
            except ApiError as error:
                self.dropped["refused"] += 1
                logger.warning("cannot write an Event: %s", error)
            self._queue.popleft()

    async def _take(self, denial: Denial) -> None:
        """Count a repeat, or write a new Event. Raises ApiError when the API server wants none of it."""
        owner = denial.owner
        top = await _persist(lambda: self._owners.top(owner)) if owner is not None else denial.refused
        now = time.monotonic()
        key = (top, denial.note)
        series = self._series.get(key)
        if series is not None and now - series.seen < SERIES_SECONDS:
            series.count, series.observed, series.seen = series.count + 1, denial.observed, now
            self._series.move_to_end(key)
            self._unwritten[series.event.metadata.name] = series
        elif not self._owner_bucket(top).take(now):
            self.dropped["owner_rate"] += 1
        elif not self._bucket.take(now):
            self.dropped["rate"] += 1
        else:
            event = self._event_of(denial, top)
            await self._create(event)
            self._series[key] = _Series(event, count=1, observed=denial.observed, seen=now, written=now)
            if len(self._series) > MOST_SERIES:
                self._series.popitem(last=False)

    async def _write_series(self, spacing: float) -> None:
        """Write the counts of the series that were not written for `spacing` seconds, as far as the bucket lets."""
        now = time.monotonic()
        for name, series in list(self._unwritten.items()):
            if now - series.written < spacing:
                continue
            if not self._bucket.take(now):
                return
            series.written = now
            try:
                await self._write_count(series)
            except ApiError as error:
                logger.warning("cannot write an Event: %s", error)
            del self._unwritten[name]

    async def _write_count(self, series: _Series) -> None:
        count = _EventSeries(series.count, micro_time(series.observed))
        meta = series.event.metadata
        patch = msgspec.json.encode({"series": count})
        try:
            await _persist(lambda: self._api.patch(f"{_path(meta.namespace)}/{meta.name}", patch))
            self.sent += 1
        except ApiError as error:
            if error.status != 404:
                raise
            await self._create(msgspec.structs.replace(series.event, series=count))  # its time to live was over

    async def _create(self, event: _Event) -> None:
        constant = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "type": "Warning",
            "reason": "PodDenied",
            "action": "Admit",
            "reportingController": "sekisho.dev/webhook",
        }
        body = msgspec.json.encode(constant | msgspec.to_builtins(event))
        try:
            await _persist(lambda: self._api.create(_path(event.metadata.namespace), body))
        except ApiError as error:
            if error.status != 409:  # else an earlier try arrived after all
                raise
        self.sent += 1

    def _event_of(self, denial: Denial, top: ObjectReference) -> _Event:
        related = denial.refused if denial.is_named else denial.owner
        prefix = top.name[: LONGEST_SUBDOMAIN - 17].rstrip("-.")
        observed = micro_time(denial.observed)
        told = f"{top} {observed} {self._instance} {denial.note}".encode()
        # The same denial has the same name: one that is written twice, for the first answer was lost, is there once.
        suffix = hashlib.blake2s(told, digest_size=8).hexdigest()
        return _Event(
            metadata=_Meta(f"{prefix if is_subdomain(prefix) else 'denied'}.{suffix}", top.namespace),
            event_time=observed,
            reporting_instance=self._instance,
            regarding=top,
            note=denial.note,
            related=related if related != top else None,
        )

    def _owner_bucket(self, owner: ObjectReference) -> TokenBucket:
        bucket = self._owner_buckets.pop(owner, None) or TokenBucket(_OWNER_BURST, _OWNER_PER_SECOND)
        self._owner_buckets[owner] = bucket
        if len(self._owner_buckets) > MOST_SERIES:
            self._owner_buckets.popitem(last=False)
        return bucket


async def _persist(call: Callable[[], Awaitable[V]]) -> V:
    """The call's result, however long the API server is away. Raises ApiError when trying again is no use."""
    failures = 0
    while True:
        try:
            return await call()
        except ApiUnavailable as error:
            problem: Exception = error
        except ApiError as error:
            if not error.is_transient:
                raise
            problem = error
        if not failures:
            logger.warning("cannot write Events for the moment: %s", problem)
        failures += 1
        ceiling = min(0.25 * 2.0 ** min(failures, 10), _MOST_BACKOFF_SECONDS)
        await asyncio.sleep(ceiling * random.uniform(0.5, 1.0))  # noqa: S311 - jitter


def _path(namespace: str) -> str:
    return f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
