"""The recorder of Events: however many denials there are, the API server gets a bounded number of writes.

`record` only counts: occurrences with the same controller and the same content are one entry. Then tasks of two kinds
work. Some find the top owner of each entry and add the entry to that owner's series; the others write the new counts of
the series. What fails is tried again later, after the others, so that no failing look-up or write delays another.

Namespaces take turns, each in the order of first occurrence. When more is held than permitted, the newest of the
namespace that has the most is dropped. So many denials in one namespace do not delay or drop another's Events.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NoReturn

import msgspec
from msgspec.structs import replace

from sekisho.backoff import backoff, doubling_delay
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.events import (
    Event,
    Occurrence,
    Series,
    Statement,
    as_owner_writes_it,
    body_of,
    event_of,
    events_path,
)
from sekisho.cluster.owners import ObjectReference, Owners
from sekisho.cluster.recorded import DropReason, H, Held, HeldEntry, HeldSeries, Key, text_bytes
from sekisho.cluster.work_queue import WorkQueue
from sekisho.telemetry.rates import TokenBucket
from sekisho.timestamps import micro_time

logger = logging.getLogger(__name__)

MAX_ENTRY_BYTES = 16 << 20
"""The size of all entries whose top owner is not known yet."""
MAX_SERIES_BYTES = 16 << 20
"""The size of all series that are kept, written or not."""
SERIES_SECONDS = 3600.0
"""An occurrence this long after the last one starts a new series: the API server deleted the Event (--event-ttl)."""
LOOK_UP_SECONDS = (1.0, 8.0)
"""How long a worker waits for an owner at first, and at most in later attempts; the look-up goes on meanwhile."""
FLUSH_SECONDS = 3.0
"""How long unwritten Events may still be written when the process stops."""
MAX_FORBIDDEN = 5
"""Attempts after a 401 or 403: an API server that has just started does not know any permissions yet."""
MAX_OWNERS = 16384
"""Owners whose rate of different Events is kept."""
_WORKERS = 8
_OWNER_BURST, _OWNER_PER_SECOND = 10, 1 / 60


class EventRecorder:
    """Writes Events as `instance`, at most `per_second` in the long run. Run `run` in a task."""

    def __init__(
        self,
        api: ApiClient,
        owners: Owners,
        instance: str,
        per_second: float = 50.0,
        on_dropped: Callable[[Statement, int], None] = lambda content, count: None,
    ) -> None:
        """on_dropped: called with how many occurrences of a statement no Event shows, while the process runs."""
        self._api = api
        self._owners = owners
        self._instance = instance
        self._on_dropped = on_dropped
        self._bucket = TokenBucket(1, per_second)
        self._entries: Held[HeldEntry] = Held()
        """By the immediate controller. Each is in `_arrivals` or with a worker."""
        self._arrivals: WorkQueue[Key] = WorkQueue()
        self._unwritten: Held[HeldSeries] = Held()
        """By the top owner. Each is in `_writes` or with a worker."""
        self._writes: WorkQueue[Key] = WorkQueue()
        self._written: Held[HeldSeries] = Held()
        """Those without an unwritten count; the one that happened last is the last."""
        self._owner_buckets: OrderedDict[int, TokenBucket] = OrderedDict()
        """By the hash of the owner, which is small however long its names are."""
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
            return
        self._entries.add(key, HeldEntry(occurrence, occurrence.observed))
        self._arrivals.put(key, key[0].namespace)
        self._make_room(self._arrivals, self._entries, MAX_ENTRY_BYTES, key)

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
                    while len(self._entries) or len(self._unwritten):
                        self._progress.clear()
                        await self._progress.wait()
            except TimeoutError:
                self.dropped[DropReason.STOPPED] += self._entries.unwritten + self._unwritten.unwritten
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, queue: WorkQueue[Key], held: Held[H], act: Callable[[Key, H], Awaitable[None]]) -> NoReturn:
        """Take one key after another. A key for which `act` fails goes back into the queue when that may help."""
        while True:
            key = await queue.take()
            item = held.get(key)
            if item is None:  # a defect, which must not end the process
                continue
            try:
                await act(key, item)
                self._is_failing = False
            except (ApiError, ApiUnavailable, TimeoutError) as error:
                if _may_succeed(error, item.failures):
                    self._log_once(error)
                    item.failures += 1
                    queue.put(key, key[0].namespace, backoff(item.failures))
                elif _is_of_namespace(error):
                    held.pop(key)  # nobody can read Events there any more
                else:
                    self._drop(held, key, DropReason.REJECTED, f"{type(error).__name__}: {error}")
            except Exception as error:  # a defect in an Event must not end the process
                self._drop(held, key, DropReason.ERROR, f"{type(error).__name__}: {error}")
            self._progress.set()

    def _drop(self, held: Held[H], key: Key, reason: DropReason, why: str) -> None:
        item = held.pop(key)
        if item is not None:
            self._count_dropped(key, reason, item.unwritten, why)

    def _count_dropped(self, key: Key, reason: DropReason, count: int, why: str) -> None:
        self.dropped[reason] += count
        self._on_dropped(key[1], count)
        if self._log_rate.take(time.monotonic()):
            logger.warning("cannot write an Event about %s %s/%s: %s", key[0].kind, key[0].namespace, key[0].name, why)

    def _make_room(self, queue: WorkQueue[Key], held: Held[H], max_bytes: int, newest: Key) -> None:
        """Drop what there is too much of; `newest` was added last, and is in the queue."""
        while held.bytes > max_bytes:
            key = queue.remove_last(held.largest_namespace())
            if key is None:  # workers have all of that namespace
                key = queue.remove_last(newest[0].namespace)
            if key is None:
                return
            self._drop(held, key, DropReason.QUEUE, "too many denials at a time")

    def _log_once(self, error: Exception) -> None:
        if not self._is_failing and self._log_rate.take(time.monotonic()):
            self._is_failing = True
            logger.warning(
                "cannot write Events, trying again: %s", str(error) or "the look-up of an owner takes too long"
            )

    async def _find_owner(self, key: Key, entry: HeldEntry) -> None:
        """Add an entry to the series of its top owner."""
        first, longest = LOOK_UP_SECONDS
        top = entry.first.regarding
        content = entry.first.statement
        try:
            top = await self._owners.top(top, doubling_delay(first, entry.failures + 1, longest))
            content = as_owner_writes_it(content, top)
        except ApiError as error:
            if _may_succeed(error, entry.failures):
                raise
        series_key = (top, content)
        series = self._series_of(series_key, entry)
        self._entries.pop(key)
        if series is None:
            self._count_dropped(series_key, DropReason.OWNER_RATE, entry.count, "too many different Events about it")
            return
        series.count += entry.count
        series.observed, series.seen = entry.observed, time.monotonic()
        while len(self._written) and self._unwritten.bytes + self._written.bytes > MAX_SERIES_BYTES:
            self._written.pop_oldest()
        self._make_room(self._writes, self._unwritten, MAX_SERIES_BYTES, series_key)

    def _series_of(self, key: Key, entry: HeldEntry) -> HeldSeries | None:
        """The series for an entry, in the queue to be written; None when its owner has too many."""
        series = self._unwritten.get(key)
        if series is not None:
            return series
        now = time.monotonic()
        series = self._written.pop(key)
        if series is not None and now - series.seen < SERIES_SECONDS:
            self._writes.put(key, key[0].namespace, series.due - now)
        elif not self._owner_bucket(key[0]).take(now):
            return None
        else:
            event = event_of(replace(entry.first, statement=key[1]), key[0], self._instance)
            series = HeldSeries(event, text_bytes(key[1], key[0], event.related), entry.observed, now)
            self._writes.put(key, key[0].namespace, urgent=True)
        self._unwritten.add(key, series)
        return series

    def _owner_bucket(self, owner: ObjectReference) -> TokenBucket:
        key = hash(owner)
        bucket = self._owner_buckets.pop(key, None) or TokenBucket(_OWNER_BURST, _OWNER_PER_SECOND)
        self._owner_buckets[key] = bucket
        if len(self._owner_buckets) > MAX_OWNERS:
            self._owner_buckets.popitem(last=False)
        return bucket

    async def _write(self, key: Key, series: HeldSeries) -> None:
        """Write a series: its Event, or its new count."""
        await asyncio.sleep(self._bucket.reserve(time.monotonic()))
        count = series.count
        repeats = Series(count, micro_time(series.observed)) if count > 1 else None
        if not (series.written_count and await self._update(series.event, repeats)):
            await self._create(series.event, repeats)
        series.written_count, series.failures = count, 0
        series.written_at, series.writes = time.monotonic(), series.writes + 1
        if series.unwritten:
            self._writes.put(key, key[0].namespace, series.due - series.written_at)
        else:
            self._unwritten.pop(key)
            self._written.add(key, series)

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
