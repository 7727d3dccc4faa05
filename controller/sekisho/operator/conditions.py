"""The conditions in the status of policies and waivers."""

from datetime import datetime
from typing import Final

from msgspec import Struct

from sekisho.operator.records import Coverage, Record
from sekisho.policies.status import Condition, ConditionStatus
from sekisho.timestamps import rfc3339

MAX_NAMED: Final = 3
"""Replicas that a message names; it counts the others."""
_NOUNS: Final = {"PolicyWaiver": "waiver", "ImageAuthority": "authority", "ImageCatalog": "catalog"}


class State(Struct, frozen=True):
    """What a condition says: its status, and why, in one word and in a clause."""

    status: ConditionStatus
    reason: str
    message: str


def coverage_state(coverage: Coverage, verb: str) -> State:
    """The state of a condition that requires all replicas; `verb` is what they do: enforce, honour."""
    total = coverage.total
    if not total:
        return State(ConditionStatus.FALSE, "NoReplicas", "no replica of the webhook is running")
    if coverage.enforcing == total:
        message = f"the only replica {verb}s it" if total == 1 else f"all {total} replicas {verb} it"
        return State(ConditionStatus.TRUE, f"{verb.capitalize().removesuffix('e')}edByAllReplicas", message)
    clauses = [f"{coverage.enforcing} of {total} replicas {verb} it"]
    if coverage.not_serving:
        clauses.append(f"no reviews are served by {_some(coverage.not_serving)}")
    if coverage.unable:
        clauses.append(f"{_some(coverage.unable)} cannot use it (see the log there)")
    if coverage.behind:
        clauses.append(f"waiting for {_some(coverage.behind)}")
    if coverage.silent:
        clauses.append(f"no report from {_some(coverage.silent)}, which may still serve")
    message = "; ".join(clauses)
    if coverage.not_serving:
        return State(ConditionStatus.FALSE, "ReplicasNotServing", message)
    if coverage.unable:
        return State(ConditionStatus.FALSE, "UnusableOnReplicas", message)
    if coverage.behind:
        return State(ConditionStatus.FALSE, "WaitingForReplicas", message)
    return State(ConditionStatus.UNKNOWN, "ReplicasSilent", message)


def not_accepted(noun: str) -> State:
    """The state of a condition that requires all replicas, for a policy or waiver that no replica can use."""
    return State(ConditionStatus.FALSE, "NotAccepted", f"the {noun} is not accepted")


def accepted_condition(record: Record, now: datetime) -> Condition:
    """The condition Accepted."""
    if record.policy is None:
        return make_condition(record, "Accepted", State(ConditionStatus.FALSE, "Invalid", record.problem), now)
    noun = _NOUNS.get(record.resource.name, "policy")
    return make_condition(record, "Accepted", State(ConditionStatus.TRUE, "Valid", f"the {noun} is valid"), now)


def make_condition(record: Record, kind: str, state: State, now: datetime) -> Condition:
    """A condition about the record's generation. Its transition time changes only when its status does."""
    stored = (record.status.conditions if record.status else None) or ()
    before = next((condition for condition in stored if condition.type == kind), None)
    is_same = before is not None and before.status == state.status
    return Condition(
        type=kind,
        status=state.status,
        reason=state.reason,
        message=state.message,
        last_transition_time=before.last_transition_time if before is not None and is_same else rfc3339(now),
        observed_generation=record.generation,
    )


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
