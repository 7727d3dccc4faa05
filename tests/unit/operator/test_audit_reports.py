"""Reports of the audit: failures by owner, for each namespace and policy, of a bounded size and in a stable order."""

from datetime import UTC, datetime
from typing import Any

import pytest

from sekisho.audit import Result
from sekisho.operator import audit_reports as module
from sekisho.operator.audit_reports import Report, is_same, reports_of, room_of_each, with_first_seen
from sekisho.operator.records import Record
from tests.unit.audit.running import PLAIN, PRIVILEGED, RESTRICTED, audit, link, pod, workload
from tests.unit.operator.test_auditor import record

NOW = datetime(2026, 11, 28, 9, tzinfo=UTC)
LATER = datetime(2026, 11, 28, 10, tzinfo=UTC)
STRICT = record("strict", podSecurityStandard={"level": "restricted"}, defaults={"profile": "restricted"})
HOST = {"hostNetwork": True, "containers": PRIVILEGED["containers"]}


def deployed(name: str, spec: dict[str, Any], pods: int, namespace: str = "shop") -> list[dict[str, Any]]:
    """A Deployment with its pods."""
    owner = workload("Deployment", name, spec, namespace, metadata={"uid": f"{namespace} {name}"})
    above = link("ReplicaSet", f"{namespace}-{name}-5d8", owner, namespace)
    return [above, owner, *(pod(f"{name}-{number}", above, spec, namespace) for number in range(pods))]


def audited(*objects: list[dict[str, Any]], records: tuple[Record, ...] = (STRICT,)) -> Result:
    return audit([one.policy for one in records], [body for bodies in objects for body in bodies])


def reports(*objects: list[dict[str, Any]], records: tuple[Record, ...] = (STRICT,)) -> list[Report]:
    return list(reports_of(records, audited(*objects, records=records)).values())


def rows(report: Report) -> list[tuple[str, str, str]]:
    """Owner, control and number of pods of each result."""
    return [(one.resources[0].name, one.rule, (one.properties or {})["pods"]) for one in report.results]


def test_owner_has_a_result_for_each_control_however_many_pods_it_has() -> None:
    (report,) = reports(deployed("web", HOST, 3), deployed("idle", PRIVILEGED, 0), deployed("good", RESTRICTED, 2))
    assert rows(report) == [
        ("idle", "privileged", "0"),
        ("web", "hostNamespaces", "3"),
        ("web", "privileged", "3"),
    ]
    assert report.summary is not None
    assert report.summary.fail == 3
    assert {one.result for one in report.results} == {"fail"}
    message = report.results[0].message
    assert message.startswith(
        'policy "strict" denies container "app" for privileged mode: securityContext.privileged is'
    )
    assert "Fix: remove it or set it to false." in message


def test_pods_that_defaults_repair_are_left_out() -> None:
    assert reports(deployed("plain", PLAIN, 2)) == []


def test_each_namespace_and_policy_has_its_own_report_with_the_policy_as_its_owner() -> None:
    other = record("other", controls={"privileged": {}})
    made = reports(
        deployed("a", PRIVILEGED, 1), deployed("b", PRIVILEGED, 1, namespace="team"), records=(STRICT, other)
    )
    assert [(one.metadata.namespace, one.results[0].policy) for one in made] == [
        ("shop", "other"),
        ("shop", "strict"),
        ("team", "other"),
        ("team", "strict"),
    ]
    assert len({one.key for one in made}) == 4
    (owner,) = made[0].metadata.owner_references or ()
    assert (owner.kind, owner.name, owner.uid) == ("ClusterPodPolicy", "other", "uid-other")


def test_report_has_the_owners_with_most_pods_and_counts_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RESULTS", 2)
    (report,) = reports(deployed("a", PRIVILEGED, 1), deployed("b", PRIVILEGED, 3), deployed("c", PRIVILEGED, 2))
    assert rows(report) == [("b", "privileged", "3"), ("c", "privileged", "2")]
    assert report.summary is not None
    assert report.summary.fail == 3


@pytest.mark.parametrize(
    ("lengths", "room"),
    [
        ([], 500),
        ([10_000], 500),
        ([400] * 50, 500),
        ([400] * 100, 200),
        ([10] * 1000 + [500] * 40, 250),
        ([20_000] * 2000, 10),
    ],
)
def test_reports_share_the_room_for_results_and_short_ones_leave_theirs(lengths: list[int], room: int) -> None:
    assert room_of_each(lengths) == room
    assert sum(min(room, length) for length in lengths) <= module.MAX_RESULTS_OF_ALL


def test_number_of_reports_is_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "MAX_REPORTS", 2)
    made = reports(*(deployed("a", PRIVILEGED, 1, namespace=name) for name in ("c", "a", "b")))
    assert [one.metadata.namespace for one in made] == ["a", "b"]
    assert "1 reports of the audit are left out: there may be 2" in caplog.text


def test_results_keep_the_time_since_when_they_are_reported() -> None:
    (before,) = reports(deployed("a", PRIVILEGED, 1))
    stored = with_first_seen(before, None, NOW)
    (after,) = reports(deployed("a", PRIVILEGED, 2), deployed("b", PRIVILEGED, 1))
    times = [one.timestamp.seconds for one in with_first_seen(after, stored, LATER).results if one.timestamp]
    assert times == [int(NOW.timestamp()), int(LATER.timestamp())]


def test_unchanged_report_is_the_same_and_a_changed_one_is_not() -> None:
    (wanted,) = reports(deployed("a", PRIVILEGED, 1))
    stored = with_first_seen(wanted, None, NOW)
    assert is_same(with_first_seen(wanted, stored, LATER), stored)
    (scaled,) = reports(deployed("a", PRIVILEGED, 2))
    assert not is_same(with_first_seen(scaled, stored, LATER), stored)
    assert not is_same(with_first_seen(wanted, None, NOW), None)


def test_report_is_small_however_long_the_texts_of_pods_are() -> None:
    spec = {"containers": [{"name": "app", "image": "x" * 2_000, "securityContext": {"privileged": True}}]}
    trusted = record("trusted", controls={"images": {"trustedRegistries": ["a.example"]}})
    (report,) = reports(deployed("a", spec, 1), records=(trusted,))
    assert len(report.results[0].message) <= module.MAX_MESSAGE_LENGTH
