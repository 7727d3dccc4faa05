"""The uses of waivers in their statuses: summed over replicas that come and go, and over leaders."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sekisho.cluster.replicas import Replica
from sekisho.cluster.reported import WaiverReport, WaiverUse
from sekisho.operator.records import Record, read_record
from sekisho.operator.waiver_uses import ShownUses, Uses
from sekisho.policies.status import WaiverOwner

BEGAN = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
MINUTE = 60.0


def waiver(uid: str = "u", version: int = 100, **status: Any) -> Record:
    metadata = {"name": "w", "uid": uid, "generation": 1, "resourceVersion": str(version)}
    spec = {"policies": ["p"], "controls": ["privileged"], "expires": "2027-01-31T00:00:00Z", "reason": "r"}
    body = {"kind": "PolicyWaiver", "metadata": metadata, "spec": spec} | ({"status": status} if status else {})
    return read_record(body, None)


def replica(
    total: int, last_hour: int = 0, *owners: str, name: str = "a", began: datetime = BEGAN, version: int = 100
) -> Replica:
    used = tuple((owner, BEGAN + timedelta(seconds=number)) for number, owner in enumerate(owners))
    report = WaiverReport(began, {"w": WaiverUse(total, last_hour, used)} if total else {})
    return Replica(name, {"policywaivers": version}, "", 0.0, waivers=report)


def shown(uses: ShownUses, now: float, *replicas: Replica, record: Record | None = None) -> Uses:
    return uses.of([record or waiver()], replicas, now).get("w", Uses())


def test_uses_of_replicas_are_summed_and_the_last_owners_come_first() -> None:
    first, second = replica(3, 1, "Pod s/a", "Pod s/b"), replica(2, 2, "Pod s/c", name="b")
    owners = [("Pod s/b", 1), ("Pod s/c", 0), ("Pod s/a", 0)]
    times = {owner: f"2026-11-23T12:00:0{second}Z" for owner, second in owners}
    expected = tuple(WaiverOwner(owner, times[owner]) for owner, _ in owners)
    assert shown(ShownUses(), 0.0, first, second) == Uses(5, 3, expected)


def test_uses_change_once_a_minute() -> None:
    uses = ShownUses()
    totals = [shown(uses, float(second), replica(second + 1)).total for second in range(130)]
    assert totals == [1] * 60 + [61] * 60 + [121] * 10


def test_restarted_and_removed_replicas_take_nothing_away() -> None:
    uses = ShownUses()
    assert shown(uses, 0.0, replica(5), replica(1, name="b")).total == 6
    later = BEGAN + timedelta(hours=1)
    assert shown(uses, MINUTE, replica(2, began=later)).total == 8  # the same name, another process
    assert shown(uses, 2 * MINUTE, replica(3, began=later)).total == 9
    assert shown(uses, 3 * MINUTE, replica(0, began=later)).total == 9


def test_new_leader_adds_to_the_stored_number_what_is_new() -> None:
    owners = [{"owner": "Pod s/old", "lastUsed": "2026-11-01T00:00:00Z"}]
    record = waiver(uses=10, usedBy=owners)
    uses = ShownUses()
    assert shown(uses, 0.0, replica(4), record=record).total == 10
    assert shown(uses, MINUTE, replica(6, 2, "Pod s/a"), replica(3, name="new"), record=record) == Uses(
        15, 2, (WaiverOwner("Pod s/a", "2026-11-23T12:00:00Z"), WaiverOwner("Pod s/old", "2026-11-01T00:00:00Z"))
    )


def test_first_use_after_a_new_leader_began_counts() -> None:
    record = waiver(uses=10)
    uses = ShownUses()
    assert shown(uses, 0.0, replica(0), record=record).total == 10
    assert shown(uses, MINUTE, replica(1), record=record).total == 11


def test_stored_uses_stay_until_a_replica_has_read_the_waiver() -> None:
    record = waiver(version=150, uses=10)
    uses = ShownUses()
    assert shown(uses, 0.0, replica(4), record=record).total == 10
    assert shown(uses, MINUTE, replica(4, version=150), record=record).total == 10


def test_another_waiver_of_the_name_starts_at_zero() -> None:
    uses = ShownUses()
    assert shown(uses, 0.0, replica(4)).total == 4
    uses.forget("u")
    another = waiver("another", version=150)
    assert shown(uses, MINUTE, replica(4), record=another).total == 0  # a report from before it was created
    assert shown(uses, 2 * MINUTE, replica(1, version=150), record=another).total == 1
