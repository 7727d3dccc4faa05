"""The status of a policy, from its generations and the replicas' reports."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from sekisho.cluster.replicas import Replica, Unusable
from sekisho.cluster.reported import Recent
from sekisho.operator.records import Record, read_record
from sekisho.operator.status import View, waivers_in_effect, wanted_policy_status
from sekisho.policies.status import MAX_WAIVERS, AuditedExample, Conflict, PolicyStatus, WaiverInEffect

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 23, 13, 0, 0, tzinfo=UTC)


def body(
    generation: int = 1, version: int = 100, spec: dict[str, Any] | None = None, status: object = None
) -> dict[str, Any]:
    return {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {
            "name": "restricted",
            "uid": "u-1",
            "generation": generation,
            "resourceVersion": str(version),
            "labels": {"a": "b"},
        },
        "spec": {"podSecurityStandard": {"level": "restricted"}} if spec is None else spec,
        **({} if status is None else {"status": status}),
    }


NOTHING = Unusable()


def replicas(*versions: int, unusable: Unusable = NOTHING) -> tuple[Replica, ...]:
    """Replicas that got so far; `unusable` is what the last one cannot use."""
    made = [Replica(f"webhook-{i}", {"clusterpodpolicies": version}, "", 0.0) for i, version in enumerate(versions)]
    if made:
        made[-1] = msgspec.structs.replace(made[-1], unusable=unusable)
    return tuple(made)


def wanted_status(record: Record, of: tuple[Replica, ...], now: datetime, *silent: str) -> PolicyStatus:
    return wanted_policy_status(record, (), View(now, of, silent))


def states(record: Record, *versions: int) -> tuple[str | None, list[tuple[str, str, str]]]:
    status = wanted_status(record, replicas(*versions), NOW)
    return status.enforced_by, [(c.type, c.status, c.reason) for c in status.conditions or ()]


def stored(record: Record, *versions: int, now: datetime = NOW) -> object:
    """The status as the API server would give it back."""
    return msgspec.to_builtins(wanted_status(record, replicas(*versions), now))


VALID = ("Accepted", "True", "Valid")


@pytest.mark.parametrize(
    ("versions", "enforced_by", "enforced"),
    [
        ((), "0/0", ("Enforced", "False", "NoReplicas")),
        ((-1,), "0/1", ("Enforced", "False", "WaitingForReplicas")),
        ((99, 99), "0/2", ("Enforced", "False", "WaitingForReplicas")),
        ((100, 99), "1/2", ("Enforced", "False", "WaitingForReplicas")),
        ((9, 100), "1/2", ("Enforced", "False", "WaitingForReplicas")),  # numbers, not strings
        ((100,), "1/1", ("Enforced", "True", "EnforcedByAllReplicas")),
        ((100, 101, 2000), "3/3", ("Enforced", "True", "EnforcedByAllReplicas")),
    ],
)
def test_a_policy_is_enforced_when_every_live_replica_has_read_it(
    versions: tuple[int, ...], enforced_by: str, enforced: tuple[str, str, str]
) -> None:
    assert states(read_record(body(), None), *versions) == (enforced_by, [VALID, enforced])


PRIVILEGED: dict[str, Any] = {"controls": {"privileged": {}}}
IDLE: list[tuple[dict[str, Any], str | None]] = [
    (PRIVILEGED, None),
    (PRIVILEGED | {"match": {"namespaces": ["kube-system", "sekisho-system"]}}, "MatchesNoPods"),
    (PRIVILEGED | {"match": {"namespaces": ["kube-system", "shop"]}}, None),
    (PRIVILEGED | {"match": {"excludeNamespaces": ["*"]}}, "MatchesNoPods"),
    (PRIVILEGED | {"match": {"excludeNamespaces": ["kube-*"]}}, None),
    ({"controls": {"images": {}, "resources": {}}}, "RequiresNothing"),
    ({"controls": {"images": {}}, "podSecurityStandard": {"level": "privileged"}}, "RequiresNothing"),
    ({"controls": {"images": {}, "privileged": {}}}, None),
    ({"podSecurityStandard": {"level": "privileged"}}, None),
    ({"defaults": {"profile": "baseline"}}, None),
    ({}, "RequiresNothing"),
]


@pytest.mark.parametrize(("spec", "reason"), IDLE)
def test_a_policy_that_does_nothing_is_not_called_enforced(spec: dict[str, Any], reason: str | None) -> None:
    record = read_record(body(spec=spec), None, {"kube-system", "sekisho-system"})
    enforced = ("Enforced", "False", reason) if reason else ("Enforced", "True", "EnforcedByAllReplicas")
    assert states(record, 100) == ("1/1", [VALID, enforced])


def test_a_new_generation_must_be_read_by_every_replica() -> None:
    first = read_record(body(generation=1, version=100), None)
    second = read_record(body(generation=2, version=150), first)
    assert states(second, 149)[0] == "0/1"
    assert states(second, 150)[0] == "1/1"


def test_a_written_status_requires_no_new_reports() -> None:
    first = read_record(body(generation=1, version=100), None)
    touched = read_record(body(generation=1, version=160), first)
    assert touched.resource_version == "160"
    assert states(touched, 100)[0] == "1/1"


def test_an_older_event_changes_nothing() -> None:
    known = read_record(body(generation=2, version=150), None)
    assert read_record(body(generation=1, version=100), known) is known
    assert read_record(body(generation=2, version=150), known) is known


def test_a_stored_status_with_nothing_new_is_not_written_again() -> None:
    policy = read_record(body(), None)
    read_back = read_record(body(version=101, status=stored(policy, 100, 100)), policy)
    assert wanted_status(read_back, replicas(100, 100), LATER) == read_back.status
    assert wanted_status(read_back, replicas(100, 99), LATER) != read_back.status


def test_the_transition_time_changes_only_with_the_status() -> None:
    policy = read_record(body(), None)
    read_back = read_record(body(version=101, status=stored(policy, 99)), policy)
    waiting = wanted_status(read_back, replicas(99, 99), LATER).conditions
    enforced = wanted_status(read_back, replicas(100, 100), LATER).conditions
    assert waiting is not None
    assert enforced is not None
    assert [c.last_transition_time for c in waiting] == ["2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z"]
    assert [c.last_transition_time for c in enforced] == ["2026-11-23T12:00:00Z", "2026-11-23T13:00:00Z"]


def test_conditions_are_about_the_present_generation() -> None:
    status = wanted_status(read_record(body(generation=7), None), replicas(100), NOW)
    assert status.observed_generation == 7
    assert [c.observed_generation for c in status.conditions or ()] == [7, 7]


def test_a_policy_that_cannot_be_read_is_not_accepted_and_says_where() -> None:
    policy = read_record(body(spec={"enforcment": "Deny"}), None)
    assert states(policy, 100) == (
        "0/1",
        [("Accepted", "False", "Invalid"), ("Enforced", "False", "NotAccepted")],
    )
    (accepted, _) = wanted_status(policy, (), NOW).conditions or ()
    assert "spec" in accepted.message
    assert "enforcment" in accepted.message


def test_a_policy_that_cannot_be_compiled_is_not_accepted() -> None:
    spec: dict[str, Any] = {"match": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}
    assert states(read_record(body(spec=spec), None), 100)[1][0] == ("Accepted", "False", "Invalid")
    spec["match"]["podSelector"]["matchExpressions"][0]["values"] = ["b"]
    assert states(read_record(body(spec=spec), None), 100)[1][0] == VALID


def test_a_corrected_policy_is_accepted() -> None:
    broken = read_record(body(spec={"enforcment": "Deny"}), None)
    assert states(read_record(body(generation=2, version=101), broken), 101)[1][0] == VALID


@pytest.mark.parametrize("status", [{"conditions": "?"}, {"conditions": [{"type": "Enforced"}]}, {"enforcedBy": 3}])
def test_a_status_that_another_program_wrote_is_replaced(status: dict[str, object]) -> None:
    policy = read_record(body(status=status), None)
    assert wanted_status(policy, replicas(100), NOW) != policy.status


def test_a_message_names_a_few_replicas_and_counts_the_rest() -> None:
    policy = read_record(body(), None)
    status = wanted_status(policy, replicas(100, 1, 1, 1, 1, 1), NOW)
    assert (status.conditions or ())[1].message == (
        "1 of 6 replicas enforce it; waiting for webhook-1, webhook-2, webhook-3 and 2 more"
    )


UNUSABLE = Unusable(frozenset({"clusterpodpolicies/restricted"}))


def test_a_replica_that_cannot_use_a_policy_does_not_enforce_it() -> None:
    record = read_record(body(), None)
    status = wanted_status(record, replicas(100, 100, unusable=UNUSABLE), NOW)
    assert status.enforced_by == "1/2"
    enforced = (status.conditions or ())[1]
    assert (enforced.status, enforced.reason) == ("False", "UnusableOnReplicas")
    assert enforced.message == "1 of 2 replicas enforce it; webhook-1 cannot use it (see the log there)"
    other = Unusable(frozenset({"clusterpodpolicies/other", "podpolicies/restricted"}))
    assert wanted_status(record, replicas(100, 100, unusable=other), NOW).enforced_by == "2/2"


def test_a_replica_without_a_certificate_does_not_enforce_a_policy_and_says_why() -> None:
    good, bad = replicas(100, 100)
    bad = msgspec.structs.replace(bad, problem="no certificate is served: it is not valid before 2027-01-01T00:00:00Z")
    status = wanted_status(read_record(body(), None), (good, bad), NOW)
    assert status.enforced_by == "1/2"
    enforced = (status.conditions or ())[1]
    assert (enforced.status, enforced.reason) == ("False", "ReplicasNotServing")
    assert enforced.message == (
        "1 of 2 replicas enforce it; no reviews are served by webhook-1: no certificate is served: it is not valid "
        "before 2027-01-01T00:00:00Z"
    )


def test_a_policy_that_a_truncated_report_does_not_reach_is_not_enforced_by_that_replica() -> None:
    cut = Unusable(frozenset(), "clusterpodpolicies/a")
    assert wanted_status(read_record(body(), None), replicas(100, unusable=cut), NOW).enforced_by == "0/1"


def test_a_report_from_before_a_change_says_nothing_about_the_change() -> None:
    first = read_record(body(generation=1, version=100), None)
    corrected = read_record(body(generation=2, version=150), first)
    status = wanted_status(corrected, replicas(149, unusable=UNUSABLE), NOW)
    assert (status.conditions or ())[1].reason == "WaitingForReplicas"
    assert wanted_status(corrected, replicas(150), NOW).enforced_by == "1/1"


def test_a_silent_replica_counts_and_makes_the_status_unknown() -> None:
    record = read_record(body(), None)
    status = wanted_status(record, replicas(100, 100), NOW, "webhook-9")
    assert status.enforced_by == "2/3"
    enforced = (status.conditions or ())[1]
    assert (enforced.status, enforced.reason) == ("Unknown", "ReplicasSilent")
    assert enforced.message == "2 of 3 replicas enforce it; no report from webhook-9, which may still serve"
    behind = (wanted_status(record, replicas(100, 99), NOW, "webhook-9").conditions or ())[1]
    assert (behind.status, behind.reason) == ("False", "WaitingForReplicas")


def test_counts_conflicts_and_waivers_are_in_the_status() -> None:
    record = read_record(body(), None)
    conflict = Conflict("spec.defaults.pod.securityContext.runAsUser", "other", "pods get 1")
    waiver = WaiverInEffect("w", "2027-01-31T00:00:00Z")
    example = AuditedExample("Deployment shop/web", ("privileged",))
    view = View(
        NOW,
        replicas(100),
        counts={"restricted": Recent(3, 1, 2, 7)},
        examples={"restricted": [example]},
        waivers={"restricted": (waiver,), "other": ()},
    )
    status = wanted_policy_status(record, (conflict,), view)
    assert (status.denials, status.warnings, status.without_event, status.audited) == (3, 1, 2, 7)
    assert (status.conflicts, status.waivers, status.audited_examples) == ((conflict,), (waiver,), (example,))
    nothing = wanted_policy_status(record, (), View(NOW, replicas(100)))
    assert (nothing.denials, nothing.warnings, nothing.without_event, nothing.audited) == (0, 0, None, None)
    assert (nothing.conflicts, nothing.waivers, nothing.audited_examples) == (None, None, None)


def waiver(name: str, expires: datetime, *policies: str, spec: dict[str, object] | None = None) -> Record:
    fields = {
        "policies": policies or ["restricted"],
        "controls": ["privileged"],
        "expires": expires.isoformat(),
        "reason": "x",
    }
    metadata = {"name": name, "uid": f"u-{name}", "generation": 1, "resourceVersion": "1"}
    return read_record({"kind": "PolicyWaiver", "metadata": metadata, "spec": fields | (spec or {})}, None)


def test_waivers_are_listed_by_expiry_until_they_expire() -> None:
    later = waiver("a", LATER, "restricted", "ns/own")
    latest = waiver("b", datetime(2027, 1, 1, tzinfo=UTC))
    broken = waiver("c", LATER, spec={"controls": ["privilege"]})
    in_effect = waivers_in_effect([latest, later, broken, read_record(body(), None)], NOW)
    first, second = WaiverInEffect("a", "2026-11-23T13:00:00Z"), WaiverInEffect("b", "2027-01-01T00:00:00Z")
    assert in_effect == {"restricted": (first, second), "ns/own": (first,)}
    assert waivers_in_effect([latest, later], LATER) == {"restricted": (second,)}


def test_the_list_of_waivers_is_bounded() -> None:
    in_effect = waivers_in_effect([waiver(f"w-{number}", LATER) for number in range(100)], NOW)
    assert len(in_effect["restricted"]) == MAX_WAIVERS


def test_the_title_of_a_pod_policy_is_namespace_and_name() -> None:
    spec: dict[str, object] = {"controls": {"privileged": {}}}
    metadata = {"name": "own", "namespace": "shop", "uid": "u", "generation": 1, "resourceVersion": "5"}
    record = read_record({"kind": "PodPolicy", "metadata": metadata, "spec": spec}, None)
    assert record.title == "shop/own"
    reached = (Replica("webhook-0", {"clusterpodpolicies": 9, "podpolicies": 4}, "", 0.0),)
    assert wanted_status(record, reached, NOW).enforced_by == "0/1"
    reached = (Replica("webhook-0", {"clusterpodpolicies": 1, "podpolicies": 5}, "", 0.0),)
    assert wanted_status(record, reached, NOW).enforced_by == "1/1"
