"""The status of a policy: from the policy, the other policies and waivers, and what the replicas report."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct

from sekisho.cluster.replicas import Counts, Replica
from sekisho.operator.records import Record, acceptance, condition, reach_of, unaccepted, verdict_of
from sekisho.policies import PolicyWaiver
from sekisho.policies.status import MAX_WAIVERS, Conflict, PolicyStatus, WaiverInEffect
from sekisho.timestamps import rfc3339


class View(Struct, frozen=True):
    """What the controller knows at one moment, beside the record that it looks at."""

    now: datetime
    replicas: tuple[Replica, ...]
    """The live ones."""
    silent: tuple[str, ...] = ()
    """Those that do not report and may serve all the same, by name."""
    counts: Counts = {}
    """Denials and warnings of the last hour, by the policies' titles."""
    waivers: Mapping[str, tuple[WaiverInEffect, ...]] = {}
    """The waivers that have not ended, by the titles of the policies that they name."""
    titles: frozenset[str] = frozenset()
    """Those of all policies."""


def wanted_policy_status(record: Record, conflicts: tuple[Conflict, ...], view: View) -> PolicyStatus:
    """What the status should be. Equal to `record.status` where there is nothing new to say."""
    reach = reach_of(record, view.replicas, view.silent)
    if record.policy is None:
        enforced_by = f"0/{reach.total}"
        verdict = unaccepted("policy")
    else:
        enforced_by = reach.told
        verdict = verdict_of(reach, "enforce")
    denials, warnings = view.counts.get(record.title, (0, 0))
    return PolicyStatus(
        observed_generation=record.generation,
        enforced_by=enforced_by,
        conditions=(acceptance(record, view.now), condition(record, "Enforced", verdict, view.now)),
        denials=denials,
        warnings=warnings,
        conflicts=conflicts or None,
        waivers=view.waivers.get(record.title),
    )


def waivers_in_effect(records: Iterable[Record], now: datetime) -> dict[str, tuple[WaiverInEffect, ...]]:
    """The accepted waivers that have not ended by the policies that they name; those that end first come first."""
    waivers = [r.policy for r in records if isinstance(r.policy, PolicyWaiver) and now < r.policy.spec.expires]
    found: dict[str, list[WaiverInEffect]] = {}
    for waiver in sorted(waivers, key=lambda waiver: (waiver.spec.expires, waiver.title)):
        for title in waiver.spec.policies:
            named = found.setdefault(title, [])
            if len(named) < MAX_WAIVERS:
                named.append(WaiverInEffect(waiver.title, rfc3339(waiver.spec.expires)))
    return {title: tuple(named) for title, named in found.items()}


def summed(counts: Iterable[Counts]) -> dict[str, tuple[int, int]]:
    """What several replicas counted, together."""
    total: dict[str, tuple[int, int]] = {}
    for each in counts:
        for title, (denials, warnings) in each.items():
            before = total.get(title, (0, 0))
            total[title] = (before[0] + denials, before[1] + warnings)
    return total
