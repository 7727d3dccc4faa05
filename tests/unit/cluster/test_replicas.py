"""How replicas report, and which of them the controller takes for live."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from sekisho.cluster import replica_reporter
from sekisho.cluster.api import ApiClient
from sekisho.cluster.lease import Lease, LeaseMeta, LeaseSpec
from sekisho.cluster.replica_reporter import ReplicaReporter
from sekisho.cluster.replicas import (
    AUTHORITY_ANNOTATION,
    COMPONENT,
    COUNTS_ANNOTATION,
    EXAMPLES_ANNOTATION,
    FORGET_SECONDS,
    LABEL,
    UNUSABLE_ANNOTATION,
    Replica,
    annotation_of,
    forgotten,
    live,
    observe,
    parse_version,
    served_authorities,
    silent,
)
from sekisho.cluster.reported import MAX_EXAMPLES_LENGTH, Recent, Reported, encode_examples
from sekisho.policies.status import AuditedExample
from sekisho.timestamps import micro_time
from tests.unit.cluster.lease_server import LeaseServer, serving

POLICIES = "clusterpodpolicies"
VERSION_ANNOTATION = annotation_of(POLICIES)
WALL = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


def report(
    name: str = "a",
    version: str | None = "100",
    renewed: datetime = WALL,
    labels: dict[str, str] | None = None,
    more: dict[str, str] | None = None,
) -> Lease:
    annotations = None if version is None else {VERSION_ANNOTATION: version} | (more or {})
    meta = LeaseMeta(f"sekisho-webhook-{name}", "1", {LABEL: COMPONENT} if labels is None else labels, annotations)
    return Lease(meta, LeaseSpec(name, 30, micro_time(renewed)))


def test_a_replica_is_live_for_the_duration_of_its_lease_after_an_observed_renewal() -> None:
    seen = observe([report()], {}, 100.0, WALL)
    assert [(replica.name, replica.versions[POLICIES]) for replica in live(seen, 129.9)] == [("a", 100)]
    assert live(seen, 130.0) == ()


def test_a_report_for_years_counts_for_a_minute() -> None:
    ghost = report()
    ghost = Lease(ghost.metadata, LeaseSpec("a", 2147483647, micro_time(WALL)))
    seen = observe([ghost], {}, 100.0, WALL)
    assert live(seen, 159.9)
    assert not live(seen, 160.0)


def test_a_renewal_extends_the_lease_and_the_same_report_again_does_not() -> None:
    seen = observe([report()], {}, 100.0, WALL)
    same = observe([report()], seen, 120.0, WALL)
    renewed = observe([report(renewed=WALL + timedelta(seconds=10))], seen, 120.0, WALL)
    assert not live(same, 130.0)
    assert live(renewed, 149.9)


@pytest.mark.parametrize("skew", [timedelta(minutes=-4), timedelta(minutes=4), timedelta(days=1)])
def test_a_replica_with_another_clock_is_still_live(skew: timedelta) -> None:
    assert live(observe([report(renewed=WALL + skew)], {}, 100.0, WALL), 100.0)


def test_a_lease_that_expired_long_ago_does_not_count_when_first_observed() -> None:
    seen = observe([report(renewed=WALL - timedelta(minutes=6))], {}, 100.0, WALL)
    assert not live(seen, 100.0)
    assert forgotten(seen, 100.0) == ["sekisho-webhook-a"]


def test_a_replica_whose_clock_is_far_behind_is_live_once_it_renews() -> None:
    seen = observe([report(renewed=WALL - timedelta(hours=2))], {}, 100.0, WALL)
    renewed = observe([report(renewed=WALL - timedelta(hours=1, minutes=59))], seen, 110.0, WALL)
    assert live(renewed, 110.0)
    assert forgotten(renewed, 110.0) == []


def test_the_lease_of_a_dead_replica_is_deleted_only_later() -> None:
    seen = observe([report()], {}, 100.0, WALL)
    assert forgotten(seen, 130.0 + FORGET_SECONDS - 0.1) == []
    assert forgotten(seen, 130.0 + FORGET_SECONDS) == ["sekisho-webhook-a"]


def test_a_replica_whose_lease_expired_is_silent_until_it_is_deleted() -> None:
    seen = observe([report("a"), report("b")], {}, 100.0, WALL)
    seen = observe([report("a", renewed=WALL + timedelta(seconds=10)), report("b")], seen, 120.0, WALL)
    assert [silent(seen, now) for now in (129.9, 130.0, 150.0, 130.0 + FORGET_SECONDS)] == [
        (),
        ("b",),
        ("a", "b"),
        ("a",),
    ]


def of(annotation: str, text: str) -> Replica:
    (replica,) = live(observe([report(more={annotation: text})], {}, 100.0, WALL), 100.0)
    return replica


def test_policies_that_a_replica_cannot_use_are_reported_by_name() -> None:
    unusable = of(UNUSABLE_ANNOTATION, '["clusterpodpolicies/b","podpolicies/ns/c"]').unusable
    assert [name for name in ("a", "b", "c") if unusable.may_hold(f"clusterpodpolicies/{name}")] == ["b"]
    assert unusable.may_hold("podpolicies/ns/c")
    assert not unusable.may_hold("podpolicies/other/c")


def test_nothing_is_known_of_policies_after_the_end_of_a_truncated_report() -> None:
    unusable = of(UNUSABLE_ANNOTATION, '["clusterpodpolicies/b","clusterpodpolicies/d","…"]').unusable
    assert [name for name in "abcde" if unusable.may_hold(f"clusterpodpolicies/{name}")] == ["b", "d", "e"]


@pytest.mark.parametrize("text", ["", "?", "{}", '["…"]', "[1]"])
def test_nothing_is_known_from_an_unreadable_list(text: str) -> None:
    assert of(UNUSABLE_ANNOTATION, text).unusable.may_hold("clusterpodpolicies/a")


@pytest.mark.parametrize("text", ["", "?", "[]", '{"a":1}', '{"a":[1]}', '{"a":[-1,0]}', '{"a":[1,2,3,4,5]}'])
def test_unreadable_counts_are_empty(text: str) -> None:
    assert of(COUNTS_ANNOTATION, text).counts == {}
    assert of(COUNTS_ANNOTATION, '{"a":[1,2]}').counts == {"a": Recent(1, 2)}
    assert of(COUNTS_ANNOTATION, '{"a":[1,2,1]}').counts == {"a": Recent(1, 2, 1)}


@pytest.mark.parametrize("text", ["", "?", "[]", '{"a":1}', '{"a":[{"owner":1}]}'])
def test_unreadable_examples_are_none(text: str) -> None:
    assert of(EXAMPLES_ANNOTATION, text).examples == {}


def test_examples_are_reported_within_their_bound_and_one_of_each_policy_comes_first() -> None:
    owner = "Deployment shop/" + "x" * 200
    example = [AuditedExample(f"{owner}-{index}", ("privileged",)) for index in range(5)]
    titles = [f"p-{number:02}" for number in range(40)]
    examples = dict.fromkeys(["a/of-a-tenant", *titles], example)
    text = encode_examples(examples)
    reported = of(EXAMPLES_ANNOTATION, text).examples
    assert 31_000 < len(text) <= MAX_EXAMPLES_LENGTH
    assert list(reported) == [*titles, "a/of-a-tenant"]
    assert {len(of_policy) for of_policy in reported.values()} <= {2, 3, 4}
    assert all(tuple(example)[: len(of_policy)] == of_policy for of_policy in reported.values())
    assert of(EXAMPLES_ANNOTATION, encode_examples({})).examples == {}


def test_a_deleted_lease_stops_counting_at_once() -> None:
    seen = observe([report("a"), report("b")], {}, 100.0, WALL)
    assert [replica.name for replica in live(observe([report("b")], seen, 101.0, WALL), 101.0)] == ["b"]


def test_other_leases_of_the_namespace_are_not_replicas() -> None:
    assert observe([report(labels={}), report(labels={LABEL: "other"})], {}, 100.0, WALL) == {}


def test_a_replica_that_reported_nothing_yet_enforces_nothing() -> None:
    (replica,) = live(observe([report(version=None)], {}, 100.0, WALL), 100.0)
    assert set(replica.versions.values()) == {-1}
    assert not replica.has_reached(POLICIES, 0)


@pytest.mark.parametrize(
    ("version", "number"),
    [("0", 0), ("100", 100), ("18446744073709551615", 2**64 - 1), ("", -1), ("-1", -1), ("1e3", -1), ("²", -1)],
)
def test_resource_versions_are_numbers(version: str, number: int) -> None:
    assert parse_version(version) == number


def test_an_overlong_version_is_invalid() -> None:
    assert parse_version("9" * 5000) == -1


@pytest.fixture
async def server() -> LeaseServer:
    return LeaseServer()


@pytest.fixture
async def api(server: LeaseServer) -> AsyncIterator[ApiClient]:
    async with serving(server) as client:
        yield client


NAME = "sekisho-webhook-web-1"


def reported_version(server: LeaseServer) -> str:
    return server.leases[NAME]["metadata"]["annotations"][VERSION_ANNOTATION] if NAME in server.leases else ""


def report_version(reporter: ReplicaReporter, version: str, *unusable: str, changed: bool = True) -> None:
    reporter.report(POLICIES, version, unusable, changed=changed)


async def test_a_replica_without_a_report_writes_no_lease(server: LeaseServer, api: ApiClient) -> None:
    running = asyncio.create_task(ReplicaReporter(api, "ns", "web-1").run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert server.requests == []


async def test_a_replica_reports_at_once_and_withdraws_when_it_stops(server: LeaseServer, api: ApiClient) -> None:
    reporter = ReplicaReporter(api, "ns", "Web-1")
    running = asyncio.create_task(reporter.run())
    report_version(reporter, "100")
    await server.wait_until(lambda: reported_version(server) == "100")
    assert server.leases[NAME]["metadata"]["labels"] == {LABEL: COMPONENT}
    assert server.leases[NAME]["spec"]["holderIdentity"] == "Web-1"
    assert server.leases[NAME]["spec"]["leaseDurationSeconds"] == 30
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert server.leases == {}


async def test_many_changes_are_reported_in_few_writes(server: LeaseServer, api: ApiClient) -> None:
    reporter = ReplicaReporter(api, "ns", "web-1")
    running = asyncio.create_task(reporter.run())
    for version in range(1000):
        report_version(reporter, str(version))
        if version % 100 == 0:
            await asyncio.sleep(0)
    await server.wait_until(lambda: reported_version(server) == "999")
    assert server.requests.count("PATCH") == 1
    running.cancel()


async def test_written_statuses_are_reported_later_and_changes_at_once(
    server: LeaseServer, api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter = ReplicaReporter(api, "ns", "web-1")
    running = asyncio.create_task(reporter.run())
    report_version(reporter, "100")
    await server.wait_until(lambda: reported_version(server) == "100")
    report_version(reporter, "101", changed=False)  # nobody waits for it yet
    report_version(reporter, "102")
    await server.wait_until(lambda: reported_version(server) == "102")
    assert server.requests.count("PATCH") == 2
    monkeypatch.setattr(replica_reporter, "SETTLE_SECONDS", 0.01)
    for version in range(103, 200):
        report_version(reporter, str(version), changed=False)
    await server.wait_until(lambda: reported_version(server) == "199")
    assert server.requests.count("PATCH") == 3
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_unusable_policy_is_reported_at_once_in_a_bounded_list(server: LeaseServer, api: ApiClient) -> None:
    reporter = ReplicaReporter(api, "ns", "web-1", lambda: Reported({"p": Recent(2, 1, 1)}))
    running = asyncio.create_task(reporter.run())
    report_version(reporter, "100")
    await server.wait_until(lambda: reported_version(server) == "100")
    report_version(reporter, "101", *(f"policy-{number:04}" for number in range(5000)), changed=False)
    await server.wait_until(lambda: reported_version(server) == "101")
    annotations = server.leases[NAME]["metadata"]["annotations"]
    assert len(annotations[UNUSABLE_ANNOTATION]) < 33_000
    unusable = of(UNUSABLE_ANNOTATION, annotations[UNUSABLE_ANNOTATION]).unusable
    assert all(unusable.may_hold(f"{POLICIES}/policy-{number:04}") for number in range(5000))
    assert not unusable.may_hold(f"{POLICIES}/a")
    assert of(COUNTS_ANNOTATION, annotations[COUNTS_ANNOTATION]).counts == {"p": Recent(2, 1, 1)}
    report_version(reporter, "102", changed=False)
    await server.wait_until(lambda: reported_version(server) == "102")
    assert server.leases[NAME]["metadata"]["annotations"][UNUSABLE_ANNOTATION] == "[]"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_report_is_renewed_without_a_change(
    server: LeaseServer, api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_reporter, "RENEW_SECONDS", 0.01)
    reporter = ReplicaReporter(api, "ns", "web-1")
    running = asyncio.create_task(reporter.run())
    report_version(reporter, "100")
    await server.wait_until(lambda: reported_version(server) == "100")
    first = server.leases[NAME]["spec"]["renewTime"]
    await server.wait_until(lambda: server.leases[NAME]["spec"]["renewTime"] > first)
    running.cancel()


async def test_a_deleted_lease_is_written_again(server: LeaseServer, api: ApiClient) -> None:
    reporter = ReplicaReporter(api, "ns", "web-1")
    running = asyncio.create_task(reporter.run())
    report_version(reporter, "100")
    await server.wait_until(lambda: reported_version(server) == "100")
    server.leases.clear()
    report_version(reporter, "101")
    await server.wait_until(lambda: reported_version(server) == "101")
    running.cancel()


async def test_a_replica_continues_after_an_outage_and_logs_it_once(
    server: LeaseServer, api: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    server.is_down = True
    reporter = ReplicaReporter(api, "ns", "web-1")
    running = asyncio.create_task(reporter.run())
    report_version(reporter, "100")
    await server.wait_until(lambda: len(server.requests) >= 3)
    report_version(reporter, "101")
    server.is_down = False
    await server.wait_until(lambda: reported_version(server) == "101")
    assert len(caplog.records) == 1
    running.cancel()


async def test_the_first_report_names_the_authority_of_the_served_certificate(
    server: LeaseServer, api: ApiClient
) -> None:
    reporter = ReplicaReporter(api, "ns", "web-1")
    running = asyncio.create_task(reporter.run())
    reporter.report_authority("aa")
    await asyncio.sleep(0)
    assert server.requests == []
    report_version(reporter, "100")
    await server.wait_until(lambda: reported_version(server) == "100")
    assert await served_authorities(api, "ns") == {"aa"}
    reporter.report_authority("bb")
    await server.wait_until(lambda: server.leases[NAME]["metadata"]["annotations"][AUTHORITY_ANNOTATION] == "bb")
    assert await served_authorities(api, "ns") == {"bb"}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_leases_of_others_and_empty_reports_name_no_authority(server: LeaseServer, api: ApiClient) -> None:
    annotations = {AUTHORITY_ANNOTATION: "aa"}
    server.put("other", {"metadata": {"labels": {"a": "b"}, "annotations": annotations}, "spec": {}})
    server.put(
        "new", {"metadata": {"labels": {LABEL: COMPONENT}, "annotations": {AUTHORITY_ANNOTATION: ""}}, "spec": {}}
    )
    server.put("older", {"metadata": {"labels": {LABEL: COMPONENT}}, "spec": {}})
    assert await served_authorities(api, "ns") == frozenset()


ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "name": "sekisho-webhook", "uid": "u-1"}


@pytest.mark.parametrize(
    ("user", "owners"),
    [
        ({"username": "system:serviceaccount:ns:sekisho-webhook", "uid": "u-1"}, [ACCOUNT]),
        ({"username": "system:serviceaccount:ns:sekisho-webhook"}, []),
        ({"username": "system:serviceaccount:other:sekisho-webhook", "uid": "u-1"}, []),
        ({"username": "admin", "uid": "u-1"}, []),
        ("nonsense", []),
        (None, []),
    ],
)
async def test_a_report_belongs_to_the_service_account_that_writes_it(
    server: LeaseServer, api: ApiClient, user: dict[str, str], owners: list[dict[str, str]]
) -> None:
    server.user = user
    running = asyncio.create_task((reporter := ReplicaReporter(api, "ns", "web-1")).run())
    report_version(reporter, "100")
    await server.wait_until(lambda: reported_version(server) == "100")
    assert server.leases[NAME]["metadata"]["ownerReferences"] == owners
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_stopping_does_not_wait_for_a_server_that_does_not_answer(
    server: LeaseServer, api: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_reporter, "_WITHDRAW_SECONDS", 0.1)
    reporter = ReplicaReporter(api, "ns", "web-1")
    running = asyncio.create_task(reporter.run())
    report_version(reporter, "100")
    await server.wait_until(lambda: reported_version(server) == "100")
    server.is_stuck = True
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 5.0)
