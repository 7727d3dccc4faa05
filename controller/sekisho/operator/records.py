"""Policies and waivers as the controller knows them, and on how many replicas of the webhook they are in effect."""

from collections.abc import Collection, Mapping
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from sekisho.cluster.replicas import Replica, parse_version
from sekisho.controls.image_catalogs import Catalog
from sekisho.policies import ClusterPodPolicy, PodPolicy, Policy, PolicyError, compile_any, compile_policy
from sekisho.policies.conflicts import Defaulting, defaulting_of
from sekisho.policies.crd import RESOURCES, Resource
from sekisho.policies.idle import EXEMPT_NAMESPACES, Idle, idle
from sekisho.policies.loading import from_object
from sekisho.policies.status import (
    ImageAuthorityStatus,
    ImageCatalogStatus,
    PolicyStatus,
    PolicyWaiverStatus,
)

MAX_MESSAGE_LENGTH: Final = 4096

Status = PolicyStatus | PolicyWaiverStatus | ImageAuthorityStatus | ImageCatalogStatus


class Record(Struct, frozen=True):
    """An object of any of Sekisho's kinds: everything that its status depends on, and the status that is stored."""

    resource: Resource
    title: str
    """Its name, or namespace/name."""
    uid: str
    resource_version: str
    generation: int
    since: int
    """The resourceVersion at which this process first saw this generation: a replica that has read up to it has read
    this generation."""
    created: int
    """The resourceVersion at which this process first saw the object: counts in older reports are about a deleted
    policy with its name."""
    policy: Policy | None
    """None when it is not accepted."""
    problem: str
    """Why it is not accepted; empty when it is."""
    idle: Idle | None
    """Why a policy does nothing; None for one that does something, and for a waiver."""
    defaulting: Defaulting | None
    """Its defaults, which may conflict with other policies'; None when it has none."""
    status: Status | None
    """None when there is none, or one that this version of the controller did not write."""
    catalog: Catalog | None = None
    """A catalog that is accepted, compiled; else None."""

    @property
    def is_waiver(self) -> bool:
        """Whether it is a PolicyWaiver."""
        return self.resource is RESOURCES["PolicyWaiver"]

    @property
    def is_authority(self) -> bool:
        """Whether it is an ImageAuthority."""
        return self.resource is RESOURCES["ImageAuthority"]

    @property
    def is_catalog(self) -> bool:
        """Whether it is an ImageCatalog."""
        return self.resource is RESOURCES["ImageCatalog"]

    @property
    def is_policy(self) -> bool:
        """Whether it is a ClusterPodPolicy or a PodPolicy."""
        return not self.is_waiver and not self.is_authority and not self.is_catalog


def read_record(body: Mapping[str, Any], known: Record | None, exempt: Collection[str] = EXEMPT_NAMESPACES) -> Record:
    """Read a policy, waiver, authority or catalog from the API's JSON.

    exempt: the namespaces whose pods the API server does not send to the webhook.
    known: what was last read of the same object; None for a new one. Returned as it is when `body` is not newer.
    """
    metadata = body["metadata"]
    version: str = metadata["resourceVersion"]
    if known is not None and parse_version(version) <= parse_version(known.resource_version):
        return known
    resource = RESOURCES[body["kind"]]
    status = _status_of(body, resource)
    if known is not None and known.generation == metadata["generation"]:
        # Only the metadata or the status changed: replicas need not report again, so `since` stays.
        return msgspec.structs.replace(known, resource_version=version, status=status)
    policy, problem, defaulting, does_nothing, catalog = _accepted(body, resource, exempt)
    namespace = metadata.get("namespace", "")
    return Record(
        resource=resource,
        title=f"{namespace}/{metadata['name']}" if namespace else metadata["name"],
        uid=metadata["uid"],
        resource_version=version,
        generation=metadata["generation"],
        since=parse_version(version),
        created=known.created if known is not None else parse_version(version),
        policy=policy,
        problem=problem,
        idle=does_nothing,
        defaulting=defaulting,
        status=status,
        catalog=catalog,
    )


def _accepted(
    body: Mapping[str, Any], resource: Resource, exempt: Collection[str]
) -> tuple[Policy | None, str, Defaulting | None, Idle | None, Catalog | None]:
    """The policy or waiver, why it is not accepted, its defaults, why it does nothing, and a catalog compiled.

    None in place of one that is not accepted, with the fields' paths.
    """
    try:
        policy: Policy = from_object(body, resource.kind)
        if isinstance(policy, ClusterPodPolicy | PodPolicy):
            compiled = compile_policy(policy)
            return policy, "", defaulting_of(policy, compiled), idle(policy, compiled, exempt), None
        other = compile_any(policy)
        return policy, "", None, None, other if isinstance(other, Catalog) else None
    except PolicyError as error:
        return None, str(error)[:MAX_MESSAGE_LENGTH], None, None, None


def _status_of(body: Mapping[str, Any], resource: Resource) -> Status | None:
    try:
        return cast("Status", msgspec.convert(body.get("status"), resource.status))
    except msgspec.ValidationError:
        return None


class Coverage(Struct, frozen=True):
    """How many replicas have a policy or a waiver in effect, and the names of those that do not."""

    enforcing: int
    behind: tuple[str, ...]
    """Those that have not read this generation yet."""
    not_serving: tuple[str, ...]
    """Those that serve no reviews, each with the reason."""
    unable: tuple[str, ...]
    """Those that have read it and cannot use it."""
    silent: tuple[str, ...]
    """Those that do not report but may still serve."""

    @property
    def total(self) -> int:
        """The number of replicas."""
        return self.enforcing + sum(map(len, (self.not_serving, self.behind, self.unable, self.silent)))

    @property
    def ratio(self) -> str:
        """How many of them have it in effect, such as 3/3."""
        return f"{self.enforcing}/{self.total}"


def coverage_of(record: Record, replicas: tuple[Replica, ...], silent: tuple[str, ...]) -> Coverage:
    """The coverage of a policy or a waiver, by the reports of the live `replicas`."""
    plural = record.resource.plural
    not_serving = tuple(f"{replica.name}: {replica.problem}" for replica in replicas if replica.problem)
    replicas = tuple(replica for replica in replicas if not replica.problem)
    behind = tuple(replica.name for replica in replicas if not replica.has_reached(plural, record.since))
    unable: tuple[str, ...] = ()
    if any(replica.unusable.is_any for replica in replicas):
        name = f"{plural}/{record.title}"
        unable = tuple(r.name for r in replicas if r.unusable.may_hold(name) and r.has_reached(plural, record.since))
    return Coverage(
        enforcing=len(replicas) - len(behind) - len(unable),
        not_serving=not_serving,
        behind=behind,
        unable=unable,
        silent=silent,
    )
