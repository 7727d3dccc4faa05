"""The status of a policy, from its generations and the replicas' reports."""

from datetime import UTC, datetime

import msgspec
import pytest

from sekisho.cluster.replicas import Replica
from sekisho.operator.status import Policy, read_policy, wanted_status

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 23, 13, 0, 0, tzinfo=UTC)


def body(generation: int = 1, version: int = 100, spec: dict | None = None, status: object = None) -> dict:
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


def replicas(*versions: int) -> tuple[Replica, ...]:
    return tuple(Replica(f"webhook-{i}", version, "", 0.0) for i, version in enumerate(versions))


def states(policy: Policy, *versions: int) -> tuple[str | None, list[tuple[str, str, str]]]:
    status = wanted_status(policy, replicas(*versions), NOW)
    return status.enforced_by, [(c.type, c.status, c.reason) for c in status.conditions or ()]


def stored(policy: Policy, *versions: int, now: datetime = NOW) -> object:
    """The status as the API server would give it back."""
    return msgspec.to_builtins(wanted_status(policy, replicas(*versions), now))


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
def test_a_policy_is_enforced_when_every_live_replica_got_as_far(versions, enforced_by, enforced):
    assert states(read_policy(body(), None), *versions) == (enforced_by, [VALID, enforced])


def test_a_new_generation_has_to_be_enforced_anew():
    first = read_policy(body(generation=1, version=100), None)
    second = read_policy(body(generation=2, version=150), first)
    assert states(second, 149)[0] == "0/1"
    assert states(second, 150)[0] == "1/1"


def test_writing_a_status_asks_nothing_more_of_the_replicas():
    first = read_policy(body(generation=1, version=100), None)
    touched = read_policy(body(generation=1, version=160), first)
    assert touched.resource_version == "160"
    assert states(touched, 100)[0] == "1/1"


def test_an_older_event_changes_nothing():
    known = read_policy(body(generation=2, version=150), None)
    assert read_policy(body(generation=1, version=100), known) is known
    assert read_policy(body(generation=2, version=150), known) is known


def test_a_stored_status_with_nothing_new_is_not_written_again():
    policy = read_policy(body(), None)
    read_back = read_policy(body(version=101, status=stored(policy, 100, 100)), policy)
    assert wanted_status(read_back, replicas(100, 100), LATER) == read_back.status
    assert wanted_status(read_back, replicas(100, 99), LATER) != read_back.status


def test_the_transition_time_changes_only_with_the_status():
    policy = read_policy(body(), None)
    read_back = read_policy(body(version=101, status=stored(policy, 99)), policy)
    waiting = wanted_status(read_back, replicas(99, 99), LATER).conditions
    enforced = wanted_status(read_back, replicas(100, 100), LATER).conditions
    assert waiting is not None
    assert enforced is not None
    assert [c.last_transition_time for c in waiting] == ["2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z"]
    assert [c.last_transition_time for c in enforced] == ["2026-11-23T12:00:00Z", "2026-11-23T13:00:00Z"]


def test_conditions_are_about_the_present_generation():
    status = wanted_status(read_policy(body(generation=7), None), replicas(100), NOW)
    assert status.observed_generation == 7
    assert [c.observed_generation for c in status.conditions or ()] == [7, 7]


def test_a_policy_that_cannot_be_read_is_not_accepted_and_says_where():
    policy = read_policy(body(spec={"enforcment": "Deny"}), None)
    assert states(policy, 100) == (
        "0/1",
        [("Accepted", "False", "Invalid"), ("Enforced", "False", "NotAccepted")],
    )
    (accepted, _) = wanted_status(policy, (), NOW).conditions or ()
    assert "spec" in accepted.message
    assert "enforcment" in accepted.message


def test_a_policy_that_cannot_be_compiled_is_not_accepted():
    spec = {"match": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}}
    assert states(read_policy(body(spec=spec), None), 100)[1][0] == ("Accepted", "False", "Invalid")
    spec["match"]["podSelector"]["matchExpressions"][0]["values"] = ["b"]
    assert states(read_policy(body(spec=spec), None), 100)[1][0] == VALID


def test_a_corrected_policy_is_accepted():
    broken = read_policy(body(spec={"enforcment": "Deny"}), None)
    assert states(read_policy(body(generation=2, version=101), broken), 101)[1][0] == VALID


@pytest.mark.parametrize("status", [{"conditions": "?"}, {"conditions": [{"type": "Enforced"}]}, {"enforcedBy": 3}])
def test_a_status_of_another_making_is_replaced(status):
    policy = read_policy(body(status=status), None)
    assert wanted_status(policy, replicas(100), NOW) != policy.status


def test_a_message_names_a_few_replicas_and_counts_the_rest():
    policy = read_policy(body(), None)
    status = wanted_status(policy, replicas(100, 1, 1, 1, 1, 1), NOW)
    assert (status.conditions or ())[1].message == (
        "1 of 6 replicas enforce it; waiting for webhook-1, webhook-2, webhook-3 and 2 more"
    )
