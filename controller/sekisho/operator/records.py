"""Policies and waivers as the controller knows them, and what replicas of the webhook say of each."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import Struct

from sekisho.cluster.replicas import Replica, parse_version
from sekisho.policies import Policy, PolicyError, PolicyWaiver, compile_policy, compile_waiver, decode
from sekisho.policies.conflicts import Defaulting, defaulting_of
from sekisho.policies.crd import RESOURCES, Resource
from sekisho.policies.status import Condition, PolicyStatus, PolicyWaiverStatus
from sekisho.timestamps import rfc3339

MAX_NAMED: Final = 3
"""Replicas that a message names; it counts the others."""
MAX_MESSAGE_LENGTH: Final = 4096

Status = PolicyStatus | PolicyWaiverStatus
State = Literal["True", "False", "Unknown"]


class Record(Struct, frozen=True):
    """A policy or a waiver: what its status depends on, and what that says by now."""

    resource: Resource
    title: str
    """Its name, or namespace/name."""
    uid: str
    resource_version: str
    generation: int
    since: int
    """The resourceVersion at which this generation was first seen here: a replica that got as far has taken it in."""
    policy: Policy | None
    """None where it is not accepted."""
    problem: str
    """Why it is not accepted."""
    defaulting: Defaulting | None
    """What may contradict other policies."""
    status: Status | None


def read_record(body: Mapping[str, Any], known: Record | None) -> Record:
    """Read a policy or a waiver from the API's JSON; `known` is what was last read of it.

    Gives `known` itself where `body` is older. What one resourceVersion told of a generation outlives later ones,
    which writing a status brings about.
    """
    metadata = body["metadata"]
    version: str = metadata["resourceVersion"]
    if known is not None and parse_version(version) <= parse_version(known.resource_version):
        return known
    resource = RESOURCES[body["kind"]]
    status = _status_of(body, resource)
    if known is not None and known.generation == metadata["generation"]:
        return msgspec.structs.replace(known, resource_version=version, status=status)
    policy, problem, defaulting = _accepted(body, resource)
    namespace = metadata.get("namespace", "")
    return Record(
        resource=resource,
        title=f"{namespace}/{metadata['name']}" if namespace else metadata["name"],
        uid=metadata["uid"],
        resource_version=version,
        generation=metadata["generation"],
        since=parse_version(version),
        policy=policy,
        problem=problem,
        defaulting=defaulting,
        status=status,
    )


def _accepted(body: Mapping[str, Any], resource: Resource) -> tuple[Policy | None, str, Defaulting | None]:
    """A policy or a waiver, or why it can't be accepted, with the fields' paths; and what may contradict others."""
    try:
        policy: Policy = decode(msgspec.json.encode(body), resource.kind)
        if isinstance(policy, PolicyWaiver):
            compile_waiver(policy)
            return policy, "", None
        return policy, "", defaulting_of(policy, compile_policy(policy))
    except PolicyError as error:
        return None, str(error)[:MAX_MESSAGE_LENGTH], None


def _status_of(body: Mapping[str, Any], resource: Resource) -> Status | None:
    try:
        return cast("Status", msgspec.convert(body.get("status"), resource.status))
    except msgspec.ValidationError:  # there is none, or not of our making: it is written anew
        return None


class Reach(Struct, frozen=True):
    """Which replicas have a policy or a waiver in force, and which have not, by name."""

    enforcing: int
    behind: tuple[str, ...]
    """Those that have not taken in this generation yet."""
    unable: tuple[str, ...]
    """Those that have, and cannot use it."""
    silent: tuple[str, ...]
    """Those that do not report, and may serve all the same."""

    @property
    def total(self) -> int:
        """How many replicas there are."""
        return self.enforcing + len(self.behind) + len(self.unable) + len(self.silent)

    @property
    def told(self) -> str:
        """How many of them have it in force, such as 3/3."""
        return f"{self.enforcing}/{self.total}"


def reach_of(record: Record, replicas: tuple[Replica, ...], silent: tuple[str, ...]) -> Reach:
    """What the live `replicas` say of a policy or a waiver."""
    plural = record.resource.plural
    behind = tuple(each.name for each in replicas if not each.has_reached(plural, record.since))
    unable: tuple[str, ...] = ()
    if any(each.unusable.is_any for each in replicas):
        name = f"{plural}/{record.title}"
        unable = tuple(e.name for e in replicas if e.unusable.may_hold(name) and e.has_reached(plural, record.since))
    return Reach(len(replicas) - len(behind) - len(unable), behind, unable, silent)


def verdict_of(reach: Reach, verb: str) -> tuple[State, str, str]:
    """Status, reason and message of a condition that asks for all replicas; `verb` is what they do, such as enforce."""
    if not reach.total:
        return "False", "NoReplicas", "no replica of the webhook is running"
    if reach.enforcing == reach.total:
        message = f"the only replica {verb}s it" if reach.total == 1 else f"all {reach.total} replicas {verb} it"
        return "True", f"{verb.capitalize().removesuffix('e')}edByAllReplicas", message
    parts = [f"{reach.enforcing} of {reach.total} replicas {verb} it"]
    if reach.unable:
        parts.append(f"{_named(reach.unable)} cannot use it, as the log there explains")
    if reach.behind:
        parts.append(f"waiting for {_named(reach.behind)}")
    if reach.silent:
        parts.append(f"not known of {_named(reach.silent)}, which may serve without reporting")
    message = "; ".join(parts)
    if reach.unable:
        return "False", "UnusableOnReplicas", message
    if reach.behind:
        return "False", "WaitingForReplicas", message
    return "Unknown", "ReplicasSilent", message


def unaccepted(noun: str) -> tuple[State, str, str]:
    """The same for a policy or a waiver that no replica can have in force."""
    return "False", "NotAccepted", f"the {noun} is not accepted"


def _named(names: tuple[str, ...]) -> str:
    rest = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + rest


def condition(record: Record, kind: str, verdict: tuple[State, str, str], now: datetime) -> Condition:
    """A condition of the record as it is now; the time of its last transition stays while its status does."""
    stated = (record.status.conditions if record.status else None) or ()
    before = next((each for each in stated if each.type == kind), None)
    status, reason, message = verdict
    stays = before is not None and before.status == status
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=before.last_transition_time if before is not None and stays else rfc3339(now),
        observed_generation=record.generation,
    )


def acceptance(record: Record, now: datetime) -> Condition:
    """The condition Accepted."""
    if record.policy is None:
        return condition(record, "Accepted", ("False", "Invalid", record.problem), now)
    noun = "waiver" if record.resource.name == "PolicyWaiver" else "policy"
    return condition(record, "Accepted", ("True", "Valid", f"the {noun} is valid"), now)
