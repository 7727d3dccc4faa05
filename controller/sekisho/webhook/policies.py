"""The policies, waivers, authorities and catalogs of the cluster: each kind is watched, and one set is enforced."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol, TypeVar

import msgspec
from msgspec import Struct

from sekisho.cluster.api import ApiClient
from sekisho.cluster.reflector import Reflector
from sekisho.controls.image_catalogs import Catalog
from sekisho.policies import (
    CompiledAuthority,
    CompiledPolicy,
    CompiledWaiver,
    Policy,
    PolicySet,
    compile_any,
    decode,
)
from sekisho.policies.crd import Resource, watched_resources
from sekisho.policies.types import GROUP, VERSION

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Policy)
_REST: Final = 4
"""After a set was built, the next one waits this many times as long as that took: of thousands of policies that are
applied one by one, not each may cost a pass over all."""
_MAX_REST_SECONDS: Final = 0.5


class Enforced:
    """The policy set in effect, shared by what loads policies and what judges by them.

    policies: None for an empty set.
    """

    def __init__(self, policies: PolicySet | None = None) -> None:
        self.policies = PolicySet() if policies is None else policies

    def enforce(self, policies: PolicySet) -> None:
        """Judge by this set from the next review on."""
        self.policies = policies


Identities = Mapping[tuple[str, str], tuple[str, int]]


class OnVersion(Protocol):
    """Called with the version of a collection that is enforced now."""

    def __call__(self, plural: str, resource_version: str, unusable: Iterable[str], *, changed: bool) -> None:
        """unusable: the objects that are not enforced. changed: whether the set in effect has changed."""


class Kept(Struct, frozen=True, eq=False):
    """An object of any of Sekisho's kinds, compiled; `identity` is its uid and the generation of its spec."""

    identity: tuple[str, int]
    compiled: CompiledPolicy | CompiledWaiver | CompiledAuthority | Catalog


class ClusterPolicies:
    """Watches the kinds, and calls `enforce` with a new set whenever an object of one of them changes.

    There is no set before all kinds are listed: a part of the policies would decide differently. An object that cannot
    be compiled is left out, or stays as it was before; the log names it. `on_version` gets a collection by its name in
    the API, the resourceVersion up to which it is enforced, and which of its objects are not. `on_removed` gets the
    name of each policy that was deleted, also when another has its name by now. Authorities are watched only if the
    process `verifies_images`.
    """

    def __init__(
        self,
        api: ApiClient,
        enforce: Callable[[PolicySet], None],
        on_version: OnVersion,
        on_removed: Callable[[str, str], None] = lambda plural, title: None,
        *,
        verifies_images: bool,
    ) -> None:
        self._enforce = enforce
        self._on_removed = on_removed
        self._on_version = on_version
        self._enforced: Identities | None = None
        self._is_news = False
        self._is_stale = True
        """Whether an object was compiled since the last set was built."""
        self._rests_until = 0.0
        self._due: asyncio.TimerHandle | None = None
        """The build of a set that waits; until then no version is reported."""
        resources = watched_resources(with_authorities=verifies_images)
        self.reflectors = {resource.plural: self._follow(api, resource) for resource in resources}
        """By the collections' names in the API."""

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            async with asyncio.TaskGroup() as following:
                for reflector in self.reflectors.values():
                    following.create_task(reflector.run())
        finally:
            if self._due is not None:
                self._due.cancel()

    @property
    def missing(self) -> str:
        """Which collections are not listed yet, empty when all are."""
        names = [plural for plural, reflector in self.reflectors.items() if not reflector.synced]
        return f"not listed yet: {', '.join(names)}" if names else ""

    @property
    def enforced(self) -> Identities:
        """What is in effect: uid and generation by collection and name; empty before the first set."""
        return self._enforced or {}

    @property
    def stale_seconds(self) -> float:
        """The seconds since the API server last sent something, of the collection for which it is longest."""
        return max(reflector.stale_seconds for reflector in self.reflectors.values())

    def _follow(self, api: ApiClient, resource: Resource) -> Reflector[Kept]:
        def quarantined(name: str, error: Exception) -> None:
            logger.error(
                "%s %s cannot be enforced, its last usable version stays in effect: %s",
                resource.name,
                name,
                error,
            )

        return Reflector(
            api,
            f"/apis/{GROUP}/{VERSION}/{resource.plural}",
            lambda raw: self._keep(raw, resource),
            on_change=lambda _: self._changed(),
            on_version=lambda version: self._reached(resource.plural, version),
            on_quarantine=quarantined,
        )

    def _keep(self, raw: bytes, resource: Resource) -> Kept:
        kept, is_new = keep(raw, resource.kind, self.reflectors[resource.plural].objects)
        self._is_stale |= is_new
        return kept

    def _changed(self) -> None:
        if self.missing:
            return
        # Thousands of statuses may be written in a row: not each may cost a pass over all policies.
        count = sum(len(reflector.objects) for reflector in self.reflectors.values())
        if not self._is_stale and self._enforced is not None and len(self._enforced) == count:
            return
        rest = self._rests_until - time.monotonic()
        if self._due is None and rest > 0.0:
            self._due = asyncio.get_running_loop().call_later(rest, self._build_later)
        if self._due is None:
            began = time.monotonic()
            self._build()
            ended = time.monotonic()
            self._rests_until = ended + min(_REST * (ended - began), _MAX_REST_SECONDS)

    def _build_later(self) -> None:
        self._due = None
        self._changed()
        for plural, reflector in self.reflectors.items():
            self._reached(plural, reflector.resource_version)

    def _build(self) -> None:
        """Enforce a set of everything that the reflectors hold, unless that is the present one."""
        self._is_stale = False
        held = [(plural, reflector.objects) for plural, reflector in self.reflectors.items()]
        present = {(plural, key): kept.identity for plural, objects in held for key, kept in objects.items()}
        if present == self._enforced:
            return  # only a status has changed
        compiled = [kept.compiled for _, objects in held for kept in objects.values()]
        policies = [policy for policy in compiled if isinstance(policy, CompiledPolicy)]
        waivers = [waiver for waiver in compiled if isinstance(waiver, CompiledWaiver)]
        authorities = [authority for authority in compiled if isinstance(authority, CompiledAuthority)]
        catalogs = [catalog for catalog in compiled if isinstance(catalog, Catalog)]
        self._enforce(PolicySet(policies, waivers, authorities, catalogs))
        if self._enforced is None:
            for plural, reflector in self.reflectors.items():
                self._on_version(plural, reflector.resource_version, reflector.quarantined, changed=True)
        for (plural, key), (uid, _) in (self._enforced or {}).items():
            if present.get((plural, key), ("", 0))[0] != uid:
                self._on_removed(plural, key)
        self._enforced = present
        self._is_news = True
        logger.info("enforcing the policies of the cluster", extra={"policies": len(policies), "waivers": len(waivers)})

    def _reached(self, plural: str, version: str) -> None:
        if self._enforced is not None and self._due is None:
            changed, self._is_news = self._is_news, False
            self._on_version(plural, version, self.reflectors[plural].quarantined, changed=changed)


class _Meta(Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0


class _Object(Struct, frozen=True):
    metadata: _Meta


_object_decoder = msgspec.json.Decoder(_Object)


def keep(raw: bytes, kind: type[K], known: Mapping[str, Kept]) -> tuple[Kept, bool]:
    """A policy or a waiver from its JSON, compiled; or the one in `known` with the same spec. Whether it is new.

    Each written status is a new version of the object with the same spec. Raises PolicyError.
    """
    meta = _object_decoder.decode(raw).metadata
    before = known.get(f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name)
    if before is not None and meta.uid and before.identity == (meta.uid, meta.generation):
        return before, False
    policy = decode(raw, kind)
    identity = (policy.metadata.uid, policy.metadata.generation)
    return Kept(identity, compile_any(policy)), True
