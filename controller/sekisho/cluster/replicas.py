"""How a replica of the webhook tells which policies it enforces, and how the controller hears of it.

Each replica keeps one Lease. An annotation on it for each kind of policy is the resourceVersion up to which it has
taken in that kind: one write a change and replica, however many policies there are. Another is the key id of the
authority whose certificate it serves. The Lease of a replica that died runs out, that of one that stopped is deleted,
and all go with the service account that wrote them.
"""

import asyncio
import logging
import random
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from sekisho.cluster.accounts import OwnerReference, own_account
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.lease import Lease, lease_path, micro_time
from sekisho.policies.crd import RESOURCES
from sekisho.policies.types import GROUP

logger = logging.getLogger(__name__)

LABEL = "sekisho.dev/component"
COMPONENT = "webhook-replica"
POLICIES = "clusterpodpolicies"
AUTHORITY_ANNOTATION = "sekisho.dev/serving-certificate-authority"


def annotation_of(plural: str) -> str:
    """The annotation that tells how far a replica has taken in a collection, by the collection's name in the API."""
    return f"{GROUP}/{plural}-resource-version"


VERSION_ANNOTATION = annotation_of(POLICIES)

LEASE_SECONDS = 30
RENEW_SECONDS = 10.0
DEBOUNCE_SECONDS = 0.1
FORGET_SECONDS = 300.0
"""A Lease that ran out this long ago belongs to no process any more."""
_MOST_BACKOFF_SECONDS = 10.0
_WITHDRAW_SECONDS = 2.0


class ReplicaReporter:
    """Reports for the replica `replica`, in the Lease sekisho-webhook-`replica` of `namespace`.

    Call `report` with each resourceVersion of each kind of policy and `report_authority` with what signed the
    certificate that is served, and let a task `run`.
    """

    def __init__(self, api: ApiClient, namespace: str, replica: str) -> None:
        self._api = api
        self._replica = replica
        self._name = f"sekisho-webhook-{replica.lower()}"
        self._namespace = namespace
        self._path = lease_path(namespace, self._name)
        self._versions: dict[str, str] = {}
        self._authority = ""
        self._owners: tuple[OwnerReference, ...] | None = None
        self._changed = asyncio.Event()

    def report(self, resource_version: str, plural: str = POLICIES) -> None:
        """Say that this replica now enforces a collection as of `resource_version`. Costs nothing; never fails."""
        if resource_version != self._versions.get(plural):
            self._versions[plural] = resource_version
            self._changed.set()

    def report_authority(self, key_id: str) -> None:
        """Say that this replica now serves a certificate of the authority with this key id, in hex; never fails."""
        if key_id != self._authority:
            self._authority = key_id
            if self._versions:  # else there is nothing yet that this would be a change of
                self._changed.set()

    async def run(self) -> None:
        """Write the reports, from the first one on, until cancelled; the Lease is deleted then.

        Never raises: when the API server is away, it goes on trying.
        """
        await self._changed.wait()
        try:
            failures = 0
            while True:
                await asyncio.sleep(DEBOUNCE_SECONDS)
                failures = 0 if await self._write(first_failure=failures == 0) else failures + 1
                if failures:
                    await asyncio.sleep(_backoff(failures))
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_spread(RENEW_SECONDS)):
                            await self._changed.wait()
        finally:
            await self._withdraw()

    async def _write(self, *, first_failure: bool) -> bool:
        self._changed.clear()
        try:
            if self._owners is None:
                self._owners = await own_account(self._api, self._namespace)
            await self._apply(self._owners)
        except (ApiError, ApiUnavailable) as error:
            if first_failure:
                logger.warning("cannot report the enforced policies: %s", error)
            return False
        return True

    async def _apply(self, owners: tuple[OwnerReference, ...]) -> None:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self._name,
                "labels": {LABEL: COMPONENT},
                "annotations": {
                    **{annotation_of(plural): version for plural, version in self._versions.items()},
                    AUTHORITY_ANNOTATION: self._authority,
                },
                "ownerReferences": owners,
            },
            "spec": {
                "holderIdentity": self._replica,
                "leaseDurationSeconds": LEASE_SECONDS,
                "renewTime": micro_time(datetime.now(UTC)),
            },
        }
        # Server-side apply makes the Lease where there is none: one request, whatever was there before.
        await self._api.patch(
            self._path,
            msgspec.json.encode(body),
            "application/apply-patch+yaml",
            {"fieldManager": "sekisho-webhook", "force": "true"},
        )

    async def _withdraw(self) -> None:
        with suppress(ApiError, ApiUnavailable, TimeoutError):
            async with asyncio.timeout(_WITHDRAW_SECONDS):
                await self._api.delete(self._path)


def _backoff(failures: int) -> float:
    return _spread(min(0.25 * 2 ** min(failures, 8), _MOST_BACKOFF_SECONDS))


def _spread(seconds: float) -> float:
    return seconds * random.uniform(0.8, 1.0)  # noqa: S311 - jitter


class _LeaseList(Struct, frozen=True):
    items: tuple[Lease, ...] = ()


async def served_authorities(api: ApiClient, namespace: str) -> frozenset[str]:
    """The key ids of the authorities whose certificates the replicas serve; a dead one counts while its Lease is there.

    Raises ApiError, ApiUnavailable.
    """
    raw = await api.get(lease_path(namespace), {"labelSelector": f"{LABEL}={COMPONENT}"})
    leases = msgspec.json.decode(raw, type=_LeaseList).items
    told = ((lease.metadata.annotations or {}).get(AUTHORITY_ANNOTATION, "") for lease in leases)
    return frozenset(filter(None, told))


class Replica(Struct, frozen=True):
    """What one replica of the webhook last said, and how long that holds by this process's monotonic clock."""

    name: str
    version: int
    """The resourceVersion up to which it enforces the ClusterPodPolicies."""
    renew_time: str
    expires: float
    versions: Mapping[str, int] = {}
    """The same for every kind, by the collections' names in the API; -1 for one that it did not report."""


def observe(leases: Iterable[Lease], previous: Mapping[str, Replica], now: float, wall: datetime) -> dict[str, Replica]:
    """The replicas by the names of their Leases, from a namespace's Leases and from what was `previous`ly observed.

    A renewal counts from when it is seen here (`now`, monotonic). Only a Lease seen for the first time whose last
    renewal is over FORGET_SECONDS old by the clocks (`wall`, with time zone) counts as run out at once.
    """
    return {
        lease.metadata.name: _observe_one(lease, previous.get(lease.metadata.name), now, wall)
        for lease in leases
        if (lease.metadata.labels or {}).get(LABEL) == COMPONENT
    }


def live(replicas: Mapping[str, Replica], now: float) -> tuple[Replica, ...]:
    """Those that renewed within their Lease's duration, by name."""
    return tuple(sorted((r for r in replicas.values() if now < r.expires), key=lambda replica: replica.name))


def forgotten(replicas: Mapping[str, Replica], now: float) -> list[str]:
    """The names of the Leases that ran out so long ago that nobody needs them any more."""
    return [name for name, replica in replicas.items() if now >= replica.expires + FORGET_SECONDS]


def _observe_one(lease: Lease, previous: Replica | None, now: float, wall: datetime) -> Replica:
    spec = lease.spec
    annotations = lease.metadata.annotations or {}
    versions = {
        resource.plural: parse_version(annotations.get(annotation_of(resource.plural), ""))
        for resource in RESOURCES.values()
    }
    renewed = spec.renew_time or ""
    if previous is not None and previous.renew_time == renewed:
        expires = previous.expires
    elif previous is None and _age(renewed, wall) > timedelta(seconds=FORGET_SECONDS):
        expires = now - FORGET_SECONDS
    else:
        expires = now + (spec.lease_duration_seconds or LEASE_SECONDS)
    return Replica(
        name=spec.holder_identity or lease.metadata.name,
        version=versions[POLICIES],
        renew_time=renewed,
        expires=expires,
        versions=versions,
    )


def parse_version(version: str) -> int:
    """A resourceVersion as the number by which it compares; -1, which is before all others, when it is none."""
    return int(version) if version.isascii() and version.isdigit() and len(version) <= 20 else -1


def _age(micro_time: str, wall: datetime) -> timedelta:
    try:
        return wall - datetime.fromisoformat(micro_time)
    except (ValueError, TypeError):  # TypeError: a time without a zone
        return timedelta(0)
