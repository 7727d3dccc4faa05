"""What tags of images stand for: the digests that a pod would run if it were created now."""

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from sekisho.images import Reference
from sekisho.images.evidence import DEFAULT_TAG, Unknown, tag_key
from sekisho.registry import Failure, RegistryClient, RegistryError, Repository
from sekisho.turns import Namespaces
from sekisho.webhook.pod_pull_secrets import ClientWith, PodPullSecrets, client_for

logger = logging.getLogger(__name__)

TAG_SECONDS: Final = 30.0
"""How long a tag is not resolved again, so that the pods of one Deployment run the same image."""
FAILURE_SECONDS: Final = 2.0
MAX_TAGS: Final = 4096
MAX_FLIGHTS: Final = 1024
"""Tags that are resolved at the same time; further ones stay tags."""
MIN_FREE_FLIGHTS: Final = 512
"""The part of them that only namespaces with fewer than MIN_BUSY_FLIGHTS may use, so that some cannot delay all."""
MIN_BUSY_FLIGHTS: Final = 16
MAX_FLIGHTS_OF_NAMESPACE: Final = 64
"""Tags that are resolved at the same time for one namespace, so that it does not hold up others."""
LOOKUP_SECONDS: Final = 30.0
MAX_WITHOUT_ROOM: Final = 1024
"""Tags that found no room recently, so that the denials of their pods say so."""
WITHOUT_ROOM_SECONDS: Final = 30.0


_PENDING: Final = Unknown(
    "has a tag that is still being resolved",
    "try again: the look-up continues, and a later try uses its digest",
    is_pending=True,
)
_TOO_MANY: Final = Unknown(
    "has a tag that is not being resolved yet: too many tags are being resolved at the same time",
    "try again",
    is_pending=True,
)
_RESOLVED: Final = Unknown("has a tag that was resolved just now", "try again", is_pending=True)


class _Known(Struct, frozen=True, gc=False):
    """The digest of a tag, or why it has none and what helps; until when it counts (`time.monotonic`)."""

    digest: str | None
    problem: str
    fix: str
    until: float


class _Flight(Struct, frozen=True, eq=False):
    """A look-up under way; tenants: the namespaces whose pods need it."""

    task: asyncio.Task[None]
    tenants: Namespaces


_Key = tuple[str, PodPullSecrets | None]
"""An image with a tag, by `tag_key`, and the pod's own pull Secrets that it is looked up with."""


class Tags:
    """Resolves tags; make it on the running loop.

    client_with: the client with a pod's own pull Secrets; raises RegistryError. None where pods' Secrets are not read.
    """

    def __init__(self, client: RegistryClient, client_with: ClientWith | None = None) -> None:
        self._client = client
        self._client_with = client_with
        self._known: OrderedDict[_Key, _Known] = OrderedDict()
        self._flights: dict[_Key, _Flight] = {}
        self._by_namespace: Counter[str] = Counter()
        self._without_room: OrderedDict[_Key, float] = OrderedDict()
        """Tags that found no room, and until when that counts (`time.monotonic`)."""

    async def digests(
        self,
        references: Iterable[Reference],
        seconds: float,
        namespace: str = "",
        pull_secrets: PodPullSecrets | None = None,
    ) -> Mapping[Reference, str]:
        """The digests of images with tags, those that are known after `seconds` at most.

        namespace: of the pod that needs them.
        pull_secrets: the pod's own; None for only those of the release.

        Look-ups that take longer continue, and a later call gets their results. Raises nothing.
        """
        wanted = list(dict.fromkeys(reference for reference in references if reference.digest is None))
        named = {(tag_key(reference), pull_secrets): reference for reference in wanted}
        for key, reference in named.items():
            if self._current(key) is None:
                self._start(key, reference, namespace)
        tasks = [self._flights[key].task for key in named if key in self._flights]
        if tasks:
            await asyncio.wait(tasks, timeout=max(seconds, 0.0))
        return {
            reference: digest for reference in wanted if (digest := self.known(reference, pull_secrets)) is not None
        }

    def known(self, reference: Reference, pull_secrets: PodPullSecrets | None = None) -> str | None:
        """The digest of an image with a tag; None if it is not known. May be called in any thread."""
        known = self._current((tag_key(reference), pull_secrets))
        return None if known is None else known.digest

    def unknown(self, image: str, pull_secrets: PodPullSecrets | None = None) -> Unknown | None:
        """Why an image, by `tag_key`, still has a tag although tags are resolved; None where nobody resolves it.

        May be called in any thread.
        """
        key = (image, pull_secrets)
        known = self._current(key)
        if known is None:
            if key in self._flights:
                return _PENDING
            return _TOO_MANY if time.monotonic() < self._without_room.get(key, 0.0) else None
        if known.digest is not None:
            return _RESOLVED
        return Unknown(f"has a tag that cannot be resolved: {known.problem}", known.fix)

    def _current(self, key: _Key) -> _Known | None:
        known = self._known.get(key)
        return known if known is not None and time.monotonic() < known.until else None

    def _start(self, key: _Key, reference: Reference, namespace: str) -> None:
        """Start the look-up of a tag, or note that there is no room for it. One under way is for this namespace too."""
        if key in self._flights:
            self._flights[key].tenants.add(namespace)
            return
        self._without_room.pop(key, None)
        if not self._has_room(namespace):
            self._without_room[key] = time.monotonic() + WITHOUT_ROOM_SECONDS
            if len(self._without_room) > MAX_WITHOUT_ROOM:
                self._without_room.popitem(last=False)
            return
        tenants = Namespaces(namespace)
        task = asyncio.create_task(self._look_up(key, reference, tenants))
        self._flights[key] = _Flight(task, tenants)
        self._by_namespace[namespace] += 1
        task.add_done_callback(lambda _: self._ended(key, namespace))

    def _has_room(self, namespace: str) -> bool:
        """Whether a namespace may start a look-up."""
        own = self._by_namespace[namespace]
        maximum = MAX_FLIGHTS if own < MIN_BUSY_FLIGHTS else MAX_FLIGHTS - MIN_FREE_FLIGHTS
        return own < MAX_FLIGHTS_OF_NAMESPACE and len(self._flights) < maximum

    def _ended(self, key: _Key, namespace: str) -> None:
        del self._flights[key]
        self._by_namespace[namespace] -= 1
        if not self._by_namespace[namespace]:
            del self._by_namespace[namespace]

    async def _look_up(self, key: _Key, reference: Reference, tenants: Namespaces) -> None:
        """Get the digest from the registry, and keep it. Raises nothing."""
        digest, problem, fix, seconds = None, "", "append the digest to the image, or try again", FAILURE_SECONDS
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                client = await client_for(self._client, self._client_with, key[1])
                repository, tag = Repository.of(reference), reference.tag or DEFAULT_TAG
                digest = await client.acting_for(tenants).digest(repository, tag)
            seconds = TAG_SECONDS
        except RegistryError as error:
            problem, fix = str(error), "correct the tag" if error.failure is Failure.MISSING else error.fix or fix
        except TimeoutError:
            problem = f"registry {reference.registry} took longer than {LOOKUP_SECONDS:.0f} s"
        except Exception:
            logger.exception("internal error while a tag was resolved")
            problem = "an internal error; Sekisho's log says more"
        self._known.pop(key, None)
        self._known[key] = _Known(digest, problem, fix, time.monotonic() + seconds)
        while len(self._known) > MAX_TAGS:
            self._known.popitem(last=False)
