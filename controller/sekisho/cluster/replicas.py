"""The reports of the webhook's replicas: which policies each enforces, and what it has denied.

Each replica has a Lease with annotations:

- for each kind of policy, the resourceVersion up to which it has read that kind. A change costs one write by each
  replica, however many policies there are;
- the policies that it has read and cannot use;
- the denials, warnings and audited violations of the last hour, how many of them no Event shows, and examples of what
  was audited, and the uses of waivers, written with each renewal;
- the key id of the authority that signed the certificate that it serves;
- why it serves no reviews, if it does not.

A replica that stops deletes its Lease, and the Lease of one that died expires. All are deleted with the service account
that wrote them.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from sekisho.cluster.api import ApiClient
from sekisho.cluster.lease import Lease, lease_path
from sekisho.cluster.reported import Counts, Examples, WaiverReport, decode_counts, decode_examples, decode_waivers
from sekisho.policies.crd import RESOURCES
from sekisho.policies.types import GROUP
from sekisho.timestamps import parse

LABEL = "sekisho.dev/component"
COMPONENT = "webhook-replica"
AUTHORITY_ANNOTATION = f"{GROUP}/serving-certificate-authority"
UNUSABLE_ANNOTATION = f"{GROUP}/unusable-policies"
COUNTS_ANNOTATION = f"{GROUP}/last-hour"
EXAMPLES_ANNOTATION = f"{GROUP}/last-hour-audited"
WAIVERS_ANNOTATION = f"{GROUP}/waivers-used"
PROBLEM_ANNOTATION = f"{GROUP}/not-serving"
MAX_PROBLEM_LENGTH = 512
MAX_UNUSABLE_LENGTH = 32 << 10
"""Bytes; the annotations of an object may have 256 KiB."""
_MORE = "…"
LEASE_SECONDS = 30
MAX_LEASE_SECONDS = 60
"""The longest duration of a replica's Lease that is respected."""
FORGET_SECONDS = 300.0
"""A Lease that expired this long ago is deleted, as its process is gone."""


def annotation_of(plural: str) -> str:
    """The annotation with the resourceVersion up to which a replica has read a kind, `plural` in the API."""
    return f"{GROUP}/{plural}-resource-version"


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
    examples: Examples = {}
    waivers: WaiverReport = WaiverReport()
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
        counts=decode_counts(annotations.get(COUNTS_ANNOTATION, "{}")),
        examples=decode_examples(annotations.get(EXAMPLES_ANNOTATION, "{}")),
        waivers=decode_waivers(annotations.get(WAIVERS_ANNOTATION, "{}")),
        problem=annotations.get(PROBLEM_ANNOTATION, "")[:MAX_PROBLEM_LENGTH],
    )


def encode_unusable(names: Iterable[str]) -> str:
    """The value of UNUSABLE_ANNOTATION for policies that a replica cannot use, as much as fits."""
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


def parse_version(version: str) -> int:
    """A resourceVersion as a number, for comparison; -1, which is before all others, for an invalid one."""
    return int(version) if version.isascii() and version.isdigit() and len(version) <= 20 else -1


def _age(renewed: str, wall: datetime) -> timedelta:
    try:
        return wall - parse(renewed)
    except ValueError:
        return timedelta(0)
