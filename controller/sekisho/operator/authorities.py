"""The status of an authority: whether it is valid, and whether signatures can be verified with it."""

from sekisho.operator.conditions import State, accepted_condition, make_condition, not_accepted
from sekisho.operator.records import Record
from sekisho.operator.status import View
from sekisho.policies import ImageAuthority, compile_authority
from sekisho.policies.authorities import ResolvedAuthority, resolve
from sekisho.policies.status import ConditionStatus, ImageAuthorityStatus
from sekisho.timestamps import rfc3339

MAX_PROBLEMS_LENGTH = 2048


def wanted_authority_status(record: Record, view: View) -> ImageAuthorityStatus:
    """What the status should be; equal to `record.status` when there is nothing to write."""
    resolved = resolved_of(record, view)
    if resolved is None:
        state = not_accepted("authority")
        return ImageAuthorityStatus(
            record.generation,
            (accepted_condition(record, view.now), make_condition(record, "Usable", state, view.now)),
        )
    return ImageAuthorityStatus(
        record.generation,
        (
            accepted_condition(record, view.now),
            make_condition(record, "Usable", _usable_state(resolved, view), view.now),
        ),
        rfc3339(resolved.expires) if resolved.expires else None,
    )


def resolved_of(record: Record, view: View) -> ResolvedAuthority | None:
    """The authority with what its Secrets and ConfigMaps hold; None if it is not accepted."""
    if not isinstance(record.policy, ImageAuthority):
        return None
    sources = view.sources
    return resolve(compile_authority(record.policy), sources.secrets, sources.config_maps, sources.public_root)


def _usable_state(resolved: ResolvedAuthority, view: View) -> State:
    problem = resolved.authority.problem_at(view.now)
    if problem and view.sources.missing:
        return State(ConditionStatus.UNKNOWN, "NotRead", view.sources.missing)
    if problem:
        return State(ConditionStatus.FALSE, "Unusable", problem)
    until = f"until {rfc3339(resolved.expires)}" if resolved.expires else "without an end"
    if resolved.authority.key_problems:
        problems = "; ".join(resolved.authority.key_problems)
        message = f"signatures are verified {until}, but {problems}"[:MAX_PROBLEMS_LENGTH]
        return State(ConditionStatus.TRUE, "PartlyUsable", message)
    return State(ConditionStatus.TRUE, "Usable", f"signatures are verified {until}")
