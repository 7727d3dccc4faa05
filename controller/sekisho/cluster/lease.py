"""Leader election: one process at a time holds a Lease (coordination.k8s.io/v1).

The clocks of two machines are never compared. A Lease has expired when this process saw no change of it for its
duration, by its own monotonic clock. A holder that cannot renew stops earlier than that, counted from when it sent its
last successful renewal. The resourceVersion prevents two processes from taking the Lease together.
"""

import asyncio
import logging
import time
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from sekisho.backoff import with_jitter
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.errors import SekishoError
from sekisho.timestamps import micro_time

logger = logging.getLogger(__name__)

_RELEASE_SECONDS = 2.0
MAX_DURATION_SECONDS = 60.0
"""The longest duration of another process's Lease that is respected: nobody must hold it for years by one write."""


class LeaseLost(SekishoError):  # noqa: N818 - a condition, not a mistake
    """This process no longer holds the Lease; the message says why."""


class Timing(Struct, frozen=True):
    """Times in seconds; the defaults are those of Kubernetes' own components."""

    duration: float = 15.0
    """Other processes may take the Lease after this long without a renewal."""
    renew_deadline: float = 10.0
    """The holder stops after this long without a successful renewal; less than `duration`."""
    retry: float = 2.0
    """The time between two attempts to take or renew, up to a fifth longer by chance."""


class LeaseSpec(Struct, frozen=True, rename="camel"):
    """The fields of a Lease's spec that are read here; None when unset."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class LeaseMeta(Struct, frozen=True, rename="camel"):
    """The fields of a Lease's metadata that are read here."""

    name: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Lease(Struct, frozen=True):
    """A Lease."""

    metadata: LeaseMeta
    spec: LeaseSpec = LeaseSpec()


class ObservedLease(Struct, frozen=True):
    """A Lease as it was last read, and the monotonic time at which its spec was first seen like this."""

    lease: Lease
    since: float

    def is_free(self, now: float, timing: Timing) -> bool:
        """Whether nobody holds the Lease at the monotonic time `now`: it was released, or it has expired."""
        duration = min(self.lease.spec.lease_duration_seconds or timing.duration, MAX_DURATION_SECONDS)
        return not self.lease.spec.holder_identity or now >= self.since + duration


def observe(previous: ObservedLease | None, lease: Lease, now: float) -> ObservedLease:
    """The observation of a Lease that was read at the monotonic time `now`.

    previous: the last observation of this Lease; None for the first.
    """
    if previous is not None and previous.lease.spec == lease.spec:
        return ObservedLease(lease, previous.since)
    return ObservedLease(lease, now)


def lease_path(namespace: str, name: str = "") -> str:
    """The path of a namespace's Leases; with `name`, of one of them."""
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases" + (f"/{name}" if name else "")


class LeaderLease:
    """The Lease `name` in `namespace`, which this process takes as `identity`: await `acquire`, then `hold`.

    timing: None for the times that the controller uses.
    """

    def __init__(self, api: ApiClient, namespace: str, name: str, identity: str, timing: Timing | None = None) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._timing = timing or Timing()
        self._observed: ObservedLease | None = None
        self._warned_of: LeaseSpec | None = None
        self._resource_version = ""
        self._renewed_at = float("-inf")

    @property
    def is_held(self) -> bool:
        """Whether this process is the leader now."""
        return time.monotonic() < self._renewed_at + self._timing.renew_deadline

    async def acquire(self) -> None:
        """Return when this process holds the Lease. API failures are logged and tried again."""
        warned = False
        while True:
            try:
                if await self._take():
                    return
                warned = False
            except (ApiError, ApiUnavailable) as error:
                if not warned:
                    logger.warning("cannot read or take Lease %s: %s", self._name, error)
                warned = True
            await self._pause()

    async def hold(self) -> None:
        """Renew the Lease until that fails. Raises LeaseLost before another process can take the Lease."""
        while True:
            try:
                async with asyncio.timeout(self._renewed_at + self._timing.renew_deadline - time.monotonic()):
                    await self._pause()
                    await self._renew()
            except TimeoutError:
                raise LeaseLost(f"not renewed within {self._timing.renew_deadline:g} s") from None
            except LeaseLost:
                self._renewed_at = float("-inf")
                raise
            except ApiUnavailable as error:
                logger.warning("cannot renew Lease %s: %s", self._name, error)

    async def release(self) -> None:
        """Release the Lease, so that another process can take it at once. When that fails, it expires."""
        if not self.is_held:
            return
        self._renewed_at = float("-inf")
        with suppress(ApiError, ApiUnavailable, TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._write({"holderIdentity": None, "leaseDurationSeconds": 1})

    async def _pause(self) -> None:
        await asyncio.sleep(with_jitter(self._timing.retry * 1.2, 1 / 6))

    async def _take(self) -> bool:
        started = time.monotonic()
        try:
            raw = await self._api.get(lease_path(self._namespace, self._name))
        except ApiError as error:
            if error.status != 404:
                raise
            return await self._create(started)
        self._observed = observe(self._observed, msgspec.json.decode(raw, type=Lease), started)
        self._warn_of_duration(self._observed.lease.spec)
        if not self._observed.is_free(started, self._timing):
            return False
        self._resource_version = self._observed.lease.metadata.resource_version
        try:
            await self._write(self._claim((self._observed.lease.spec.lease_transitions or 0) + 1))
        except ApiError as error:
            if error.status in (404, 409):  # another process was faster
                return False
            raise
        self._renewed_at = started
        return True

    def _warn_of_duration(self, spec: LeaseSpec) -> None:
        duration = spec.lease_duration_seconds or 0
        if duration > MAX_DURATION_SECONDS and spec != self._warned_of:
            self._warned_of = spec
            logger.warning(
                "Lease %s of %s has a duration of %d s, which no Sekisho controller writes; it is taken after %g s",
                self._name,
                spec.holder_identity,
                duration,
                MAX_DURATION_SECONDS,
            )

    async def _create(self, started: float) -> bool:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": self._claim(0),
        }
        try:
            raw = await self._api.create(lease_path(self._namespace), msgspec.json.encode(body))
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        self._resource_version = msgspec.json.decode(raw, type=Lease).metadata.resource_version
        self._renewed_at = started
        return True

    def _claim(self, transitions: int) -> dict[str, object]:
        now = micro_time(datetime.now(UTC))
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._timing.duration),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    async def _renew(self) -> None:
        started = time.monotonic()
        try:
            await self._write({"renewTime": micro_time(datetime.now(UTC))})
        except ApiError as error:
            if error.status == 404:
                raise LeaseLost("it was deleted") from None
            if error.status == 409:
                await self._check_holder()
            else:
                logger.warning("cannot renew Lease %s: %s", self._name, error)
            return
        self._renewed_at = started

    async def _check_holder(self) -> None:
        """After a conflict: read who holds the Lease, as the other write may have changed a label only."""
        try:
            raw = await self._api.get(lease_path(self._namespace, self._name))
        except ApiError as error:
            logger.warning("cannot read Lease %s: %s", self._name, error)
            return
        lease = msgspec.json.decode(raw, type=Lease)
        if lease.spec.holder_identity != self._identity:
            raise LeaseLost(f"{lease.spec.holder_identity or 'nobody'} holds it now")
        self._resource_version = lease.metadata.resource_version

    async def _write(self, spec: dict[str, object]) -> None:
        body = {"metadata": {"resourceVersion": self._resource_version}, "spec": spec}
        raw = await self._api.patch(lease_path(self._namespace, self._name), msgspec.json.encode(body))
        self._resource_version = msgspec.json.decode(raw, type=Lease).metadata.resource_version
