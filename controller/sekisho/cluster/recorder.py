"""The recorder of Events: however many denials there are, the API server gets a bounded number of writes.

`record` only counts: occurrences with the same controller and the same content are one entry. Then tasks of two kinds
work. Some find the top owner of each entry and add the entry to that owner's series; the others write the new counts of
the series. What fails is tried again later, after the others, so that no failing look-up or write delays another.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from enum import StrEnum
from typing import NoReturn, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.backoff import backoff
from sekisho.cluster.events import Event, Occurrence, Series, Statement, body_of, event_of, events_path
from sekisho.cluster.owners import ObjectReference, Owners
from sekisho.cluster.work_queue import WorkQueue
from sekisho.telemetry.rates import TokenBucket
from sekisho.timestamps import micro_time

logger = logging.getLogger(__name__)

MAX_ENTRIES = 2048
"""Entries whose top owner is not known yet."""
MAX_SERIES = 4096
"""Series that are kept, written or not."""
SERIES_SECONDS = 3600.0
"""An occurrence this long after the last one starts a new series: the API server deleted the Event (--event-ttl)."""
WRITE_SECONDS = (15.0, 120.0)
"""The shortest time between two writes of a series: at first, and at most; it doubles with each write."""
LOOK_UP_SECONDS = (1.0, 8.0)
"""How long a worker waits for an owner at first, and at most in later attempts; the look-up goes on meanwhile."""
FLUSH_SECONDS = 3.0
"""How long unwritten Events may still be written when the process stops."""
MAX_FORBIDDEN = 5
"""Attempts after a 401 or 403: an API server that has just started does not know any permissions yet."""
_WORKERS = 8
_OWNER_BURST, _OWNER_PER_SECOND = 10, 1 / 60


class DropReason(StrEnum):
    """Why there is no Event about an occurrence."""

    QUEUE = "queue"
    """Too many entries or series."""
    OWNER_RATE = "owner_rate"
    """Too many different Events about one owner."""
    REJECTED = "rejected"
    """The API server rejected it."""
    STOPPED = "stopped"
    """The process stopped first."""
    ERROR = "error"
    """A defect."""


Key = tuple[ObjectReference, Statement]
H = TypeVar("H", "_Entry", "_Series")


class _Entry(Struct, gc=False):
    """An occurrence whose top owner is not known yet, and how often it has happened."""

    first: Occurrence
    observed: datetime
    count: int = 1
    failures: int = 0

    @property
    def unwritten(self) -> int:
        return self.count


class _Series(Struct, gc=False):
    """An Event, how often it has happened, and the part of that count that is written."""

    event: Event
    observed: datetime
    seen: float
    written_at: float = 0.0
    writes: int = 0
    count: int = 0
    written_count: int = 0
    failures: int = 0

    @property
    def unwritten(self) -> int:
        return self.count - self.written_count

    @property
    def due(self) -> float:
        """The monotonic time at which its count may be written next."""
        first, most = WRITE_SECONDS
        return self.written_at + min(first * 2.0 ** min(self.writes - 1, 10), most)


class EventRecorder:
    """Writes Events as `instance`, at most `per_second` in the long run. Run `run` in a task."""

    def __init__(self, api: ApiClient, owners: Owners, instance: str, per_second: float = 50.0) -> None:
        self._api = api
        self._owners = owners
        self._instance = instance
        self._bucket = TokenBucket(1, per_second)
        self._entries: dict[Key, _Entry] = {}
        """By the immediate controller. Each is in `_arrivals` or with a worker."""
        self._arrivals: WorkQueue[Key] = WorkQueue()
        self._unwritten: dict[Key, _Series] = {}
        """By the top owner. Each is in `_writes` or with a worker."""
        self._writes: WorkQueue[Key] = WorkQueue()
        self._written: OrderedDict[Key, _Series] = OrderedDict()
        """Those without an unwritten count; the one that happened last is the last."""
        self._owner_buckets: OrderedDict[ObjectReference, TokenBucket] = OrderedDict()
        self._log_rate = TokenBucket(5, 1 / 60)
        self._is_failing = False
        self._progress = asyncio.Event()
        self.sent = 0
        """Requests that wrote an Event or a series."""
        self.dropped = dict.fromkeys(DropReason, 0)
        """Occurrences without an Event, by reason."""

    def record(self, occurrence: Occurrence) -> None:
        """Count an occurrence. Never raises."""
        key = (occurrence.regarding, occurrence.statement)
        entry = self._entries.get(key)
        if entry is not None:
            entry.count += 1
            entry.observed = occurrence.observed
        elif len(self._entries) < MAX_ENTRIES:
            self._entries[key] = _Entry(occurrence, occurrence.observed)
            self._arrivals.put(key)
        else:
            self.dropped[DropReason.QUEUE] += 1

    async def run(self) -> None:
        """Write until cancelled, and then for up to FLUSH_SECONDS what is unwritten."""
        loops = [self._work(self._arrivals, self._entries, self._find_owner) for _ in range(_WORKERS)]
        loops += [self._work(self._writes, self._unwritten, self._write) for _ in range(_WORKERS)]
        workers = [asyncio.create_task(loop) for loop in loops]
        try:
            ended, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            for worker in ended:  # a worker ends only by a defect
                worker.result()
        finally:
            self._arrivals.hurry()
            self._writes.hurry()
            try:
                async with asyncio.timeout(FLUSH_SECONDS):
                    while self._entries or self._unwritten:
                        self._progress.clear()
                        await self._progress.wait()
            except TimeoutError:
                self.dropped[DropReason.STOPPED] += sum(entry.unwritten for entry in self._entries.values())
                self.dropped[DropReason.STOPPED] += sum(series.unwritten for series in self._unwritten.values())
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(
        self, queue: WorkQueue[Key], held: MutableMapping[Key, H], act: Callable[[Key, H], Awaitable[None]]
    ) -> NoReturn:
        """Take one key after another. A key for which `act` fails goes back into the queue when that may help."""
        while True:
            key = await queue.take()
            item = held[key]
            try:
                await act(key, item)
                self._is_failing = False
            except (ApiError, ApiUnavailable, TimeoutError) as error:
                if _may_succeed(error, item.failures):
                    self._log_once(error)
                    item.failures += 1
                    queue.put(key, backoff(item.failures))
                elif _is_of_namespace(error):
                    held.pop(key)  # nobody can read Events there any more
                else:
                    self._drop(held, key, DropReason.REJECTED, error)
            except Exception as error:  # a defect in an Event must not end the process
                self._drop(held, key, DropReason.ERROR, error)
            self._progress.set()

    def _drop(self, held: MutableMapping[Key, H], key: Key, reason: DropReason, error: Exception) -> None:
        if key in held:
            self.dropped[reason] += held[key].unwritten
            del held[key]
        if self._log_rate.take(time.monotonic()):
            logger.warning("cannot write an Event: %s: %s", type(error).__name__, error)

    def _log_once(self, error: Exception) -> None:
        if not self._is_failing and self._log_rate.take(time.monotonic()):
            self._is_failing = True
            logger.warning(
                "cannot write Events, trying again: %s", str(error) or "the look-up of an owner takes too long"
            )

    async def _find_owner(self, key: Key, entry: _Entry) -> None:
        """Add an entry to the series of its top owner."""
        first, most = LOOK_UP_SECONDS
        top = entry.first.regarding
        try:
            async with asyncio.timeout(min(first * 2.0 ** min(entry.failures, 10), most)):
                top = await self._owners.top(top)
        except ApiError as error:
            if _may_succeed(error, entry.failures):
                raise
        series = self._series_of((top, entry.first.statement), entry)
        if series is not None:
            series.count += entry.count
            series.observed, series.seen = entry.observed, time.monotonic()
        del self._entries[key]

    def _series_of(self, key: Key, entry: _Entry) -> _Series | None:
        """The series for an entry, in the queue to be written; None when it must be dropped."""
        series = self._unwritten.get(key)
        if series is not None:
            return series
        now = time.monotonic()
        series = self._written.pop(key, None)
        if series is not None and now - series.seen < SERIES_SECONDS:
            self._writes.put(key, series.due - now)
        elif not self._owner_bucket(key[0]).take(now):
            self.dropped[DropReason.OWNER_RATE] += entry.count
            if self._log_rate.take(now):
                logger.warning("too many different Events about %s %s/%s", key[0].kind, key[0].namespace, key[0].name)
            return None
        elif len(self._unwritten) + len(self._written) >= MAX_SERIES and not self._forget():
            self.dropped[DropReason.QUEUE] += entry.count
            return None
        else:
            series = _Series(event_of(entry.first, key[0], self._instance), entry.observed, now)
            self._writes.put(key, urgent=True)
        self._unwritten[key] = series
        return series

    def _forget(self) -> bool:
        """Make room by removing the oldest series without an unwritten count; False when there is none."""
        if self._written:
            self._written.popitem(last=False)
            return True
        return False

    def _owner_bucket(self, owner: ObjectReference) -> TokenBucket:
        bucket = self._owner_buckets.pop(owner, None) or TokenBucket(_OWNER_BURST, _OWNER_PER_SECOND)
        self._owner_buckets[owner] = bucket
        if len(self._owner_buckets) > MAX_SERIES:
            self._owner_buckets.popitem(last=False)
        return bucket

    async def _write(self, key: Key, series: _Series) -> None:
        """Write a series: its Event, or its new count."""
        await asyncio.sleep(self._bucket.reserve(time.monotonic()))
        count = series.count
        repeats = Series(count, micro_time(series.observed)) if count > 1 else None
        if not (series.written_count and await self._update(series.event, repeats)):
            await self._create(series.event, repeats)
        series.written_count, series.failures = count, 0
        series.written_at, series.writes = time.monotonic(), series.writes + 1
        if series.unwritten:
            self._writes.put(key, series.due - series.written_at)
        else:
            self._written[key] = self._unwritten.pop(key)

    async def _create(self, event: Event, repeats: Series | None) -> None:
        path = events_path(event.metadata.namespace)
        try:
            await self._api.create(path, body_of(replace(event, series=repeats)))
            self.sent += 1
        except ApiError as error:
            if error.status != 409:
                raise
            # An earlier attempt succeeded after all, perhaps with a lower count.
            if repeats is not None:
                await self._update(event, repeats)

    async def _update(self, event: Event, repeats: Series | None) -> bool:
        """Write a count; False when the API server has deleted the Event."""
        path = f"{events_path(event.metadata.namespace)}/{event.metadata.name}"
        try:
            await self._api.patch(path, msgspec.json.encode({"series": repeats}))
            self.sent += 1
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True


def _may_succeed(error: Exception, failures: int) -> bool:
    """Whether another attempt may succeed."""
    if not isinstance(error, ApiError) or error.is_transient:
        return True
    return error.status in (401, 403) and failures < MAX_FORBIDDEN and not _is_of_namespace(error)


def _is_of_namespace(error: Exception) -> bool:
    """Whether the Event's namespace does not exist or is being deleted."""
    return isinstance(error, ApiError) and (error.status == 404 or "is being terminated" in error.message)
