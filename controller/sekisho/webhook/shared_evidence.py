"""Evidence that the replicas share, as ImageEvidence objects: an image is looked up once for all of them.

A replica that starts has the facts of the others, also while a registry is down. Only objects with the release's label
are read, and the API server lets only the release's own account write those.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from sys import intern
from typing import Final, NoReturn

import msgspec
from msgspec import Struct

from sekisho.backoff import backoff, with_jitter
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.names import is_label
from sekisho.cluster.reflector import Reflector
from sekisho.images.evidence import ImageFacts
from sekisho.policies.image_evidence import (
    KIND,
    PLURAL,
    RELEASE_LABEL,
    ImageEvidenceSpec,
    facts_of,
    name_of,
    name_of_image,
    shared,
)
from sekisho.policies.types import GROUP, VERSION
from sekisho.webhook.evidence import MAX_AHEAD
from sekisho.webhook.waiting import Waiting

logger = logging.getLogger(__name__)

PATH: Final = f"/apis/{GROUP}/{VERSION}/{PLURAL}"
NAMESPACE_LABEL: Final = "sekisho.dev/namespace"
"""On an object: whose pod needed it first."""
UNSEEN: Final = timedelta(days=7)
"""The facts of an image that nobody has looked up for longer are removed."""
MAX_QUEUED: Final = 1024
MAX_SHARED: Final = 8192
"""Objects; above it only facts that are there already are renewed."""
MAX_SHARED_BYTES: Final = 256 << 20
"""Of all objects: an eighth of what etcd holds by default."""
MAX_SHARED_UNSIGNED: Final = 1024
"""Objects about images without a signature by an authority, which everyone who may push can make."""
WRITE_SECONDS: Final = 0.02
"""The time between two writes, so that a replica sends at most fifty a second."""
CLEAN_SECONDS: Final = 3600.0
MAX_REMOVED: Final = 200
"""Objects that one round removes."""


class _Object(Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    metadata: dict[str, object]
    spec: ImageEvidenceSpec


class _Seen(Struct, frozen=True, gc=False):
    """What is kept of an object; namespace: whose pod needed it first; size: in bytes, as it is read."""

    looked_up: datetime
    is_signed: bool
    namespace: str
    size: int


class _Meta(Struct, frozen=True):
    labels: dict[str, str] = {}


class _Read(Struct, frozen=True):
    """An object as it is read."""

    spec: ImageEvidenceSpec
    metadata: _Meta = _Meta()


_decoder = msgspec.json.Decoder(_Read)


class SharedEvidence:
    """Reads what other replicas have found, and writes what this one finds. Run `run` and the reflector's `run`.

    release: the namespace of the release.
    offer: called with each replica's facts, this one's included, and the namespace of the pod that needed them first.
    """

    def __init__(
        self, api: ApiClient, release: str, clock: Callable[[], datetime], offer: Callable[[ImageFacts, str], None]
    ) -> None:
        self._api = api
        self._release = release
        self._clock = clock
        self._offer = offer
        self._queue: dict[str, ImageFacts] = {}
        self._order: Waiting[str] = Waiting()
        self._is_queued = asyncio.Event()
        self._problem = ""
        self.reflector: Reflector[_Seen] = Reflector(api, PATH, self._read, label_selector=f"{RELEASE_LABEL}={release}")

    def share(self, facts: ImageFacts, namespace: str = "") -> None:
        """Have facts written. Of an image that nothing is attached to, only where that is new: anyone can make up any
        number of those.

        namespace: of the pod that needed them.
        """
        name = name_of(facts, self._release)
        if name not in self.reflector.objects and not self._has_room(facts, namespace):
            return
        if name not in self._queue:
            self._order.add(name, namespace)
        self._queue[name] = facts
        if len(self._order) > MAX_QUEUED:
            last = self._order.longest()
            self._order.remove(last)
            del self._queue[last]
        self._is_queued.set()

    def _has_room(self, facts: ImageFacts, namespace: str) -> bool:
        """Whether there may be one more object, for these facts. A namespace has at most as many as it leaves free."""
        present = self.reflector.objects
        if facts.is_vouched_for:
            own = sum(seen.namespace == namespace for seen in present.values()) if namespace else 0
            return own < MAX_SHARED - len(present)
        unsigned = sum(not seen.is_signed for seen in present.values())
        has_others = bool(facts.others or facts.problems)
        return has_others and unsigned + len(self._queue) < MAX_SHARED_UNSIGNED and len(present) < MAX_SHARED

    def _has_bytes(self, name: str, size: int, namespace: str) -> bool:
        """Whether an object may have this size. A namespace has at most as many bytes as it leaves free."""
        present = self.reflector.objects
        owner = present[name].namespace if name in present else namespace
        others = [seen for other, seen in present.items() if other != name]
        own = sum(seen.size for seen in others if seen.namespace == owner) if owner else 0
        return own + size <= MAX_SHARED_BYTES - sum(seen.size for seen in others)

    def looked_up(self, image: str) -> datetime | None:
        """When the shared facts about registry/repository@digest were found; None where there are none that count."""
        seen = self.reflector.objects.get(name_of_image(image, self._release))
        return None if seen is None or seen.looked_up > self._clock() + MAX_AHEAD else seen.looked_up

    async def run(self) -> NoReturn:
        """Write what is queued, and remove what is old, until cancelled. Failures are logged, and tried again."""
        cleaning = asyncio.create_task(self._clean(), name="removal of old evidence")
        try:
            failures = 0
            while True:
                await self._is_queued.wait()
                failures = 0 if await self._write_next() else failures + 1
                await asyncio.sleep(backoff(failures) if failures else WRITE_SECONDS)
        finally:
            cleaning.cancel()

    def _read(self, raw: bytes) -> _Seen:
        read = _decoder.decode(raw)
        spec, namespace = read.spec, intern(read.metadata.labels.get(NAMESPACE_LABEL, ""))
        self._offer(facts_of(spec), namespace)
        is_signed = bool(spec.signatures or spec.attestations or spec.platforms)
        return _Seen(spec.looked_up, is_signed, namespace, len(raw))

    async def _write_next(self) -> bool:
        """Write the facts that are queued longest in the namespace whose turn it is; False where they must be tried
        again.
        """
        name, namespace = self._order.next_in_turn()
        facts = self._queue[name]
        is_written = await self._try(self._write(name, facts, namespace))
        if is_written and self._queue[name] is facts:
            del self._queue[name]
        else:
            self._order.add(name, namespace)
        if not self._queue:
            self._is_queued.clear()
        return is_written

    async def _write(self, name: str, facts: ImageFacts, namespace: str) -> None:
        labels = {RELEASE_LABEL: self._release} | ({NAMESPACE_LABEL: namespace} if is_label(namespace) else {})
        metadata: dict[str, object] = {"name": name, "labels": labels}
        spec = shared(facts, facts.looked_up or self._clock())
        body = msgspec.json.encode(_Object(f"{GROUP}/{VERSION}", KIND, metadata, spec))
        if not self._has_bytes(name, len(body), namespace):
            if name in self.reflector.objects:  # what is there is older
                await self._remove(name)
            return
        if name not in self.reflector.objects:
            try:
                await self._api.create(PATH, body)
                return
            except ApiError as error:
                if error.status != 409:
                    raise
        # The whole spec: a merge would keep signatures that are gone.
        patch = msgspec.json.encode([{"op": "replace", "path": "/spec", "value": spec}])
        await self._api.patch(f"{PATH}/{name}", patch, "application/json-patch+json")

    async def _clean(self) -> NoReturn:
        """Remove facts that are old, at first after a while that differs between replicas."""
        while True:
            await asyncio.sleep(with_jitter(CLEAN_SECONDS, 0.5))
            await self.remove_old()

    async def remove_old(self) -> None:
        """Remove the objects of images that nobody has looked up for `UNSEEN`, or by a clock that is wrong; at most
        MAX_REMOVED.
        """
        earliest, latest = self._clock() - UNSEEN, self._clock() + MAX_AHEAD
        old = [name for name, seen in self.reflector.objects.items() if not earliest <= seen.looked_up <= latest]
        for name in old[:MAX_REMOVED]:
            await self._try(self._remove(name))
            await asyncio.sleep(WRITE_SECONDS)

    async def _remove(self, name: str) -> None:
        try:
            await self._api.delete(f"{PATH}/{name}")
        except ApiError as error:
            if error.status != 404:  # another replica was faster
                raise

    async def _try(self, request: Awaitable[None]) -> bool:
        """Whether a request succeeded, or will never succeed; a new failure is logged."""
        try:
            await request
        except (ApiError, ApiUnavailable) as error:
            if str(error) != self._problem:
                logger.warning("cannot share evidence about images: %s", error)
            self._problem = str(error)
            return isinstance(error, ApiError) and not error.is_transient
        except Exception:  # sharing saves requests; verdicts do not depend on it
            logger.exception("internal error while evidence about images was shared")
            return True
        self._problem = ""
        return True
