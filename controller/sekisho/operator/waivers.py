"""The status of a waiver, and when somebody is to be told that it ends."""

from datetime import datetime, timedelta
from typing import Final

from sekisho.operator.records import Record, State, acceptance, condition, reach_of, unaccepted, verdict_of
from sekisho.operator.status import View
from sekisho.policies import PolicyWaiver
from sekisho.policies.status import PolicyWaiverStatus
from sekisho.timestamps import rfc3339

NOTICE_DAYS: Final = (14, 3, 1)


def wanted_waiver_status(record: Record, view: View) -> PolicyWaiverStatus:
    """What the status should be. Equal to `record.status` where there is nothing new to say."""
    waiver = record.policy
    if not isinstance(waiver, PolicyWaiver):
        active = condition(record, "Active", unaccepted("waiver"), view.now)
        return PolicyWaiverStatus(record.generation, (acceptance(record, view.now), active))
    named = waiver.spec.policies
    return PolicyWaiverStatus(
        observed_generation=record.generation,
        conditions=(
            acceptance(record, view.now),
            condition(record, "Active", _activity(record, waiver, view), view.now),
        ),
        policies=tuple(title for title in named if title in view.titles) or None,
        missing_policies=tuple(title for title in named if title not in view.titles) or None,
        expires_within_days=notice_of(waiver.spec.expires, view.now),
    )


def _activity(record: Record, waiver: PolicyWaiver, view: View) -> tuple[State, str, str]:
    ends = rfc3339(waiver.spec.expires)
    if view.now >= waiver.spec.expires:
        return "False", "Expired", f"it ended at {ends}"
    if view.titles.isdisjoint(waiver.spec.policies):
        return "False", "NoPolicy", "none of the policies that it names exists"
    status, reason, message = verdict_of(reach_of(record, view.replicas, view.silent), "honour")
    return status, reason, f"{message}; it ends at {ends}"


def notice_of(expires: datetime, now: datetime) -> int | None:
    """The shortest of NOTICE_DAYS within which it ends; None before all of them, and once it ended."""
    if now >= expires:
        return None
    return min((days for days in NOTICE_DAYS if expires - now <= timedelta(days=days)), default=None)


def next_change(expires: datetime, now: datetime) -> timedelta | None:
    """How long until time alone changes the status; None when it never does again."""
    moments = [expires, *(expires - timedelta(days=days) for days in NOTICE_DAYS)]
    return min((moment - now for moment in moments if moment > now), default=None)


def notice_text(waiver: PolicyWaiver) -> str:
    """What the Event says: what happens, when, and what to do."""
    controls, policies = ", ".join(waiver.spec.controls), ", ".join(waiver.spec.policies)
    asked = f", requested by {waiver.spec.requested_by}" if waiver.spec.requested_by else ""
    return (
        f"ends at {rfc3339(waiver.spec.expires)}; from then on {controls} of policy {policies} hold again for the pods "
        f"that it is about. Change these pods until then, or set a later spec.expires. Reason: "
        f"{' '.join(waiver.spec.reason.split())}{asked}"
    )
