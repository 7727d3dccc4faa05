"""What a replica counts for the policies' status: denials and warnings of the last hour."""

from typing import Any

import msgspec
import pytest

from sekisho import admission
from sekisho.admission import Outcome
from sekisho.cluster.events import Reason, statement
from sekisho.policies import ClusterPodPolicy, PodPolicy, PolicySet, PolicyWaiver
from sekisho.webhook import recent_counts
from sekisho.webhook.metrics import Metrics
from sekisho.webhook.recent_counts import HOUR, MAX_SHARED, SLICE, RecentCounts
from tests.reviews import review
from tests.unit.webhook.serving_reviews import BAD, GOOD, pod, policy


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def outcome(
    *policies: ClusterPodPolicy | PodPolicy | PolicyWaiver, thing: dict[str, Any] | None = None, **request: Any
) -> Outcome:
    decoded = admission.decode(msgspec.json.encode(review(thing or pod(BAD), **request)))
    return admission.validate(decoded, PolicySet.of(policies or [policy("p")]), None)


def test_a_request_counts_once_a_policy_whatever_the_number_of_its_violations() -> None:
    recent = RecentCounts()
    warning = policy("w", enforcement="Warn")
    recent.count(outcome(policy("p"), warning))
    recent.count(outcome(policy("p"), thing=pod(BAD, BAD)))
    assert recent.last_hour() == {"p": (2, 0, 0, 0), "w": (0, 1, 0, 0)}


def test_dry_runs_do_not_count() -> None:
    recent = RecentCounts()
    recent.count(outcome(dryRun=True))
    recent.count(outcome(policy("a", enforcement="Audit"), dryRun=True))
    assert recent.last_hour() == {}


def test_what_is_only_audited_counts_by_itself() -> None:
    recent = RecentCounts()
    recent.count(outcome(policy("a", enforcement="Audit")))
    recent.count(outcome(policy("a", enforcement="Audit"), policy("w", enforcement="Warn")))
    assert recent.last_hour() == {"a": (0, 0, 0, 2), "w": (0, 1, 0, 0)}
    recent.forget("a")
    assert recent.last_hour() == {"w": (0, 1, 0, 0)}


def test_the_counts_of_a_deleted_policy_are_forgotten() -> None:
    recent = RecentCounts()
    recent.count(outcome(policy("p")))
    recent.count(outcome(policy("q")))
    recent.forget("p")
    recent.forget("never counted")
    assert recent.last_hour() == {"q": (1, 0, 0, 0)}


def test_denials_and_warnings_without_an_event_are_counted() -> None:
    recent = RecentCounts()
    for _ in range(3):
        recent.count(outcome(policy("p"), policy("w", enforcement="Warn")))
    recent.count_without_event(statement(Reason.POD_DENIED, "denied", ["p"]), 2)
    recent.count_without_event(statement(Reason.POD_WARNED, "warned", ["w"]), 1)
    recent.count_without_event(statement(Reason.POD_DEFAULTED, "set", ["p"]), 5)
    assert recent.last_hour() == {"p": (3, 0, 2, 0), "w": (0, 3, 1, 0)}
    recent.forget("p")
    assert recent.last_hour() == {"w": (0, 3, 1, 0)}


def test_an_hour_later_it_is_forgotten() -> None:
    clock = Clock()
    recent = RecentCounts(clock)
    recent.count(outcome())
    clock.now += SLICE
    recent.count(outcome())
    clock.now += HOUR - SLICE - 1
    assert recent.last_hour() == {"p": (2, 0, 0, 0)}
    clock.now += 1
    assert recent.last_hour() == {"p": (1, 0, 0, 0)}
    clock.now += SLICE
    assert recent.last_hour() == {}


def test_those_with_the_most_are_reported_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_counts, "MAX_REPORTED", 2)
    monkeypatch.setattr(recent_counts, "MAX_POLICIES", 3)
    recent = RecentCounts()
    for name, times in (("a", 1), ("b", 3), ("c", 2), ("d", 9)):
        for _ in range(times):
            recent.count(outcome(policy(name)))
    assert recent.last_hour() == {"b": (3, 0, 0, 0), "c": (2, 0, 0, 0)}


def test_the_metrics_keep_the_tally() -> None:
    metrics = Metrics()
    for thing in (pod(BAD), pod(GOOD)):
        metrics.count("validate", outcome(thing=thing), 0.001)
    assert metrics.recent.last_hour() == {"p": (1, 0, 0, 0)}


def test_requests_that_violate_different_sets_of_policies_all_count() -> None:
    recent = RecentCounts()
    sets = [tuple(policy(f"p-{index}") for index in range(number)) for number in range(1, MAX_SHARED + 3)]
    for policies in sets:
        recent.count(outcome(*policies))
    counts = recent.last_hour()
    assert counts["p-0"] == (len(sets), 0, 0, 0)
    assert counts[f"p-{len(sets) - 1}"] == (1, 0, 0, 0)
