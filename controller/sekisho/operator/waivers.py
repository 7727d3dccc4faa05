"""The status of a waiver, and the warnings before it expires."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Final

from sekisho.operator.conditions import State, accepted_condition, coverage_state, make_condition, not_accepted
from sekisho.operator.records import Record, coverage_of
from sekisho.operator.status import View, as_proven
from sekisho.operator.waiver_uses import stored_uses
from sekisho.policies import PolicyWaiver
from sekisho.policies.status import ConditionStatus, PolicyWaiverStatus
from sekisho.timestamps import rfc3339

MAX_NAME_LENGTH: Final = 40
"""Of a control or a policy in `status.exempts`, which is for people."""
_DAY: Final = timedelta(days=1)
NOTICE_DAYS: Final = (14, 3, 1)
"""How many days before a waiver expires an Event warns of it."""


def wanted_waiver_status(record: Record, view: View) -> PolicyWaiverStatus:
    """What the status should be; equal to `record.status` when there is nothing to write."""
    waiver = record.policy
    if not isinstance(waiver, PolicyWaiver):
        active = make_condition(record, "Active", not_accepted("waiver"), view.now)
        return PolicyWaiverStatus(record.generation, (accepted_condition(record, view.now), active))
    named = waiver.spec.policies
    uses = view.uses.get(record.title, stored_uses(record))
    return PolicyWaiverStatus(
        observed_generation=record.generation,
        conditions=(
            accepted_condition(record, view.now),
            make_condition(record, "Active", _active_state(record, waiver, view), view.now),
        ),
        policies=tuple(title for title in named if title in view.titles) or None,
        missing_policies=tuple(title for title in named if title not in view.titles) or None,
        expires_within_days=notice_of(waiver.spec.expires, view.now),
        exempts=f"{_first_two(waiver.spec.controls)} of {_first_two(named)}",
        days_left=days_left(waiver.spec.expires, view.now),
        uses=uses.total or None,
        uses_last_hour=uses.last_hour or None,
        last_used=uses.owners[0].last_used if uses.owners else None,
        used_by=uses.owners or None,
    )


def _first_two(names: Sequence[str]) -> str:
    shown = [name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…" for name in names[:2]]
    return ", ".join(shown) + (f" +{len(names) - 2}" if len(names) > 2 else "")


def days_left(expires: datetime, now: datetime) -> int:
    """The days until a waiver expires, rounded up; 0 once it has."""
    return max(0, ceil((expires - now) / _DAY))


def _active_state(record: Record, waiver: PolicyWaiver, view: View) -> State:
    expires = rfc3339(waiver.spec.expires)
    if view.now >= waiver.spec.expires:
        return State(ConditionStatus.FALSE, "Expired", f"it expired at {expires}")
    if view.titles.isdisjoint(waiver.spec.policies):
        return State(ConditionStatus.FALSE, "NoPolicy", "none of the policies that it names exists")
    state = as_proven(coverage_state(coverage_of(record, view.replicas, view.silent), "honour"), view.proof)
    return State(state.status, state.reason, f"{state.message}; it expires at {expires}")


def notice_of(expires: datetime, now: datetime) -> int | None:
    """The least of NOTICE_DAYS within which the waiver expires; None before all of them, and once it has expired."""
    if now >= expires:
        return None
    return min((days for days in NOTICE_DAYS if expires - now <= timedelta(days=days)), default=None)


def next_change(expires: datetime, now: datetime) -> timedelta | None:
    """How long until the status changes by the passing of time, a day at most; None when it will not change again."""
    remaining = expires - now
    return (remaining % _DAY or _DAY) if remaining > timedelta(0) else None


def notice_text(waiver: PolicyWaiver) -> str:
    """The note of the Event that warns: what happens, when, and what to do."""
    controls, policies = ", ".join(waiver.spec.controls), ", ".join(waiver.spec.policies)
    requester = f", requested by {waiver.spec.requested_by}" if waiver.spec.requested_by else ""
    return (
        f"expires at {rfc3339(waiver.spec.expires)}; from then on {controls} of policy {policies} apply again to the "
        f"pods that it exempts. Change these pods before, or set a later spec.expires. Reason: "
        f"{' '.join(waiver.spec.reason.split())}{requester}"
    )
