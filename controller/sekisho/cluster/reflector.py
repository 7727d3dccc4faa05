"""A reflector keeps a copy of a collection of the API server, current by list and watch.

It lists in pages, watches from the list's resourceVersion and resumes where a watch broke off; it lists again when the
server does not have that version any more (410). While the API server is not reachable the last copy stays, and
`stale_seconds` says how old it is. An object that cannot be decoded does not affect the others.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Generic, NoReturn, TypeVar

import msgspec

from sekisho.backoff import backoff, with_jitter
from sekisho.cluster.api import METADATA, METADATA_LIST, ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.pages import pages

logger = logging.getLogger(__name__)

T = TypeVar("T")

WATCH_SECONDS = (45, 75)
"""The server ends a watch after a random time in this range, so that watches do not all restart together. While nothing
changes, that is the only sign of life: bookmarks are sent only for newer versions."""
STALL_SECONDS = 15.0
"""A watch that is silent for this long past its end is broken."""


class _ListAgain(Exception):  # noqa: N818 - a condition, not a mistake
    """The watch cannot be resumed from the present version; the message says why."""


class _Meta(msgspec.Struct, rename="camel", frozen=True):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class _Object(msgspec.Struct, frozen=True):
    metadata: _Meta


class _WatchEvent(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Status(msgspec.Struct, frozen=True):
    code: int = 0
    reason: str = ""
    message: str = ""


_object_decoder = msgspec.json.Decoder(_Object)
_event_decoder = msgspec.json.Decoder(_WatchEvent)
_status_decoder = msgspec.json.Decoder(_Status)


def object_key(raw: bytes) -> str:
    """The key of an object in a reflector's copy, from its JSON: its name, or namespace/name."""
    return _object_decoder.decode(raw).metadata.key


class Reflector(Generic[T]):
    """A current copy of the objects at `path`, by name or namespace/name. Run `run` in a task.

    decode: makes the kept form of an object from its JSON, or None for an object that need not be kept. An object for
        which it raises is quarantined: the last version of it that could be decoded stays in the copy.
    on_change: called with the whole copy after it changed, once for changes that arrive together.
    on_version: called after `on_change` with the resourceVersion up to which the copy is complete.
    on_quarantine: called with the name and the error when an object is quarantined.
    on_removed: called with the kept form of each object that was deleted, after it left the copy.
    field_selector, label_selector: narrow the collection (`metadata.name=x` for a single object).
    metadata_only: request metadata only.
    max_per_namespace: how many objects of one namespace are kept, None for all. Those that come after them are left
        out, with a line in the log, until there is room when they change or are listed again.
    """

    def __init__(
        self,
        api: ApiClient,
        path: str,
        decode: Callable[[bytes], T | None],
        *,
        on_change: Callable[[Mapping[str, T]], None] = lambda objects: None,
        on_version: Callable[[str], None] = lambda version: None,
        on_quarantine: Callable[[str, Exception], None] = lambda name, error: None,
        on_removed: Callable[[T], None] = lambda kept: None,
        field_selector: str = "",
        label_selector: str = "",
        metadata_only: bool = False,
        max_per_namespace: int | None = None,
    ) -> None:
        self._api = api
        self._path = path
        self._decode = decode
        self._on_change = on_change
        self._on_version = on_version
        self._on_quarantine = on_quarantine
        self._on_removed = on_removed
        selectors = {"fieldSelector": field_selector, "labelSelector": label_selector}
        self._selector = {name: selector for name, selector in selectors.items() if selector}
        self._accept_list = METADATA_LIST if metadata_only else "application/json"
        self._accept_object = METADATA if metadata_only else "application/json"
        self._max_per_namespace = max_per_namespace
        self._objects: dict[str, T] = {}
        self._quarantined: dict[str, str] = {}
        self._numbers: Counter[str] = Counter()
        self._version = ""
        self._answered_at = -math.inf
        self._synced = asyncio.Event()
        self._changed = False
        self._flush_due = False
        self._problem = ""

    @property
    def objects(self) -> Mapping[str, T]:
        """The objects as they were last read; a live view."""
        return self._objects

    @property
    def quarantined(self) -> Mapping[str, str]:
        """The objects whose present version cannot be decoded, with the error's text."""
        return self._quarantined

    @property
    def synced(self) -> bool:
        """Whether the first list is complete."""
        return self._synced.is_set()

    @property
    def resource_version(self) -> str:
        """The version up to which the copy is complete, empty before the first list."""
        return self._version

    @property
    def stale_seconds(self) -> float:
        """Seconds since the API server last answered; infinite before the first list, up to 75 on a healthy watch."""
        return time.monotonic() - self._answered_at

    async def wait_synced(self) -> None:
        """Return when the first list is complete."""
        await self._synced.wait()

    async def run(self) -> NoReturn:
        """List and watch until cancelled. API failures are logged, and tried again."""
        failures = 0
        while True:
            started = time.monotonic()
            problem = ""
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except (_ListAgain, msgspec.DecodeError) as error:
                self._version, problem = "", str(error)
            except ApiError as error:
                if error.status == 410:  # the server keeps versions for some minutes only
                    self._version = ""
                else:
                    problem = str(error)
            except ApiUnavailable as error:
                problem = str(error)
            if problem and problem != self._problem:
                logger.warning("cannot watch %s, the last copy stays in use: %s", self._path, problem)
            self._problem = problem
            brief = time.monotonic() - started < 1.0
            failures = failures + 1 if brief else int(bool(problem))
            # A watch that the server ended in good order is resumed almost at once.
            await asyncio.sleep(backoff(failures) if failures else with_jitter(0.1, 0.5))

    async def _list(self) -> None:
        """Replace the copy by a new list. Nothing changes when a page of the list fails."""
        objects: dict[str, T] = {}
        quarantined: dict[str, str] = {}
        numbers: Counter[str] = Counter()
        version = ""
        async for page in pages(self._api, self._path, self._selector, self._accept_list):
            version = page.resource_version
            for raw in page.items or ():
                meta = _object_decoder.decode(raw).metadata
                self._take_if_room(raw, meta, objects, quarantined, numbers)
        removed = [kept for key, kept in self._objects.items() if key not in objects]
        self._objects, self._quarantined, self._numbers = objects, quarantined, numbers
        for kept in removed:
            self._on_removed(kept)
        self._reach(version, changed=True)
        self._synced.set()

    async def _watch(self) -> None:
        """Read one watch to its end."""
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311 - jitter
        params = {
            **self._selector,
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(seconds),
        }
        lines = self._api.watch(self._path, params, accept=self._accept_object, stall_seconds=seconds + STALL_SECONDS)
        async with aclosing(lines):
            async for line in lines:
                self._apply(_event_decoder.decode(line))
        self._answered()

    def _apply(self, event: _WatchEvent) -> None:
        if event.type == "ERROR":
            status = _status_decoder.decode(event.object)
            if status.code == 410:
                raise ApiError(status.code, status.reason, status.message)
            raise _ListAgain(status.message)  # a resumed watch might fail at the same event again
        meta = _object_decoder.decode(event.object).metadata
        if event.type in ("ADDED", "MODIFIED"):
            self._take_if_room(event.object, meta, self._objects, self._quarantined, self._numbers)
        elif event.type == "DELETED":
            if meta.key in self._objects or meta.key in self._quarantined:
                self._numbers[meta.namespace] -= 1
                if not self._numbers[meta.namespace]:
                    del self._numbers[meta.namespace]
            removed = self._objects.pop(meta.key, None)
            self._quarantined.pop(meta.key, None)
            if removed is not None:
                self._on_removed(removed)
        self._reach(meta.resource_version, changed=event.type != "BOOKMARK")

    def _take_if_room(
        self, raw: msgspec.Raw, meta: _Meta, objects: dict[str, T], quarantined: dict[str, str], numbers: Counter[str]
    ) -> None:
        """Take an object unless its namespace has as many as are kept. numbers: how many there are, by namespace."""
        known = meta.key in objects or meta.key in quarantined
        maximum = self._max_per_namespace
        if maximum is not None and not known and numbers[meta.namespace] >= maximum:
            logger.warning("%s: %s is left out, as its namespace has more than %d", self._path, meta.key, maximum)
            return
        self._take(raw, meta.key, objects, quarantined)
        more = (meta.key in objects or meta.key in quarantined) - known
        if more:  # most ServiceAccounts are not kept, and should leave no number for their namespace either
            numbers[meta.namespace] += more

    def _take(self, raw: msgspec.Raw, key: str, objects: dict[str, T], quarantined: dict[str, str]) -> None:
        try:
            kept = self._decode(bytes(raw))
            if kept is None:
                objects.pop(key, None)
            else:
                objects[key] = kept
            quarantined.pop(key, None)
        except Exception as error:  # one bad object must not affect the others
            if key not in objects and key in self._objects:
                objects[key] = self._objects[key]
            quarantined[key] = str(error)
            if self._quarantined.get(key) != str(error) or quarantined is self._quarantined:
                self._on_quarantine(key, error)

    def _answered(self) -> None:
        self._answered_at = time.monotonic()
        if self._problem:
            self._problem = ""
            logger.info("watching %s again", self._path)

    def _reach(self, version: str, *, changed: bool) -> None:
        """Note that the copy is complete up to this version."""
        self._answered()
        self._version = version
        self._changed |= changed
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._changed:
            self._on_change(self._objects)
            self._changed = False
        self._on_version(self._version)
