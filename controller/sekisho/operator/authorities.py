"""The status of an authority: whether it is valid, and whether signatures can be verified with it."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from sekisho.operator.conditions import State, accepted_condition, make_condition, not_accepted
from sekisho.operator.records import Record
from sekisho.operator.status import Sources, View
from sekisho.policies import ImageAuthority, compile_authority
from sekisho.policies.authorities import CompiledKey
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
        compiled = compile_authority(record.policy)
        resolved = resolve(compiled, view.sources.secrets, view.sources.config_maps, view.sources.public_root)
        state = _usable_state(compiled.keys, resolved, view.sources, view.now)
        expires = rfc3339(resolved.expires) if resolved.expires else None
    conditions = (accepted_condition(record, view.now), make_condition(record, "Usable", state, view.now))
    return ImageAuthorityStatus(record.generation, conditions, expires)


def _usable_state(keys: Sequence[CompiledKey], resolved: ResolvedAuthority, sources: Sources, now: datetime) -> State:
    problem = resolved.authority.problem_at(now)
    if problem and sources.missing:
        return State(ConditionStatus.UNKNOWN, "NotRead", sources.missing)
    if problem:
        return State(ConditionStatus.FALSE, "Unusable", problem)
    message = "signatures are verified " + (
        f"until {rfc3339(resolved.expires)}" if resolved.expires else "without an end"
    )
    problems = resolved.authority.key_problems
    if problems:
        message += f", but {'; '.join(problems)}"
    message = "; ".join([message, *_earlier_ends(keys, resolved.expires, now)])[:MAX_PROBLEMS_LENGTH]
    return State(ConditionStatus.TRUE, "PartlyUsable" if problems else "Usable", message)


def _earlier_ends(keys: Sequence[CompiledKey], last: datetime | None, now: datetime) -> Iterator[str]:
    """Which keys end, or have ended, before the last one, and when."""
    for index, key in enumerate(keys):
        if key.until is not None and key.until != last:
            yield f"spec.keys[{index}] {'ended' if now >= key.until else 'ends'} at {rfc3339(key.until)}"
