"""The recorder of Events: whatever happens, and however often, the API server gets a bounded number of writes.

`record` counts, and nothing more: what happened to the same controller and is told in the same words is one entry,
from the first moment on. Then two kinds of tasks work. Some find the top owner of each entry and add it to the series
of that owner; the others write what is new of the series. What fails for the moment comes again later, after the
others: no owner that cannot be looked up, and no Event that cannot be written, holds up another.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from typing import Final, NoReturn, TypeVar

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
"""Entries whose owner is not known yet."""
MAX_SERIES = 4096
SERIES_SECONDS = 3600.0
"""It counts as a repeat for as long as the API server keeps an Event (--event-ttl) after its last one."""
WRITE_SECONDS = (15.0, 120.0)
"""The count of a series is written at most this often: at first, and, each time half as often, in the end."""
LOOK_UP_SECONDS = (1.0, 8.0)
"""How long a worker waits for an owner at first, and at most in later tries; the look-up itself goes on meanwhile."""
FLUSH_SECONDS = 3.0
MAX_DENIALS = 5
"""Tries that may be forbidden: an API server that has just started knows no permissions yet."""
_WORKERS = 8
_OWNER_BURST, _OWNER_PER_SECOND = 10, 1 / 60

DROPPED: Final = ("queue", "owner_rate", "denied", "stopped", "error")
"""Why something is told by no Event: no room; too many different Events of one owner; the API server wants none of
it; the process ended; a defect."""

Key = tuple[ObjectReference, Statement]
H = TypeVar("H", "_Entry", "_Series")


class _Entry(Struct, gc=False):
    """What happened, before its owner is known: the first time, and how often by now."""

    first: Occurrence
    observed: datetime
    count: int = 1
    failures: int = 0

    @property
    def untold(self) -> int:
        return self.count


class _Series(Struct, gc=False):
    """An Event, how often it happened, and how much of that was written."""

    event: Event
    observed: datetime
    seen: float
    written: float = 0.0
    writes: int = 0
    count: int = 0
    told: int = 0
    failures: int = 0

    @property
    def untold(self) -> int:
        return self.count - self.told

    @property
    def due(self) -> float:
        """When its count may be written next."""
        first, most = WRITE_SECONDS
        return self.written + min(first * 2.0 ** min(self.writes - 1, 10), most)


class EventRecorder:
    """Writes Events as `instance`, at most `per_second` in the long run. Let a task `run`."""

    def __init__(self, api: ApiClient, owners: Owners, instance: str, per_second: float = 50.0) -> None:
        self._api = api
        self._owners = owners
        self._instance = instance
        self._bucket = TokenBucket(1, per_second)
        self._entries: dict[Key, _Entry] = {}
        """By the immediate controller. Each is in `_arrivals` or in a worker's hands."""
        self._arrivals: WorkQueue[Key] = WorkQueue()
        self._unwritten: dict[Key, _Series] = {}
        """By the top owner. Each is in `_writes` or in a worker's hands."""
        self._writes: WorkQueue[Key] = WorkQueue()
        self._written: OrderedDict[Key, _Series] = OrderedDict()
        """Those of which all is written; the one that happened last is the last."""
        self._owner_buckets: OrderedDict[ObjectReference, TokenBucket] = OrderedDict()
        self._complaints = TokenBucket(5, 1 / 60)
        self._in_trouble = False
        self._progress = asyncio.Event()
        self.sent = 0
        """How many requests wrote an Event or a series."""
        self.dropped = dict.fromkeys(DROPPED, 0)
        """How many occurrences are told by no Event, by reason."""

    def record(self, occurrence: Occurrence) -> None:
        """Count an occurrence. Costs nothing; never fails."""
        key = (occurrence.regarding, occurrence.statement)
        entry = self._entries.get(key)
        if entry is not None:
            entry.count += 1
            entry.observed = occurrence.observed
        elif len(self._entries) < MAX_ENTRIES:
            self._entries[key] = _Entry(occurrence, occurrence.observed)
            self._arrivals.put(key)
        else:
            self.dropped["queue"] += 1

    async def run(self) -> None:
        """Write until cancelled; what is there then is still written, within FLUSH_SECONDS."""
        work = [self._work(self._arrivals, self._entries, self._find_owner) for _ in range(_WORKERS)]
        work += [self._work(self._writes, self._unwritten, self._write) for _ in range(_WORKERS)]
        workers = [asyncio.create_task(each) for each in work]
        try:
            ended, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            for worker in ended:  # none ends but by a defect
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
                self.dropped["stopped"] += sum(entry.untold for entry in self._entries.values())
                self.dropped["stopped"] += sum(series.untold for series in self._unwritten.values())
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(
        self, queue: WorkQueue[Key], held: MutableMapping[Key, H], act: Callable[[Key, H], Awaitable[None]]
    ) -> NoReturn:
        """Take one key after the other. What `act` does not finish for the moment goes back into the queue."""
        while True:
            key = await queue.take()
            each = held[key]
            try:
                await act(key, each)
                self._in_trouble = False
            except (ApiError, ApiUnavailable, TimeoutError) as error:
                if _may_succeed(error, each.failures):
                    self._complain_once(error)
                    each.failures += 1
                    queue.put(key, backoff(each.failures))
                elif _is_of_namespace(error):
                    held.pop(key)  # nobody is left there to be told
                else:
                    self._give_up(held, key, "denied", error)
            except Exception as error:  # an Event is never worth the process
                self._give_up(held, key, "error", error)
            self._progress.set()

    def _give_up(self, held: MutableMapping[Key, H], key: Key, reason: str, error: Exception) -> None:
        if key in held:
            self.dropped[reason] += held[key].untold
            del held[key]
        if self._complaints.take(time.monotonic()):
            logger.warning("cannot write an Event: %s: %s", type(error).__name__, error)

    def _complain_once(self, error: Exception) -> None:
        if not self._in_trouble and self._complaints.take(time.monotonic()):
            self._in_trouble = True
            logger.warning("cannot write Events for the moment: %s", str(error) or "an owner's look-up takes long")

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
        """The series, which is going to be written; None where there is to be none."""
        series = self._unwritten.get(key)
        if series is not None:
            return series
        now = time.monotonic()
        series = self._written.pop(key, None)
        if series is not None and now - series.seen < SERIES_SECONDS:
            self._writes.put(key, series.due - now)
        elif not self._owner_bucket(key[0]).take(now):
            self.dropped["owner_rate"] += entry.count
            if self._complaints.take(now):
                logger.warning("too many different Events of %s %s/%s", key[0].kind, key[0].namespace, key[0].name)
            return None
        elif len(self._unwritten) + len(self._written) >= MAX_SERIES and not self._forget():
            self.dropped["queue"] += entry.count
            return None
        else:
            series = _Series(event_of(entry.first, key[0], self._instance), entry.observed, now)
            self._writes.put(key, urgent=True)
        self._unwritten[key] = series
        return series

    def _forget(self) -> bool:
        """Make room for a series, at the cost of one that is written and rests."""
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
        """Write what is new of a series: its Event, or the count of it."""
        await asyncio.sleep(self._bucket.reserve(time.monotonic()))
        count = series.count
        told = Series(count, micro_time(series.observed)) if count > 1 else None
        if not (series.told and await self._update(series.event, told)):
            await self._create(series.event, told)
        series.told, series.failures = count, 0
        series.written, series.writes = time.monotonic(), series.writes + 1
        if series.untold:
            self._writes.put(key, series.due - series.written)
        else:
            self._written[key] = self._unwritten.pop(key)

    async def _create(self, event: Event, told: Series | None) -> None:
        path = events_path(event.metadata.namespace)
        try:
            await self._api.create(path, body_of(replace(event, series=told)))
            self.sent += 1
        except ApiError as error:
            if error.status != 409:
                raise
            # An earlier try arrived after all, and may not have counted as far.
            if told is not None:
                await self._update(event, told)

    async def _update(self, event: Event, told: Series | None) -> bool:
        """Write a count; False when the Event is gone, for its time to live was over."""
        path = f"{events_path(event.metadata.namespace)}/{event.metadata.name}"
        try:
            await self._api.patch(path, msgspec.json.encode({"series": told}))
            self.sent += 1
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True


def _may_succeed(error: Exception, failures: int) -> bool:
    """Whether it is worth another try."""
    if not isinstance(error, ApiError) or error.is_transient:
        return True
    return error.status in (401, 403) and failures < MAX_DENIALS and not _is_of_namespace(error)


def _is_of_namespace(error: Exception) -> bool:
    """Whether an Event cannot be written because its namespace is gone, or goes."""
    return isinstance(error, ApiError) and (error.status == 404 or "is being terminated" in error.message)
