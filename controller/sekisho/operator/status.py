"""The status of a policy, computed from the policy, the other policies and waivers, and the replicas' reports."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct

from sekisho.cluster.replicas import Replica
from sekisho.cluster.reported import Counts, Examples, Recent
from sekisho.operator.conditions import State, accepted_condition, coverage_state, make_condition, not_accepted
from sekisho.operator.proof import Proof
from sekisho.operator.records import Coverage, Record, coverage_of
from sekisho.operator.waiver_uses import Uses
from sekisho.policies import PolicyWaiver
from sekisho.policies.resolved_authorities import Contents
from sekisho.policies.status import (
    MAX_WAIVERS,
    Condition,
    ConditionStatus,
    Conflict,
    PolicyImpact,
    PolicyStatus,
    WaiverInEffect,
)
from sekisho.timestamps import rfc3339


class Sources(Struct, frozen=True):
    """The data of Secrets and ConfigMaps in the release's namespace, by name.

    missing: what is not read yet, as a clause; empty once all is.
    public_root: the trusted root of the public Sigstore; None without the extra `keyless`.
    """

    secrets: Contents = {}
    config_maps: Contents = {}
    public_root: bytes | None = None
    missing: str = ""


class View(Struct, frozen=True):
    """What the controller knows at one moment, apart from the record whose status it computes."""

    now: datetime
    replicas: tuple[Replica, ...]
    """The live ones."""
    silent: tuple[str, ...] = ()
    """The names of those that do not report but may still serve."""
    counts: Counts = {}
    """Those of the last hour."""
    examples: Examples = {}
    """Owners of what policies only audited in the last hour, by the titles of the policies."""
    waivers: Mapping[str, tuple[WaiverInEffect, ...]] = {}
    """The waivers that have not expired, by the titles of the policies that they name."""
    uses: Mapping[str, Uses] = {}
    """How often waivers exempted pods, by the names of the waivers."""
    titles: frozenset[str] = frozenset()
    """The titles of all policies."""
    impacts: Mapping[str, PolicyImpact] = {}
    """What policies mean for what runs, by uid, as the last audit has it; empty before the first one."""
    proof: Proof | None = None
    """Whether the API server sends pods to the webhook; None when that is not tried."""
    sources: Sources = Sources()
    """What authorities refer to; nothing where this installation does not verify images, and so reads no authority."""


def wanted_policy_status(record: Record, conflicts: tuple[Conflict, ...], view: View) -> PolicyStatus:
    """What the status should be; equal to `record.status` when there is nothing to write."""
    coverage = coverage_of(record, view.replicas, view.silent)
    if record.policy is None:
        enforced_by, state = f"0/{coverage.total}", not_accepted("policy")
    else:
        enforced_by, state = coverage.ratio, _enforced(record, coverage, view.proof)
    counts = view.counts.get(record.title, Recent(0, 0))
    return PolicyStatus(
        observed_generation=record.generation,
        enforced_by=enforced_by,
        conditions=_conditions(record, state, view),
        denials=counts.denials,
        warnings=counts.warnings,
        audited=counts.audited or None,
        audited_examples=tuple(view.examples.get(record.title, ())) or None,
        without_event=counts.without_event or None,
        conflicts=conflicts or None,
        waivers=view.waivers.get(record.title),
        impact=_impact(record, view),
    )


def _impact(record: Record, view: View) -> PolicyImpact | None:
    """The impact by the last audit, or else the stored one; none of a policy that is not accepted."""
    if record.policy is None:
        return None
    stored = record.status.impact if isinstance(record.status, PolicyStatus) else None
    return view.impacts.get(record.uid, stored)


def _enforced(record: Record, coverage: Coverage, proof: Proof | None) -> State:
    """The state of Enforced. Of a policy that does nothing, replicas have nothing to enforce."""
    if record.idle is not None:
        return State(ConditionStatus.FALSE, record.idle.reason, record.idle.clause)
    return as_proven(coverage_state(coverage, "enforce"), proof)


def as_proven(state: State, proof: Proof | None) -> State:
    """A state that requires all replicas, by the proof: they judge only pods that the API server sends to them.

    proof: the last one; None before the first, and where nothing is proven.
    """
    if proof is None or not proof.pods_not_judged or state.status is ConditionStatus.FALSE:
        return state
    return State(ConditionStatus.FALSE, proof.reason, proof.message)


def _conditions(record: Record, enforced: State, view: View) -> tuple[Condition, ...]:
    states = {"Enforced": enforced}
    if view.proof is not None:
        states["Proven"] = State(view.proof.status, view.proof.reason, view.proof.message)
    made = (make_condition(record, kind, state, view.now) for kind, state in states.items())
    return accepted_condition(record, view.now), *made


def waivers_in_effect(records: Iterable[Record], now: datetime) -> dict[str, tuple[WaiverInEffect, ...]]:
    """The accepted waivers that have not expired, by the policies that they name; the first to expire comes first."""
    waivers = [r.policy for r in records if isinstance(r.policy, PolicyWaiver) and now < r.policy.spec.expires]
    in_effect: dict[str, list[WaiverInEffect]] = {}
    for waiver in sorted(waivers, key=lambda waiver: (waiver.spec.expires, waiver.title)):
        for title in waiver.spec.policies:
            waivers_of_policy = in_effect.setdefault(title, [])
            if len(waivers_of_policy) < MAX_WAIVERS:
                waivers_of_policy.append(WaiverInEffect(waiver.title, rfc3339(waiver.spec.expires)))
    return {title: tuple(waivers_of_policy) for title, waivers_of_policy in in_effect.items()}
