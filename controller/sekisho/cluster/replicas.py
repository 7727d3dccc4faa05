"""How each replica of the webhook reports the policies that it enforces, and how the controller reads the reports.

Each replica has a Lease with annotations:

- for each kind of policy, the resourceVersion up to which it has read that kind. A change costs one write by each
  replica, however many policies there are;
- the policies that it has read and cannot use;
- the denials, warnings and audited violations of the last hour, and how many of them no Event shows, written with
  each renewal;
- the key id of the authority that signed the certificate that it serves;
- why it serves no reviews, if it does not.

A replica that stops deletes its Lease, and the Lease of one that died expires. All are deleted with the service account
that wrote them.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from sekisho.backoff import backoff, with_jitter
from sekisho.cluster.accounts import OwnerReference, own_account
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from sekisho.cluster.lease import Lease, lease_path
from sekisho.policies.crd import RESOURCES
from sekisho.policies.types import GROUP
from sekisho.timestamps import micro_time, parse

logger = logging.getLogger(__name__)

LABEL = "sekisho.dev/component"
COMPONENT = "webhook-replica"
AUTHORITY_ANNOTATION = f"{GROUP}/serving-certificate-authority"
UNUSABLE_ANNOTATION = f"{GROUP}/unusable-policies"
COUNTS_ANNOTATION = f"{GROUP}/last-hour"
PROBLEM_ANNOTATION = f"{GROUP}/not-serving"
MAX_PROBLEM_LENGTH = 512
MAX_UNUSABLE_LENGTH = 32 << 10
"""Bytes; the annotations of an object may have 256 KiB."""
_MORE = "…"


def annotation_of(plural: str) -> str:
    """The annotation with the resourceVersion up to which a replica has read a kind, `plural` in the API."""
    return f"{GROUP}/{plural}-resource-version"


LEASE_SECONDS = 30
MAX_LEASE_SECONDS = 60
"""The longest duration of a replica's Lease that is respected."""
RENEW_SECONDS = 10.0
DEBOUNCE_SECONDS = 0.1
SETTLE_SECONDS = 3.0
"""How long versions without a change of policies are collected before they are reported."""
FORGET_SECONDS = 300.0
"""A Lease that expired this long ago is deleted, as its process is gone."""
_WITHDRAW_SECONDS = 2.0


_Count = Annotated[int, Meta(ge=0)]


class Recent(NamedTuple):
    """Requests of the last hour that a policy denied, warned about or audited, and how many no Event shows."""

    denials: _Count
    warnings: _Count
    without_event: _Count = 0
    audited: _Count = 0


Counts = Mapping[str, Recent]
"""By the policies' titles."""


class ReplicaReporter:
    """Writes the reports of `replica` into the Lease sekisho-webhook-`replica` in `namespace`.

    Call `report` with each resourceVersion of each kind of policy and `report_authority` with each served authority,
    and run `run` in a task. `counts` and `problem` are called for each renewal; the latter gives why the replica serves
    no reviews, or an empty text.
    """

    def __init__(
        self,
        api: ApiClient,
        namespace: str,
        replica: str,
        counts: Callable[[], Counts] = dict,
        problem: Callable[[], str] = str,
    ) -> None:
        self._api = api
        self._replica = replica
        self._name = f"sekisho-webhook-{replica.lower()}"
        self._namespace = namespace
        self._path = lease_path(namespace, self._name)
        self._counts = counts
        self._problem = problem
        self._versions: dict[str, str] = {}
        self._unusable: dict[str, tuple[str, ...]] = {}
        self._authority = ""
        self._owners: tuple[OwnerReference, ...] | None = None
        self._changed = asyncio.Event()
        self._settling: asyncio.TimerHandle | None = None

    def report(self, plural: str, resource_version: str, unusable: Iterable[str], *, changed: bool) -> None:
        """Report that this replica has read a kind up to `resource_version`, and cannot use the `unusable` policies.

        changed: whether it enforces something else than before. Written statuses change the version alone, in large
            numbers, and are reported together after SETTLE_SECONDS.
        """
        names = tuple(f"{plural}/{key}" for key in unusable)
        changed = changed or plural not in self._versions or names != self._unusable[plural]
        if not changed and resource_version == self._versions[plural]:
            return
        self._versions[plural], self._unusable[plural] = resource_version, names
        if changed:
            self._changed.set()
        elif self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._changed.set)

    def report_authority(self, key_id: str) -> None:
        """Report that this replica serves a certificate of the authority with this key id, in hex."""
        if key_id != self._authority:
            self._authority = key_id
            if self._versions:  # else the first report is still to come
                self._changed.set()

    async def run(self) -> None:
        """Write the reports, from the first one on, until cancelled; then delete the Lease.

        API failures are logged and tried again.
        """
        await self._changed.wait()
        try:
            failures = 0
            while True:
                await asyncio.sleep(DEBOUNCE_SECONDS)
                failures = 0 if await self._write(first_failure=failures == 0) else failures + 1
                if failures:
                    await asyncio.sleep(backoff(failures))
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(with_jitter(RENEW_SECONDS, 0.2)):
                            await self._changed.wait()
        finally:
            await self._withdraw()

    async def _write(self, *, first_failure: bool) -> bool:
        self._changed.clear()
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
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
                "annotations": self._annotations(),
                "ownerReferences": owners,
            },
            "spec": {
                "holderIdentity": self._replica,
                "leaseDurationSeconds": LEASE_SECONDS,
                "renewTime": micro_time(datetime.now(UTC)),
            },
        }
        # Server-side apply is one request, whether the Lease exists or not.
        await self._api.patch(
            self._path,
            msgspec.json.encode(body),
            "application/apply-patch+yaml",
            {"fieldManager": "sekisho-webhook", "force": "true"},
        )

    def _annotations(self) -> dict[str, str]:
        unusable = [name for names in self._unusable.values() for name in names]
        return {
            **{annotation_of(plural): version for plural, version in self._versions.items()},
            UNUSABLE_ANNOTATION: _encode_unusable(unusable),
            COUNTS_ANNOTATION: msgspec.json.encode(self._counts()).decode(),
            AUTHORITY_ANNOTATION: self._authority,
            PROBLEM_ANNOTATION: self._problem()[:MAX_PROBLEM_LENGTH],
        }

    async def _withdraw(self) -> None:
        with suppress(ApiError, ApiUnavailable, TimeoutError):
            async with asyncio.timeout(_WITHDRAW_SECONDS):
                await self._api.delete(self._path)


class _LeaseList(Struct, frozen=True):
    items: tuple[Lease, ...] = ()


async def served_authorities(api: ApiClient, namespace: str) -> frozenset[str]:
    """The key ids, in hex, of the authorities of all replicas' certificates; a dead one counts while it has a Lease.

    Raises ApiError, ApiUnavailable.
    """
    raw = await api.get(lease_path(namespace), {"labelSelector": f"{LABEL}={COMPONENT}"})
    leases = msgspec.json.decode(raw, type=_LeaseList).items
    reported = ((lease.metadata.annotations or {}).get(AUTHORITY_ANNOTATION, "") for lease in leases)
    return frozenset(filter(None, reported))


class Unusable(Struct, frozen=True):
    """The policies that a replica cannot use, by kind and name (clusterpodpolicies/x, podpolicies/namespace/x).

    complete_to: the last name of a report that was too long, names being in order; nothing is known of names after it.
        None for a complete report.
    """

    names: frozenset[str] = frozenset()
    complete_to: str | None = None

    @property
    def is_any(self) -> bool:
        """Whether there is, or may be, a policy that it cannot use."""
        return bool(self.names) or self.complete_to is not None

    def may_hold(self, name: str) -> bool:
        """Whether it may be unable to use this policy."""
        return name in self.names or (self.complete_to is not None and name > self.complete_to)


class Replica(Struct, frozen=True):
    """The last report of a replica of the webhook."""

    name: str
    versions: Mapping[str, int]
    """The resourceVersion up to which it has read each kind, by the kinds' names in the API; -1 for none."""
    renew_time: str
    expires: float
    """When its Lease expires, by this process's monotonic clock."""
    unusable: Unusable = Unusable()
    counts: Counts = {}
    problem: str = ""
    """Why it serves no reviews; empty when it does."""

    def has_reached(self, plural: str, version: int) -> bool:
        """Whether it has read a kind up to a resourceVersion."""
        return self.versions.get(plural, -1) >= version


def observe(leases: Iterable[Lease], previous: Mapping[str, Replica], now: float, wall: datetime) -> dict[str, Replica]:
    """The replicas, by the names of their Leases, from a namespace's Leases and the `previous` result.

    A renewal counts from when this process sees it (`now`, monotonic). Only a Lease that is new to this process and was
    renewed more than FORGET_SECONDS ago by the clock (`wall`, with its zone) counts as expired at once.
    """
    return {
        lease.metadata.name: _observe_one(lease, previous.get(lease.metadata.name), now, wall)
        for lease in leases
        if (lease.metadata.labels or {}).get(LABEL) == COMPONENT
    }


def live(replicas: Mapping[str, Replica], now: float) -> tuple[Replica, ...]:
    """The replicas whose Lease has not expired, sorted by name."""
    return tuple(sorted((r for r in replicas.values() if now < r.expires), key=lambda replica: replica.name))


def forgotten(replicas: Mapping[str, Replica], now: float) -> list[str]:
    """The names of the Leases that expired FORGET_SECONDS ago or earlier."""
    return [name for name, replica in replicas.items() if now >= replica.expires + FORGET_SECONDS]


def silent(replicas: Mapping[str, Replica], now: float) -> tuple[str, ...]:
    """The names of those whose Lease has expired and exists: they died, or serve without access to the API server."""
    return tuple(sorted(r.name for r in replicas.values() if r.expires <= now < r.expires + FORGET_SECONDS))


def _observe_one(lease: Lease, previous: Replica | None, now: float, wall: datetime) -> Replica:
    spec = lease.spec
    annotations = lease.metadata.annotations or {}
    renewed = spec.renew_time or ""
    if previous is not None and previous.renew_time == renewed:
        expires = previous.expires
    elif previous is None and _age(renewed, wall) > timedelta(seconds=FORGET_SECONDS):
        expires = now - FORGET_SECONDS
    else:
        expires = now + min(spec.lease_duration_seconds or LEASE_SECONDS, MAX_LEASE_SECONDS)
    return Replica(
        name=spec.holder_identity or lease.metadata.name,
        versions={
            resource.plural: parse_version(annotations.get(annotation_of(resource.plural), ""))
            for resource in RESOURCES.values()
        },
        renew_time=renewed,
        expires=expires,
        unusable=_decode_unusable(annotations.get(UNUSABLE_ANNOTATION, "[]")),
        counts=_decode_counts(annotations.get(COUNTS_ANNOTATION, "{}")),
        problem=annotations.get(PROBLEM_ANNOTATION, "")[:MAX_PROBLEM_LENGTH],
    )


def _encode_unusable(names: Iterable[str]) -> str:
    written: list[str] = []
    size = 0
    for name in sorted(names):
        size += len(name) + 3
        if size > MAX_UNUSABLE_LENGTH:
            written.append(_MORE)
            break
        written.append(name)
    return msgspec.json.encode(written).decode()


def _decode_unusable(text: str) -> Unusable:
    try:
        names = msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError:  # another program wrote it: nothing is known of any policy
        names = [_MORE]
    if names[-1:] != [_MORE]:
        return Unusable(frozenset(names))
    return Unusable(frozenset(names[:-1]), names[-2] if len(names) > 1 else "")


def _decode_counts(text: str) -> Counts:
    try:
        return msgspec.json.decode(text, type=dict[str, Recent])
    except msgspec.DecodeError:
        return {}


def parse_version(version: str) -> int:
    """A resourceVersion as a number, for comparison; -1, which is before all others, for an invalid one."""
    return int(version) if version.isascii() and version.isdigit() and len(version) <= 20 else -1


def _age(renewed: str, wall: datetime) -> timedelta:
    try:
        return wall - parse(renewed)
    except ValueError:
        return timedelta(0)
