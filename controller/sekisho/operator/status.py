"""The status of a policy, from the policy and what the replicas of the webhook report. The clock is an argument."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from sekisho.cluster.replicas import Replica, parse_version
from sekisho.policies import PolicyError, compile_policy, decode_policy
from sekisho.policies.types import ClusterPodPolicyStatus, Condition

MOST_NAMED = 3
"""Replicas that a message names; it counts the others."""
LONGEST_MESSAGE = 4096


class Policy(Struct, frozen=True):
    """What the status of a policy depends on."""

    name: str
    uid: str
    resource_version: str
    generation: int
    since: int
    """The resourceVersion at which this generation was first seen here: a replica that got as far enforces it."""
    problem: str | None
    """Why the policy is not accepted."""
    status: ClusterPodPolicyStatus | None
    """What its status says by now."""


def read_policy(body: Mapping[str, Any], known: Policy | None) -> Policy:
    """Read a policy from the API's JSON; `known` is what was last read of it.

    Gives `known` itself where `body` is older. What one resourceVersion told of a generation outlives later ones,
    which writing a status brings about.
    """
    metadata = body["metadata"]
    version: str = metadata["resourceVersion"]
    generation: int = metadata["generation"]
    if known is not None and parse_version(version) <= parse_version(known.resource_version):
        return known
    same = known is not None and known.generation == generation
    return Policy(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=version,
        generation=generation,
        since=known.since if known is not None and same else parse_version(version),
        problem=known.problem if known is not None and same else problem_of(body),
        status=_status_of(body),
    )


def problem_of(body: Mapping[str, Any]) -> str | None:
    """Why a policy can't be accepted, with the field's path, or None."""
    try:
        compile_policy(decode_policy(msgspec.json.encode(body)))
    except PolicyError as error:
        return str(error)[:LONGEST_MESSAGE]
    return None


def wanted_status(policy: Policy, replicas: tuple[Replica, ...], now: datetime) -> ClusterPodPolicyStatus:
    """What the status should be. Equal to `policy.status` where there is nothing new to say.

    `replicas` are the live ones.
    """
    behind = tuple(replica.name for replica in replicas if replica.version < policy.since)
    enforcing = 0 if policy.problem is not None else len(replicas) - len(behind)
    return ClusterPodPolicyStatus(
        observed_generation=policy.generation,
        enforced_by=f"{enforcing}/{len(replicas)}",
        conditions=(_accepted(policy, now), _enforced(policy, enforcing, behind, now)),
    )


def _accepted(policy: Policy, now: datetime) -> Condition:
    if policy.problem is not None:
        return _condition(policy, "Accepted", "False", "Invalid", policy.problem, now)
    return _condition(policy, "Accepted", "True", "Valid", "the policy is valid", now)


def _enforced(policy: Policy, enforcing: int, behind: tuple[str, ...], now: datetime) -> Condition:
    if policy.problem is not None:
        return _condition(policy, "Enforced", "False", "NotAccepted", "the policy is not accepted", now)
    replicas = enforcing + len(behind)
    if not replicas:
        return _condition(policy, "Enforced", "False", "NoReplicas", "no replica of the webhook is running", now)
    if behind:
        named = ", ".join(behind[:MOST_NAMED])
        rest = f" and {len(behind) - MOST_NAMED} more" if len(behind) > MOST_NAMED else ""
        message = f"{enforcing} of {replicas} replicas enforce it; waiting for {named}{rest}"
        return _condition(policy, "Enforced", "False", "WaitingForReplicas", message, now)
    message = "the only replica enforces it" if replicas == 1 else f"all {replicas} replicas enforce it"
    return _condition(policy, "Enforced", "True", "EnforcedByAllReplicas", message, now)


def _condition(
    policy: Policy, kind: str, status: Literal["True", "False"], reason: str, message: str, now: datetime
) -> Condition:
    stated = (policy.status.conditions if policy.status else None) or ()
    before = next((condition for condition in stated if condition.type == kind), None)
    unchanged = before is not None and before.status == status
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=before.last_transition_time if before is not None and unchanged else _seconds(now),
        observed_generation=policy.generation,
    )


def _seconds(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _status_of(body: Mapping[str, Any]) -> ClusterPodPolicyStatus | None:
    try:
        return msgspec.convert(body.get("status"), ClusterPodPolicyStatus | None)
    except msgspec.ValidationError:  # not of our making: it is written anew
        return None
