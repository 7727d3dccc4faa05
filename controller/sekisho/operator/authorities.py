"""The status of an authority: whether it is valid, and whether signatures can be verified with it."""

from datetime import datetime
from typing import Final

from sekisho.operator.conditions import State, accepted_condition, make_condition, not_accepted
from sekisho.operator.records import Record
from sekisho.operator.status import Sources, View
from sekisho.policies import ImageAuthority, compile_authority
from sekisho.policies.resolved_authorities import ResolvedAuthority, resolve
from sekisho.policies.status import ConditionStatus, ImageAuthorityStatus
from sekisho.timestamps import rfc3339

MAX_PROBLEMS_LENGTH: Final = 2048


def wanted_authority_status(record: Record, view: View) -> ImageAuthorityStatus:
    """What the status should be; equal to `record.status` when there is nothing to write."""
    expires = None
    if not isinstance(record.policy, ImageAuthority):
        state = not_accepted("authority")
    else:
        resolved = _resolved(record.policy, view.sources)
        state = _usable_state(resolved, view.sources, view.now)
        expires = rfc3339(resolved.expires) if resolved.expires else None
    conditions = (accepted_condition(record, view.now), make_condition(record, "Usable", state, view.now))
    return ImageAuthorityStatus(record.generation, conditions, expires)


def _resolved(written: ImageAuthority, sources: Sources) -> ResolvedAuthority:
    return resolve(compile_authority(written), sources.secrets, sources.config_maps, sources.public_root)


def _usable_state(resolved: ResolvedAuthority, sources: Sources, now: datetime) -> State:
    problem = resolved.authority.problem_at(now)
    if problem and sources.missing:
        return State(ConditionStatus.UNKNOWN, "NotRead", sources.missing)
    if problem:
        return State(ConditionStatus.FALSE, "Unusable", problem)
    until = f"until {rfc3339(resolved.expires)}" if resolved.expires else "without an end"
    if resolved.authority.key_problems:
        problems = "; ".join(resolved.authority.key_problems)
        message = f"signatures are verified {until}, but {problems}"[:MAX_PROBLEMS_LENGTH]
        return State(ConditionStatus.TRUE, "PartlyUsable", message)
    return State(ConditionStatus.TRUE, "Usable", f"signatures are verified {until}")
