"""What a replica counts for the status of waivers: how often, when last, and by which owners they are used."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from sekisho import admission
from sekisho.admission import Outcome
from sekisho.policies import PolicySet, PolicyWaiver
from sekisho.policies.status import MAX_WAIVER_OWNERS
from sekisho.webhook import waiver_uses
from sekisho.webhook.metrics import Metrics
from sekisho.webhook.waiver_uses import HOUR, WaiverUses
from tests.reviews import review
from tests.unit.webhook.serving_reviews import BAD, pod, policy
from tests.unit.webhook.test_recent_counts import Clock

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


class Times(Clock):
    """A monotonic clock, and one for people that goes with it."""

    def wall(self) -> datetime:
        return NOW + timedelta(seconds=self.now - 1000.0)


def waiver(name: str, **spec: Any) -> PolicyWaiver:
    fields = {"policies": ["p"], "controls": ["privileged"], "expires": "2027-01-31T00:00:00Z", "reason": "r"}
    return msgspec.convert({"metadata": {"name": name}, "spec": fields | spec}, PolicyWaiver)


def admitted(*waivers: str, name: str = "pod", **request: Any) -> Outcome:
    """The outcome for a privileged pod with these waivers, each for a container of its own."""
    containers = [BAD | {"name": waiver} for waiver in waivers]
    exempting = [waiver(one, match={"containers": [one]}) for one in waivers]
    body = review(pod(*containers, name=name), namespace="shop", name=name, **request)
    decoded = admission.decode(msgspec.json.encode(body))
    outcome = admission.validate(decoded, PolicySet.of([policy("p"), *exempting]), None, lambda: NOW)
    assert outcome.waived
    return outcome


def test_uses_are_counted_once_a_pod_by_waiver_and_the_latest_comes_first() -> None:
    times = Times()
    uses = WaiverUses(times, times.wall)
    uses.count(admitted("a", "b", name="first"))
    times.now += 60
    uses.count(admitted("b", name="second"))
    latest = NOW + timedelta(seconds=60)
    assert list(uses.by_waiver().items()) == [
        ("b", (2, 2, (("Pod shop/second", latest), ("Pod shop/first", NOW)))),
        ("a", (1, 1, (("Pod shop/first", NOW),))),
    ]


def test_dry_runs_do_not_count() -> None:
    uses = WaiverUses()
    uses.count(admitted("a", dryRun=True))
    assert uses.by_waiver() == {}


def test_an_hour_later_only_the_total_stays() -> None:
    times = Times()
    uses = WaiverUses(times, times.wall)
    uses.count(admitted("a"))
    times.now += HOUR - 1
    assert uses.by_waiver()["a"][:2] == (1, 1)
    times.now += 1
    assert uses.by_waiver()["a"][:2] == (1, 0)


def test_last_owners_are_kept_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiver_uses, "MAX_WAIVERS", 1)
    uses = WaiverUses()
    for number in range(9):
        uses.count(admitted("a", name=f"p-{number}"))
    uses.count(admitted("a", name="p-6"))
    uses.count(admitted("b"))
    owners = [owner for owner, _ in uses.by_waiver()["a"].owners]
    assert owners == [f"Pod shop/p-{number}" for number in (6, 8, 7, 5, 4)]
    assert len(owners) == MAX_WAIVER_OWNERS
    assert list(uses.by_waiver()) == ["a"]


def test_waiver_of_a_policys_name_is_counted_and_forgotten_by_itself() -> None:
    metrics = Metrics()
    metrics.count("validate", admitted("p"), 0.001)
    metrics.forget("clusterpodpolicies", "p")
    assert metrics.reported().waivers.uses["p"].total == 1
    metrics.forget("policywaivers", "p")
    assert metrics.reported().waivers.uses == {}
    metrics.count("validate", admitted("p"), 0.001)
    assert metrics.reported().waivers.uses["p"][:2] == (1, 1)
