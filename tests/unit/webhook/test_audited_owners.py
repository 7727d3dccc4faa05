"""The owners of what Audit policies found: examples for the policies' status, and a line in the log for each."""

import logging
from typing import Any

import pytest

from sekisho.admission import Outcome
from sekisho.policies.status import MAX_EXAMPLES, AuditedExample
from sekisho.webhook import audited_owners
from sekisho.webhook.audited_owners import HOUR, MAX_LINES_OF_NAMESPACE, REFRESH_SECONDS, AuditedOwners
from sekisho.webhook.metrics import Metrics
from tests.unit.webhook.serving_reviews import BAD, GOOD, pod, policy
from tests.unit.webhook.test_recent_counts import Clock, outcome

AUDITS = policy("a", enforcement="Audit")


def owned(kind: str, name: str, **meta: Any) -> dict[str, Any]:
    """A privileged pod of a controller."""
    reference = {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": f"uid-{name}", "controller": True}
    return pod(BAD, **({"name": "p", "ownerReferences": [reference]} | meta))


def audited(name: str, namespace: str = "shop") -> Outcome:
    return outcome(AUDITS, thing=owned("StatefulSet", name), namespace=namespace)


@pytest.mark.parametrize(
    ("thing", "owner"),
    [
        (pod(BAD), "Pod shop/pod"),
        (pod(BAD, name=None, generateName="job-"), "Pod shop/job-…"),
        (owned("StatefulSet", "db"), "StatefulSet shop/db"),
        (owned("ReplicaSet", "web-7f9", labels={"pod-template-hash": "7f9"}), "Deployment shop/web"),
        (owned("ReplicaSet", "web-7f9"), "ReplicaSet shop/web-7f9"),
        (owned("ReplicaSet", "web-7f9", labels={"pod-template-hash": "other"}), "ReplicaSet shop/web-7f9"),
        (owned("Job", "report-28912345"), "CronJob shop/report"),
        (owned("Job", "report"), "Job shop/report"),
        (owned("Node", "node-1"), "Pod shop/p"),
        (owned("Widget", "x" * 1000), "Pod shop/p"),
    ],
)
def test_example_names_what_a_user_created(thing: dict[str, Any], owner: str) -> None:
    owners = AuditedOwners()
    owners.count(outcome(AUDITS, thing=thing, namespace="shop", name=thing["metadata"]["name"] or ""))
    assert owners.last_hour() == {"a": (AuditedExample(owner, ("privileged",)),)}


def test_only_what_is_audited_has_examples_also_beside_what_denies() -> None:
    owners = AuditedOwners()
    owners.count(outcome(policy("d"), policy("w", enforcement="Warn")))
    owners.count(outcome(AUDITS, thing=pod(GOOD)))
    owners.count(outcome(AUDITS, dryRun=True))
    assert owners.last_hour() == {}
    owners.count(outcome(policy("d"), AUDITS))
    assert list(owners.last_hour()) == ["a"]


def test_example_is_forgotten_an_hour_after_it_was_last_seen() -> None:
    clock = Clock()
    owners = AuditedOwners(clock)
    owners.count(audited("db"))
    clock.now += HOUR - 1
    owners.count(audited("db"))
    clock.now += HOUR - 1
    assert list(owners.last_hour()) == ["a"]
    clock.now += 1
    assert owners.last_hour() == {}


def test_examples_of_a_deleted_policy_are_forgotten() -> None:
    metrics = Metrics()
    metrics.count("validate", audited("db"), 0.001)
    assert list(metrics.audited_owners.last_hour()) == ["a"]
    metrics.forget("clusterpodpolicies", "a")
    assert metrics.audited_owners.last_hour() == {}


def test_namespace_with_many_owners_leaves_room_for_others() -> None:
    owners = AuditedOwners()
    for number in range(100):
        owners.count(audited(f"noisy-{number}", "noisy"))
    for namespace in ("b", "c", "d"):
        owners.count(audited("db", namespace))
    examples = [example.owner for example in owners.last_hour()["a"]]
    assert len(examples) == MAX_EXAMPLES
    assert examples[:3] == [f"StatefulSet {namespace}/db" for namespace in ("b", "c", "d")]


def test_owner_of_an_hour_ago_is_replaced() -> None:
    clock = Clock()
    owners = AuditedOwners(clock)
    for number in range(MAX_EXAMPLES):
        owners.count(audited(f"old-{number}"))
    clock.now += HOUR
    owners.count(audited("new"))
    assert [example.owner for example in owners.last_hour()["a"]] == ["StatefulSet shop/new"]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audited_owners, "MAX_POLICIES", 2)
    monkeypatch.setattr(audited_owners, "MAX_KNOWN", 3)  # and what was forgotten is noted again
    owners = AuditedOwners()
    for number in range(10):
        owners.count(outcome(policy(f"p-{number}", enforcement="Audit"), thing=owned("Job", f"j-{number}")))
    assert list(owners.last_hour()) == ["p-0", "p-1"]


def test_namespace_has_few_owners_noted_at_a_time_and_others_have_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audited_owners, "MAX_NOTED_OF_NAMESPACE", 2)
    clock = Clock()
    owners = AuditedOwners(clock)

    def examples() -> list[str]:
        return [example.owner for example in owners.last_hour()["a"]]

    for number in range(4):
        owners.count(audited(f"noisy-{number}", "noisy"))
    owners.count(audited("db"))
    assert examples() == ["StatefulSet noisy/noisy-0", "StatefulSet noisy/noisy-1", "StatefulSet shop/db"]
    clock.now += REFRESH_SECONDS
    owners.count(audited("noisy-2", "noisy"))
    assert "StatefulSet noisy/noisy-2" in examples()


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.__dict__ for record in caplog.records if record.message == "audited"]


def test_log_has_one_line_an_owner_and_hour(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    owners = AuditedOwners(clock)
    for _ in range(int(HOUR / REFRESH_SECONDS)):
        owners.count(audited("db"))
        clock.now += REFRESH_SECONDS
    (line,) = lines(caplog)
    assert (line["owner"], line["namespace"], line["policies"]) == ("StatefulSet shop/db", "shop", ["a"])
    assert line["controls"] == ["privileged"]
    assert line["reason"].startswith('policy "a"')
    owners.count(audited("db"))
    assert len(lines(caplog)) == 2


def test_lines_of_a_namespace_are_few_and_others_have_theirs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    owners = AuditedOwners(clock)
    for number in range(100):
        owners.count(audited(f"noisy-{number}", "noisy"))
    owners.count(audited("db"))
    namespaces = [line["namespace"] for line in lines(caplog)]
    assert namespaces == ["noisy"] * MAX_LINES_OF_NAMESPACE + ["shop"]
    assert [line["last_of_namespace"] for line in lines(caplog)][-3:] == [False, True, False]
    clock.now += HOUR
    owners.count(audited("noisy-100", "noisy"))
    assert len(lines(caplog)) == MAX_LINES_OF_NAMESPACE + 2


def test_no_value_of_the_environment_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    secret = "hunter2-do-not-print"
    container = BAD | {"env": [{"name": "PASSWORD", "value": secret}]}
    audits = policy("a", enforcement="Audit", controls={"privileged": {}, "secretsInEnv": {}})
    AuditedOwners().count(outcome(audits, thing=pod(container)))
    (line,) = lines(caplog)
    assert line["controls"] == ["privileged", "secretsInEnv"]
    assert secret not in repr(line)
