"""The status of a catalog, and the warnings before its entries end: once for each, together with others."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from sekisho.cluster.replicas import Replica
from sekisho.operator.catalogs import catalog_numbers, notice_text, unreported, wanted_catalog_status
from sekisho.operator.records import Record, read_record
from sekisho.operator.status import View
from sekisho.policies.status import MARK_LENGTH, EndNotice
from sekisho.timestamps import rfc3339

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def entry(number: int, end: timedelta | None = None, **fields: Any) -> dict[str, Any]:
    until = {} if end is None else {"validUntil": rfc3339(NOW + end)}
    return {"repository": f"ghcr.io/acme/{number}", "digest": f"sha256:{number:064x}"} | until | fields


def record(*entries: dict[str, Any], owner: str = "security") -> Record:
    metadata = {"name": "certified", "uid": "u", "generation": 4, "resourceVersion": "100"}
    spec = {"owner": owner, "entries": list(entries)}
    return read_record({"kind": "ImageCatalog", "metadata": metadata, "spec": spec}, None)


def view(*versions: int, now: datetime = NOW) -> View:
    replicas = (Replica(f"r-{i}", {"imagecatalogs": version}, "", 0.0) for i, version in enumerate(versions))
    return View(now, tuple(replicas))


def due(of: Record, now: datetime = NOW) -> list[tuple[int, int]]:
    """The Events that are due: how many days, and how many entries."""
    return [(one.days, len(one.entries)) for one in unreported(of, now)]


WITHDRAWN: dict[str, Any] = {"withdrawn": {"reason": "CVE"}}


def test_status_counts_entries() -> None:
    status = wanted_catalog_status(
        record(entry(1), entry(2, -DAY), entry(3, 30 * DAY), entry(4, 20 * DAY), entry(5, -DAY, **WITHDRAWN)),
        view(100, 100),
    )
    assert (status.entries, status.ended, status.withdrawn) == (5, 1, 1)
    assert (status.next_end, status.notices) == (rfc3339(NOW + 20 * DAY), None)
    assert [(one.type, one.status.value) for one in status.conditions or ()] == [
        ("Accepted", "True"),
        ("Enforced", "True"),
    ]


def test_status_and_metrics_count_what_another_entry_withdraws_as_withdrawn() -> None:
    mirrored = entry(1, DAY) | {"repository": "mirror.test/1"}
    pattern = {"repository": "registry.test/base/*", "by": {"anyOf": ["release"]}}
    narrower = {"repository": "registry.test/base/os", "by": {"anyOf": ["team"]}}
    digest = entry(2, DAY) | {"repository": "registry.test/base/os"}
    by_port = {"repository": "registry.test:5000/base/os", "by": {"anyOf": ["team"]}}
    near = entry(3, 2 * DAY) | {"repository": "registry.test/basement/os"}
    everything = [entry(1), mirrored, pattern, narrower, by_port, digest, near]
    allowed = record(*everything)
    denied = record(entry(1, **WITHDRAWN), mirrored, pattern | WITHDRAWN, narrower, by_port, digest, near)
    for of, withdrawn, ending in ((allowed, 0, 3), (denied, 6, 1)):
        assert of.catalog is not None
        numbers = catalog_numbers(of.catalog, NOW)
        assert numbers.by_state == {"certified": 7 - withdrawn, "ended": 0, "withdrawn": withdrawn}
        assert numbers.ending[3] == ending
        assert wanted_catalog_status(of, view(100)).withdrawn == withdrawn


def test_catalog_is_enforced_when_every_replica_has_read_it() -> None:
    accepted, enforced = wanted_catalog_status(record(), view(100, 99)).conditions or ()
    assert (accepted.message, enforced.reason) == ("the catalog is valid", "WaitingForReplicas")


def test_invalid_catalog_is_not_accepted() -> None:
    status = wanted_catalog_status(record(entry(1), entry(1)), view(100))
    accepted, enforced = status.conditions or ()
    assert accepted.message == "spec.entries[1]: has the repository and the digest of an earlier entry"
    assert (enforced.reason, status.entries) == ("NotAccepted", None)


def test_metrics_count_what_ends() -> None:
    catalog = record(entry(1), entry(2, DAY / 2), entry(3, 3 * DAY), entry(4, 14 * DAY), entry(5, -DAY)).catalog
    assert catalog is not None
    numbers = catalog_numbers(catalog, NOW)
    assert numbers.by_state == {"certified": 4, "ended": 1, "withdrawn": 0}
    assert numbers.ending == {14: 3, 3: 2, 1: 1}


def test_each_entry_is_reported_at_14_3_and_1_days() -> None:
    of, days = record(entry(1, 20 * DAY), entry(2, 18 * DAY)), []
    for day in range(22):
        now = NOW + day * DAY
        days += [(day, *one) for one in due(of, now)]
        of = replace(of, status=wanted_catalog_status(of, view(100, now=now)))
    assert days == [(4, 14, 1), (6, 14, 1), (15, 3, 1), (17, 1, 1), (17, 3, 1), (19, 1, 1)]


def test_nothing_is_reported_again_by_the_next_leader() -> None:
    of = record(entry(1, 10 * DAY))
    assert due(of) == [(14, 1)]
    stored = wanted_catalog_status(of, view(100))
    [notice] = stored.notices or ()
    assert (notice.days, notice.until, len(notice.reported or "")) == (14, "2026-12-11", MARK_LENGTH)
    of = replace(of, status=stored)
    assert due(of) == []
    assert wanted_catalog_status(of, view(100)) == stored


def test_entry_that_is_added_or_ends_earlier_after_the_event_is_reported_alone() -> None:
    first, second = entry(1, 10 * DAY), entry(2, 10 * DAY)
    before = record(first, entry(3, 12 * DAY))
    status = wanted_catalog_status(before, view(100))
    assert due(replace(before, status=status)) == []
    after = replace(record(first, second, entry(3, 9 * DAY)), status=status)
    [ending] = unreported(after, NOW)
    assert [one.repository for _, one in ending.entries] == ["ghcr.io/acme/3", "ghcr.io/acme/2"]
    assert due(replace(after, status=wanted_catalog_status(after, view(100)))) == []


def test_event_that_an_earlier_version_wrote_is_not_written_again() -> None:
    of = record(entry(1, 10 * DAY), entry(2, 14 * DAY))
    for until, events in (("2026-12-11", []), ("2026-12-10", [(14, 1)])):
        status = replace(wanted_catalog_status(of, view(100)), notices=(EndNotice(14, until),))
        assert due(replace(of, status=status)) == events


def test_full_catalog_that_ends_in_steps_is_reported_at_most_three_times_a_day() -> None:
    of, events = record(*(entry(number, 13 * DAY + timedelta(minutes=number)) for number in range(2000))), 0
    for hour in range(0, 16 * 24, 4):
        now = NOW + timedelta(hours=hour)
        events += len(due(of, now))
        of = replace(of, status=wanted_catalog_status(of, view(100, now=now)))
    assert events == 5  # the ends are on two days, of which the Event of 14 days reports together


@pytest.mark.parametrize("fields", [WITHDRAWN, {"validUntil": None}])
def test_entry_without_an_end_to_come_is_not_reported(fields: dict[str, Any]) -> None:
    assert due(record(entry(1, DAY, **fields))) == []
    assert due(record(entry(1, -DAY))) == []
    assert due(record(entry(1, DAY))) == [(1, 1)]


def test_event_names_the_first_three() -> None:
    of = record(*(entry(number, (5 - number) * timedelta(hours=1)) for number in range(5)))
    assert of.catalog is not None
    [ending] = unreported(of, NOW)
    assert notice_text(of.catalog, ending) == (
        "5 entries end within 1 day: ghcr.io/acme/4@sha256:000000000000 at 2026-11-27T13:00:00Z, "
        "ghcr.io/acme/3@sha256:000000000000 at 2026-11-27T14:00:00Z, ghcr.io/acme/2@sha256:000000000000 at "
        "2026-11-27T15:00:00Z and 2 more. From then on policies that name the catalog deny these images: security "
        "must set a later validUntil, or certify newer images"
    )
