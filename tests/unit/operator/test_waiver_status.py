"""The status of a waiver, and the warnings before it expires."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec.structs import replace

from sekisho.cluster.replicas import Replica
from sekisho.operator.proof import PROVEN, Proof
from sekisho.operator.records import Record, read_record
from sekisho.operator.status import View
from sekisho.operator.waiver_uses import Uses
from sekisho.operator.waivers import next_change, notice_of, notice_text, wanted_waiver_status
from sekisho.policies import PolicyWaiver
from sekisho.policies.status import ConditionStatus, WaiverOwner

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
ENDS = datetime(2027, 1, 31, tzinfo=UTC)
TITLES = frozenset({"restricted", "shop/own"})


def waiver(**changed: object) -> Record:
    spec = {
        "policies": ["restricted", "gone"],
        "controls": ["hostPathVolumes", "privileged"],
        "expires": "2027-01-31T00:00:00Z",
        "reason": "the exporter\nreads the host",
    }
    metadata = {"name": "w", "uid": "u", "generation": 4, "resourceVersion": "100"}
    return read_record({"kind": "PolicyWaiver", "metadata": metadata, "spec": spec | changed}, None)


def view(*versions: int, now: datetime = NOW, titles: frozenset[str] = TITLES) -> View:
    replicas = (Replica(f"r-{i}", {"policywaivers": version}, "", 0.0) for i, version in enumerate(versions))
    return View(now, tuple(replicas), titles=titles)


def active(record: Record, seen: View) -> tuple[str, str, str]:
    (_, condition) = wanted_waiver_status(record, seen).conditions or ()
    return condition.status, condition.reason, condition.message


def test_a_waiver_is_active_when_every_replica_honours_it() -> None:
    ends = "; it expires at 2027-01-31T00:00:00Z"
    assert active(waiver(), view(100, 100)) == ("True", "HonouredByAllReplicas", f"all 2 replicas honour it{ends}")
    waiting = f"1 of 2 replicas honour it; waiting for r-1{ends}"
    assert active(waiver(), view(100, 99)) == ("False", "WaitingForReplicas", waiting)


@pytest.mark.parametrize(
    ("record", "seen", "reason"),
    [
        (waiver(), view(100, now=ENDS), "Expired"),
        (waiver(), view(100, titles=frozenset({"other"})), "NoPolicy"),
        (waiver(), view(), "NoReplicas"),
        (waiver(controls=["privilege"]), view(100), "NotAccepted"),
    ],
)
def test_a_waiver_that_exempts_nothing_is_not_active(record: Record, seen: View, reason: str) -> None:
    assert active(record, seen)[:2] == ("False", reason)
    assert active(waiver(), view(100, now=ENDS - timedelta(seconds=1)))[0] == "True"


def test_a_waiver_is_not_active_while_no_pods_are_judged() -> None:
    cut = Proof(
        ConditionStatus.FALSE, "WebhookUnreachable", "the API server cannot call the webhook", pods_not_judged=True
    )
    assert active(waiver(), replace(view(100), proof=cut)) == (
        "False",
        "WebhookUnreachable",
        "the API server cannot call the webhook; it expires at 2027-01-31T00:00:00Z",
    )
    assert active(waiver(), replace(view(100), proof=PROVEN))[0] == "True"
    assert active(waiver(), replace(view(100, now=ENDS), proof=cut))[:2] == ("False", "Expired")


def test_a_waiver_says_which_of_its_policies_exist() -> None:
    status = wanted_waiver_status(waiver(policies=["shop/own", "gone", "restricted"]), view(100))
    assert (status.policies, status.missing_policies) == (("shop/own", "restricted"), ("gone",))
    assert status.observed_generation == 4
    assert [(c.type, c.status) for c in status.conditions or ()] == [("Accepted", "True"), ("Active", "True")]


def test_a_stored_status_with_nothing_new_is_not_written_again() -> None:
    record = waiver()
    status = wanted_waiver_status(record, view(100))
    stored = msgspec.structs.replace(record, status=msgspec.convert(msgspec.to_builtins(status), type(status)))
    assert wanted_waiver_status(stored, view(100, now=NOW + timedelta(hours=1))) == stored.status


@pytest.mark.parametrize(
    ("remaining", "notice"),
    [
        (timedelta(days=14, seconds=1), None),
        (timedelta(days=14), 14),
        (timedelta(days=3, seconds=1), 14),
        (timedelta(days=3), 3),
        (timedelta(days=1, seconds=1), 3),
        (timedelta(days=1), 1),
        (timedelta(seconds=1), 1),
        (timedelta(0), None),
    ],
)
def test_expiry_is_announced_14_3_and_1_days_before(remaining: timedelta, notice: int | None) -> None:
    assert notice_of(ENDS, ENDS - remaining) == notice


def test_the_next_change_is_when_a_day_less_is_left_or_the_expiry() -> None:
    for remaining, wait in ((20, 1), (14.25, 0.25), (1, 1), (0.5, 0.5)):
        assert next_change(ENDS, ENDS - timedelta(days=remaining)) == timedelta(days=wait)
    assert next_change(ENDS, ENDS) is None


@pytest.mark.parametrize(
    ("remaining", "days"),
    [
        (timedelta(days=60), 60),
        (timedelta(days=59, seconds=1), 60),
        (timedelta(days=59), 59),
        (timedelta(seconds=1), 1),
        (timedelta(0), 0),
        (timedelta(days=-3), 0),
    ],
)
def test_days_left_are_rounded_up_and_change_when_the_status_is_computed_again(remaining: timedelta, days: int) -> None:
    now = ENDS - remaining
    assert wanted_waiver_status(waiver(), view(100, now=now)).days_left == days
    wait = next_change(ENDS, now)
    if wait is not None:
        assert wanted_waiver_status(waiver(), view(100, now=now + wait)).days_left == days - 1


def test_status_says_in_short_what_is_exempt() -> None:
    assert wanted_waiver_status(waiver(), view(100)).exempts == "hostPathVolumes, privileged of restricted, gone"
    controls = ["privileged", "hostNamespaces", "hostPorts", "capabilities"]
    shown = wanted_waiver_status(waiver(controls=controls, policies=["team-a/" + "x" * 200]), view(100)).exempts
    assert shown == "privileged, hostNamespaces +2 of team-a/" + "x" * 32 + "…"


def test_uses_are_in_the_status_and_stay_while_nobody_reports_them() -> None:
    owners = (
        WaiverOwner("DaemonSet shop/agent", "2026-11-23T11:00:00Z"),
        WaiverOwner("Pod shop/a", "2026-11-23T10:00:00Z"),
    )
    status = wanted_waiver_status(waiver(), replace(view(100), uses={"w": Uses(7, 2, owners)}))
    assert (status.uses, status.uses_last_hour, status.last_used) == (7, 2, "2026-11-23T11:00:00Z")
    assert status.used_by == owners
    stored = replace(waiver(), status=status)
    assert wanted_waiver_status(stored, view(100)) == status
    unused = wanted_waiver_status(waiver(), view(100))
    assert (unused.uses, unused.uses_last_hour, unused.last_used, unused.used_by) == (None, None, None, None)


def test_the_warning_says_what_expires_when_and_what_to_do() -> None:
    policy = waiver(requestedBy="team-monitoring").policy
    assert isinstance(policy, PolicyWaiver)
    assert notice_text(policy) == (
        "expires at 2027-01-31T00:00:00Z; from then on hostPathVolumes, privileged of policy restricted, gone apply "
        "again to the pods that it exempts. Change these pods before, or set a later spec.expires. Reason: the "
        "exporter reads the host, requested by team-monitoring"
    )
