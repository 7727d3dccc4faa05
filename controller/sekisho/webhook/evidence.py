"""Evidence about images: who has signed them, from memory, or from a look-up that goes on behind the requests.

One look-up serves all requests that need an image, and its facts are kept. A request waits for it until shortly
before the API server stops waiting; the next request finds the same look-up, or its facts.
"""

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from sekisho.backoff import doubling_delay
from sekisho.images import Reference
from sekisho.images.authorities import Authority
from sekisho.images.evidence import MAX_PROBLEM_LENGTH, MAX_PROBLEMS, ImageFacts, Unknown, evidence_key
from sekisho.images.verification import Verified, facts_of, verify_more
from sekisho.registry import (
    Candidates,
    Failure,
    Hold,
    RegistryClient,
    RegistryError,
    Repository,
    Room,
    Shares,
    Wanted,
    find_listed,
    find_platforms,
    find_tagged,
)
from sekisho.telemetry.families import Family, counters, gauges
from sekisho.turns import Namespaces
from sekisho.webhook.image_needs import Needs
from sekisho.webhook.pod_pull_secrets import ClientWith, PodPullSecrets, client_for
from sekisho.webhook.signed_images import SignedImages

logger = logging.getLogger(__name__)

MAX_LOOKUPS: Final = 256
"""Look-ups that run at the same time; further ones wait. A namespace may hold as many of them as it leaves free, and so
may a registry, so that slow ones do not hold up the images of others."""
MAX_LOOKUPS_OF_REGISTRY: Final = 128
"""Look-ups at one registry that run at the same time."""
MAX_FLIGHTS: Final = 2048
"""Look-ups that run or wait."""
MIN_FREE_FLIGHTS: Final = 512
"""Those of them that are left to namespaces with fewer than MIN_BUSY_FLIGHTS: some with many must not hold up all."""
MIN_BUSY_FLIGHTS: Final = 16
MAX_FLIGHTS_OF_NAMESPACE: Final = 256
"""Look-ups that one namespace's pods have started and that run or wait, so that it does not hold up others."""
MAX_WAITING: Final = 200
"""Requests of one namespace that wait for look-ups; others are answered without waiting."""
MAX_WAITING_IN_ALL: Final = 400
"""Of all namespaces; each may have as many as it leaves free."""
LOOKUP_SECONDS: Final = 60.0
"""A look-up that takes longer has failed."""

MAX_UNSIGNED: Final = 1024
"""Images without signatures, and failures, which are kept apart: anyone can make up any number of such images."""
MAX_HELD_BYTES: Final = 72 << 20
"""The size of all signatures and attestations that are read and verified at the same time."""

FRESH: Final = timedelta(hours=1)
"""Older facts about a signed image are looked up again behind the requests."""
MAX_AGE: Final = timedelta(hours=24)
"""Facts about a signed image are used until this age while the registry does not answer."""
MAX_AHEAD: Final = timedelta(minutes=5)
"""Facts with a time that is further in the future are by a clock that is wrong. They are not fresh."""
UNSIGNED_AGE: Final = timedelta(seconds=15)
"""How long an image without signatures is not looked up again; it may be signed at any moment."""
FIRST_RETRY_SECONDS: Final = 2.0
MAX_RETRY_SECONDS: Final = 60.0
RETRIED_SECONDS: Final = 5400.0
"""An image that runs is looked up again sooner than that after a failure: every half hour there is a pass over them."""
MAX_SMALL_BYTES: Final = 64 << 10
MAX_SMALL_CHECKS: Final = 8
"""Candidates times keys. As few, of at most MAX_SMALL_BYTES, are verified on the event loop; more, and keyless ones, in
a thread."""

_FIXES: Final = {
    Failure.UNAVAILABLE: "try again when the registry answers",
    Failure.DENIED: "give Sekisho a pull secret that may read the repository",
    Failure.MISSING: "name an image that the registry has",
    Failure.INVALID: "correct what is in the registry, or use another one",
}
_FIX_OF_POD: Final = "name a pull secret in the pod that may read the repository"

_Key = tuple[str, PodPullSecrets | None]
"""An image, by `evidence_key`, and the pod's own pull Secrets that it is looked up with. Signatures count for all pods;
failures, and that there are no signatures, count only for pods with the same pull Secrets."""
LOOKUP_CONTINUES: Final = "try again: the look-up continues, and a later try uses its result"
"""The fix while an image is being verified."""
_TOO_MANY: Final = Unknown(
    "is not being verified yet: too many images are being verified at the same time", "try again", is_pending=True
)
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_K = TypeVar("_K")
_V = TypeVar("_V")


class _Failure(Struct, frozen=True):
    """A look-up that failed, how many have in a row, and when the next one may start (`time.monotonic`)."""

    unknown: Unknown
    count: int
    retry_at: float


class _Flight(Struct, frozen=True, eq=False):
    """A look-up under way; tenants: the namespaces whose pods need it."""

    task: asyncio.Task[None]
    registry: str
    tenants: Namespaces
    started: float


class EvidenceStore:
    """What is known about images, and the look-ups that find more.

    authorities: who may sign, by name; a mapping that is replaced when one changes.
    clock: the time that facts age by.
    client_with: the client with a pod's own pull Secrets; None where pods' Secrets are not read.
    on_facts: called with the facts of each look-up that succeeded and counts for all namespaces, and with the namespace
        of the pod that needed them.
    needs: what policies need.
    """

    def __init__(
        self,
        client: RegistryClient,
        authorities: Callable[[], Mapping[str, Authority]],
        clock: Callable[[], datetime],
        client_with: ClientWith | None = None,
        on_facts: Callable[[ImageFacts, str], None] = lambda facts, namespace: None,
        needs: Needs = Needs(),  # noqa: B008 -- it is frozen
    ) -> None:
        self._client = client
        self._client_with = client_with
        self._authorities = authorities
        self._clock = clock
        self._on_facts = on_facts
        self._needs = needs
        self._room = Room(MAX_HELD_BYTES)
        self._signed = SignedImages()
        self._unsigned: OrderedDict[_Key, ImageFacts] = OrderedDict()
        self._failures: OrderedDict[_Key, _Failure] = OrderedDict()
        self._flights: dict[_Key, _Flight] = {}
        self._by_namespace: Counter[str] = Counter()
        self._turns = Shares(MAX_LOOKUPS, MAX_LOOKUPS_OF_REGISTRY)
        self._waiting: Counter[str] = Counter()
        self._results: Counter[str] = Counter()
        self._fingerprints: tuple[Mapping[str, Authority], Mapping[str, str]] = ({}, {})

    def view(
        self,
        unresolved: Callable[[str], Unknown | None] = lambda image: None,
        pull_secrets: PodPullSecrets | None = None,
        namespace: str | None = None,
    ) -> "EvidenceView":
        """What is known now, for the judging of one review.

        unresolved: why an image, by `tag_key`, has no digest, None if no one has asked; called in any thread.
        pull_secrets: the pod's own; None for only those of the release.
        namespace: of the pod that needs them; None for no pod.
        """
        return EvidenceView(self, unresolved, pull_secrets, namespace)

    def start(
        self, references: Iterable[Reference], namespace: str = "", pull_secrets: PodPullSecrets | None = None
    ) -> bool:
        """Start the look-ups of images with digests that are due; whether any of them is under way now.

        namespace: of the pod that needs them.
        pull_secrets: the pod's own; None for only those of the release.
        """
        started = [
            self._start((key, pull_secrets), reference, Namespaces(namespace)) for key, reference in _by_key(references)
        ]
        return any(started)

    async def settled(
        self,
        references: Iterable[Reference],
        seconds: float,
        pull_secrets: PodPullSecrets | None = None,
        namespace: str = "",
    ) -> None:
        """Return when the look-ups of images have ended, or after `seconds`.

        pull_secrets, namespace: as for `start`, with what None means.
        """
        keys = [(key, pull_secrets) for key, _ in _by_key(references)]
        tasks = [self._flights[key].task for key in keys if key in self._flights]
        own, free = self._waiting[namespace], MAX_WAITING_IN_ALL - self._waiting.total()
        if tasks and seconds > 0 and own < min(free, MAX_WAITING):
            self._waiting[namespace] += 1
            try:
                await asyncio.wait(tasks, timeout=seconds)
            finally:
                _count_down(self._waiting, namespace)

    def known(
        self, image: str, pull_secrets: PodPullSecrets | None = None, namespace: str | None = None
    ) -> tuple[ImageFacts | Unknown | None, bool]:
        """What is known about an image, None for one to look up; and whether its facts are due to be renewed.

        May be called in any thread.

        namespace: of the pod that needs it; None for no pod.
        """
        key = (image, pull_secrets)
        facts = self._facts(key, namespace)
        if facts is not None:
            age = self._clock() - _looked_up(facts)
            if self._is_current(facts) and -MAX_AHEAD <= age <= _fresh_for(facts):
                return facts, False
            if facts.is_vouched_for and age <= MAX_AGE:
                return facts, True
        flight = self._flights.get(key)
        if flight is not None:
            return _pending(flight), False
        failure = self._failures.get(key)
        if failure is not None and failure.retry_at > time.monotonic():
            return failure.unknown, False
        return _TOO_MANY if len(self._flights) >= MAX_FLIGHTS else None, False

    def offer(self, facts: ImageFacts, namespace: str = "") -> None:
        """Take facts that another replica has found, unless its clock is wrong.

        namespace: of the pod that needed them.
        """
        key, latest = (f"{facts.repository}@{facts.digest}", None), self._clock() + MAX_AHEAD
        if _looked_up(facts) > latest:
            return
        present = self._facts(key)
        if present is None or _looked_up(facts) > _looked_up(present) or _looked_up(present) > latest:
            self._keep(key, facts, namespace)

    def withdraw(self, repository: str, digest: str) -> None:
        """Forget the facts about an image."""
        self._drop((f"{repository}@{digest}", None))

    async def close(self) -> None:
        """End the look-ups under way."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_current(self, facts: ImageFacts) -> bool:
        """Whether facts were found for the authorities and the types of attestations that there are now."""
        current = self._current()
        is_checked = facts.checked == current or (
            facts.checked.keys() == current.keys()
            and all(fingerprint in ("", current[name]) for name, fingerprint in facts.checked.items())
        )
        return is_checked and set(facts.predicates).issuperset(self._needs.predicates())

    def _current(self) -> Mapping[str, str]:
        """The fingerprints of the authorities, by name."""
        authorities = self._authorities()
        if self._fingerprints[0] is not authorities:
            fingerprints = {name: authority.fingerprint for name, authority in authorities.items()}
            self._fingerprints = (authorities, fingerprints)
        return self._fingerprints[1]

    def _start(self, key: _Key, reference: Reference, tenants: Namespaces, *, is_platform: bool = False) -> bool:
        """Start a look-up unless it is too early for another one, or there are too many; whether one is under way.

        tenants: also have one that is under way already wait for their turns.
        is_platform: of an index, so that it has no platforms itself.
        """
        if key in self._flights:
            for namespace in tenants:
                self._flights[key].tenants.add(namespace)
            return True
        if self._has_failed(key) or not self._has_room(tenants.first):
            return False
        task = asyncio.create_task(self._look_up(key, reference, tenants, is_platform))
        self._flights[key] = _Flight(task, reference.registry, tenants, time.monotonic())
        self._by_namespace[tenants.first] += 1
        task.add_done_callback(lambda _: self._ended(key))
        return True

    def _has_failed(self, key: _Key) -> bool:
        """Whether a look-up failed, and it is too early for another one."""
        failure = self._failures.get(key)
        return failure is not None and failure.retry_at > time.monotonic()

    def _has_room(self, namespace: str) -> bool:
        """Whether a namespace may start a look-up."""
        own = self._by_namespace[namespace]
        maximum = MAX_FLIGHTS if own < MIN_BUSY_FLIGHTS else MAX_FLIGHTS - MIN_FREE_FLIGHTS
        return own < MAX_FLIGHTS_OF_NAMESPACE and len(self._flights) < maximum

    def _ended(self, key: _Key) -> None:
        flight = self._flights.pop(key)
        _count_down(self._by_namespace, flight.tenants.first)

    async def _look_up(self, key: _Key, reference: Reference, tenants: Namespaces, is_platform: bool) -> None:
        """Look an image up, and keep its facts or why there are none. Raises nothing."""
        repository, digest = Repository.of(reference), reference.digest or ""
        wanted = Wanted(tuple(self._needs.predicates()), Hold(self._room, reference.registry, tenants))
        facts: ImageFacts | None = None
        try:
            async with self._turns.turn(reference.registry, tenants), asyncio.timeout(LOOKUP_SECONDS):
                client = await client_for(self._client, self._client_with, key[1])
                client = client.acting_for(tenants)
                listed = await find_listed(client, repository, digest, wanted)
            verified = await self._verified(self._nothing(reference, wanted), listed.candidates, tenants)
            facts = facts_of(verified, self._clock())
            lacks_signature = self._needs.lacks_signature(reference, facts)
            if lacks_signature or (not listed.has_fallback and self._needs.fails_statement(reference, facts)):
                find = partial(find_tagged, client, repository, digest, listed, wanted, needs_signature=lacks_signature)
                facts = await self._with_tags(facts, verified, find, reference, tenants)
            if not is_platform and self._needs.lacks_statement(reference, facts):
                await wanted.hold.release()  # the look-ups of platforms need room themselves
                async with self._turns.turn(reference.registry, tenants), asyncio.timeout(LOOKUP_SECONDS):
                    platforms = await _platforms(client, repository, digest)
                facts = await self._with_platforms(facts, platforms, key, reference, tenants)
        except RegistryError as error:
            self._keep_without_platforms(key, facts, tenants.first)
            self._fail(key, error.failure, str(error), error.fix)
        except TimeoutError:
            self._keep_without_platforms(key, facts, tenants.first)
            message = f"registry {repository.registry} took longer than {LOOKUP_SECONDS:.0f} s"
            self._fail(key, Failure.UNAVAILABLE, message)
        except Exception:
            logger.exception("internal error while %s was verified", key[0])
            self._fail(key, Failure.INVALID, "an internal error; Sekisho's log says more")
        else:
            self._results["found"] += 1
            self._keep(key, facts, tenants.first)
            # A registry may hide signatures from a tenant's credentials. It cannot invent any.
            if key[1] is None or facts.is_vouched_for:
                self._on_facts(facts, tenants.first)
        finally:
            await wanted.hold.release()

    def _nothing(self, reference: Reference, wanted: Wanted) -> Verified:
        """What is known about an image before anything is read; one set of authorities counts for all that is."""
        authorities, named = tuple(self._authorities().values()), self._needs.named(reference)
        return Verified(str(Repository.of(reference)), reference.digest or "", authorities, wanted.predicates, named)

    async def _with_tags(
        self,
        facts: ImageFacts,
        verified: Verified,
        find: Callable[[], Awaitable[Candidates]],
        reference: Reference,
        tenants: Namespaces,
    ) -> ImageFacts:
        """The facts with those from the tags that clients attach to, which may have further signatures.

        A tag that the registry does not give hides no signature: raises RegistryError only where there is none yet.

        verified: what the facts are from.
        find: reads the tags.
        """
        try:
            async with self._turns.turn(reference.registry, tenants), asyncio.timeout(LOOKUP_SECONDS):
                candidates = await find()
        except RegistryError as error:
            if not facts.signatures:
                raise
            problems = (*facts.problems, str(error)[:MAX_PROBLEM_LENGTH])[:MAX_PROBLEMS]
            return msgspec.structs.replace(facts, problems=problems, omitted=facts.omitted + 1)
        return facts_of(await self._verified(verified, candidates, tenants), self._clock())

    async def _with_platforms(
        self,
        facts: ImageFacts,
        platforms: Mapping[str, str],
        key: _Key,
        reference: Reference,
        tenants: Namespaces,
    ) -> ImageFacts:
        """The facts about an index with its platforms, if an authority has attested one of them.

        They are looked up like other images, and their facts are kept apart. Where it is not known whether one is
        attested, facts that an authority vouches for have the platforms too: rules on signatures judge them without.
        For others this raises RegistryError: then the facts from before stay.
        """
        images = [msgspec.structs.replace(reference, digest=digest) for digest in platforms]
        keys = [(image, key[1]) for image, _ in _by_key(images)]
        without_room = []
        for one, image in zip(keys, images, strict=True):
            known, is_due = self.known(*one)
            if is_due or not isinstance(known, ImageFacts):
                is_started = self._start(one, image, tenants, is_platform=True)
                if not is_started and not self._has_failed(one):
                    without_room.append((one, image))
        await self._ended_for(tenants, keys)
        for one, image in without_room:
            # As a part of this look-up: those of other indexes may have all the room, and wait like this one.
            await self._look_up(one, image, tenants, is_platform=True)
        platform_facts = [self._facts(image_key) for image_key in keys]
        is_attested = any(known_facts is not None and known_facts.attestations for known_facts in platform_facts)
        if is_attested or (None in platform_facts and facts.is_vouched_for):
            return msgspec.structs.replace(facts, platforms=platforms)
        if None in platform_facts:
            raise RegistryError(Failure.UNAVAILABLE, "some of its platforms could not be looked up")
        return facts

    async def _ended_for(self, tenants: Namespaces, keys: Iterable[_Key]) -> None:
        """Return when the look-ups of images have ended, which wait for the turns of their tenants and of these."""
        flights = [self._flights[key] for key in keys if key in self._flights]
        with ExitStack() as stack:
            for flight in flights:
                stack.enter_context(tenants.passed_on(flight.tenants.add))
            if flights:
                await asyncio.wait([flight.task for flight in flights])

    async def _verified(self, verified: Verified, attached: Candidates, tenants: Namespaces) -> Verified:
        """What was read of an image before, with what further candidates prove."""
        call = partial(
            verify_more,
            verified,
            attached.candidates,
            attached.omitted,
            attached.problems,
            may_hide_vex=attached.may_hide_vex,
            unread_scan_at=attached.unread_scan_at,
        )
        size = sum(len(candidate.payload) for candidate in attached.candidates)
        keys = sum(len(authority.keys) for authority in verified.authorities)
        is_small = size <= MAX_SMALL_BYTES and len(attached.candidates) * keys <= MAX_SMALL_CHECKS
        is_quick = is_small and not any(authority.keyless for authority in verified.authorities)
        return call() if is_quick else await self._client.worker.run(tenants, call)

    def _fail(self, key: _Key, failure: Failure, message: str, fix: str = "") -> None:
        self._results[failure] += 1
        before = self._failures.get(key)
        count = before.count + 1 if before is not None else 1
        pause = doubling_delay(FIRST_RETRY_SECONDS, count, MAX_RETRY_SECONDS)
        usual = _FIX_OF_POD if failure is Failure.DENIED and key[1] is not None else _FIXES[failure]
        unknown = Unknown(f"cannot be verified: {message}", fix or usual)
        self._failures.pop(key, None)
        self._failures[key] = _Failure(unknown, count, time.monotonic() + pause)
        _shrink(self._failures, MAX_UNSIGNED)

    def _facts(self, key: _Key, namespace: str | None = None) -> ImageFacts | None:
        """The newest facts that count with these pull Secrets."""
        image = key[0]
        signed, unsigned = self._signed.get(image, namespace), self._unsigned.get(key)
        if signed is None:
            return unsigned
        is_newer = unsigned is not None and _looked_up(unsigned) > _looked_up(signed)
        return unsigned if is_newer else signed

    def _keep(self, key: _Key, facts: ImageFacts, namespace: str) -> None:
        image, pull_secrets = key
        if not facts.is_vouched_for:
            self._failures.pop(key, None)
            self._unsigned.pop(key, None)
            if pull_secrets is None:
                self._drop(key)
            self._unsigned[key] = facts
            _shrink(self._unsigned, MAX_UNSIGNED)
            return
        self._failures.pop(key, None)
        self._unsigned.pop(key, None)
        self._signed.keep(image, facts, namespace)

    def _keep_without_platforms(self, key: _Key, facts: ImageFacts | None, namespace: str) -> None:
        """Keep signatures where an index itself cannot be read: rules on them need no platforms.

        What else is attached to it counts as not read, and it is looked up again. Facts from before stay.
        """
        if facts is None or not facts.signatures:
            return
        before = self._facts(key)
        if before is None or not before.is_vouched_for or before.checked != facts.checked:
            self._keep(key, msgspec.structs.replace(facts, attestations=(), predicates=()), namespace)

    def _drop(self, key: _Key) -> None:
        self._failures.pop(key, None)
        self._unsigned.pop(key, None)
        self._signed.drop(key[0])

    def families(self) -> Iterable[Family]:
        """The metrics of look-ups."""
        yield counters(
            "sekisho_image_lookups",
            "Look-ups of images in registries, by result: found, or why not.",
            ("result",),
            {(result,): self._results[result] for result in ("found", *Failure)},
        )
        yield gauges("sekisho_image_lookups_running", "Look-ups under way.", (), {(): len(self._flights)})
        yield gauges(
            "sekisho_image_reviews_waiting", "Reviews that wait for look-ups.", (), {(): self._waiting.total()}
        )
        kept: dict[tuple[str, ...], float] = {("signed",): len(self._signed), ("unsigned",): len(self._unsigned)}
        yield gauges("sekisho_images_known", "Images whose facts are in memory.", ("facts",), kept)
        oldest = min(map(_looked_up, self._not_renewed()), default=None)
        age = 0.0 if oldest is None else (self._clock() - oldest).total_seconds()
        yield gauges(
            "sekisho_image_facts_oldest_seconds",
            "Age of the oldest facts about a signed image that could not be renewed recently; 0 where all could.",
            (),
            {(): age},
        )

    def _not_renewed(self) -> Iterator[ImageFacts]:
        """The facts about signed images whose last look-up failed recently; those that nobody needs may grow old."""
        since = time.monotonic() - RETRIED_SECONDS
        failed = {image for (image, _), failure in self._failures.items() if failure.retry_at > since}
        return (facts for facts in self._signed if failed and f"{facts.repository}@{facts.digest}" in failed)


class EvidenceView(Mapping[str, ImageFacts | Unknown]):
    """Evidence for the judging of one review, by `evidence_key` and `tag_key`.

    unresolved, pull_secrets, namespace: as for `EvidenceStore.view`, with what None means.
    due: images whose facts were used and must be renewed after the request.
    """

    def __init__(
        self,
        evidence: EvidenceStore,
        unresolved: Callable[[str], Unknown | None],
        pull_secrets: PodPullSecrets | None,
        namespace: str | None,
    ) -> None:
        self._evidence = evidence
        self._namespace = namespace
        self._unresolved = unresolved
        self._pull_secrets = pull_secrets
        self.due: list[str] = []

    def __getitem__(self, key: str) -> ImageFacts | Unknown:
        if "@" in key:
            known, is_due = self._evidence.known(key, self._pull_secrets, self._namespace)
        else:
            known, is_due = self._unresolved(key), False
        if is_due:
            self.due.append(key)
        if known is None:
            raise KeyError(key)
        return known

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError  # images are asked for by name

    def __len__(self) -> int:
        raise NotImplementedError


def _pending(flight: _Flight) -> Unknown:
    seconds = time.monotonic() - flight.started
    return Unknown(
        f"is still being verified at registry {flight.registry}, {seconds:.1f} s so far",
        LOOKUP_CONTINUES,
        is_pending=True,
    )


def _count_down(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


def _by_key(references: Iterable[Reference]) -> list[tuple[str, Reference]]:
    return [(key, reference) for reference in references if (key := evidence_key(reference)) is not None]


async def _platforms(client: RegistryClient, repository: Repository, digest: str) -> Mapping[str, str]:
    """The platforms of an index; none for an image, and where they cannot be used.

    Raises RegistryError, UNAVAILABLE.
    """
    try:
        return await find_platforms(client, repository, digest)
    except RegistryError as error:
        if error.failure is Failure.UNAVAILABLE:
            raise
        return {}


def _looked_up(facts: ImageFacts) -> datetime:
    return facts.looked_up or _NEVER


def _fresh_for(facts: ImageFacts) -> timedelta:
    return FRESH if facts.is_vouched_for else UNSIGNED_AGE


def _shrink(entries: OrderedDict[_K, _V], max_entries: int) -> None:
    while len(entries) > max_entries:
        entries.popitem(last=False)
