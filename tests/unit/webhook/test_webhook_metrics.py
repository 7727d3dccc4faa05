"""Metrics: what is counted, and that labels stay few."""

import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from prometheus_client.openmetrics import exposition, parser
from prometheus_client.parser import text_string_to_metric_families

from sekisho import admission
from sekisho.admission import Outcome, Waived
from sekisho.policies import PolicySet
from sekisho.telemetry.families import Collected, counters, gauges
from sekisho.webhook import metrics as module
from sekisho.webhook.metrics import MAX_LABELS, Metrics
from tests.exposition import faults
from tests.reviews import review
from tests.unit.webhook.serving_reviews import BAD, GOOD, pod, policy


def outcome(name: str = "p", thing: dict[str, Any] | None = None, **request: Any) -> Outcome:
    decoded = admission.decode(msgspec.json.encode(review(thing or pod(BAD), **request)))
    return admission.validate(decoded, PolicySet.of([policy(name)]), None)


def waived(name: str) -> Waived:
    violation = outcome().violations[0]
    return Waived("p", violation.enforcement, violation.finding, name, datetime(2027, 1, 31, tzinfo=UTC), "x")


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[(name, tuple(sorted(labels.items())))]


def test_reviews_are_counted_by_what_was_decided() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.count("validate", outcome(), 0.001)
    metrics.count("validate", outcome(thing=pod(GOOD)), 0.001)
    counted = {"webhook": "validate", "operation": "CREATE", "kind": "Pod"}
    assert value(metrics, "sekisho_admission_reviews_total", decision="deny", **counted) == 3
    assert value(metrics, "sekisho_admission_reviews_total", decision="allow", **counted) == 1
    labels = {"policy": "p", "control": "privileged", "enforcement": "Deny"}
    assert value(metrics, "sekisho_admission_violations_total", **labels) == 3


def test_latency_is_a_histogram() -> None:
    metrics = Metrics()
    for seconds in (0.0004, 0.0005, 0.003, 99.0):
        metrics.count("mutate", outcome(), seconds)
    name = "sekisho_admission_duration_seconds"
    series = {
        bound: value(metrics, f"{name}_bucket", webhook="mutate", le=bound) for bound in ("0.0005", "10.0", "+Inf")
    }
    assert series == {"0.0005": 2, "10.0": 3, "+Inf": 4}
    assert value(metrics, f"{name}_count", webhook="mutate") == 4
    assert value(metrics, f"{name}_sum", webhook="mutate") == pytest.approx(99.0039)


def test_what_a_client_makes_up_is_not_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LABELS", 10)
    metrics = Metrics()
    for number in range(50):
        kind = {"group": "", "version": "v1", "kind": f"Kind{number}"}
        metrics.count("validate", outcome(f"policy-{number}"), 0.001)
        metrics.count("validate", outcome(operation=f"OP{number}", kind=kind), 0.001)
    names = [name for name, _ in samples(metrics)]
    assert names.count("sekisho_admission_violations_total") == 11
    assert names.count("sekisho_admission_reviews_total") <= 4


def test_sources_are_read_when_prometheus_scrapes() -> None:
    metrics = Metrics()
    number = 1.0
    metrics.add_source(lambda: [gauges("g", "A gauge.", ("a",), {("x",): number})])
    metrics.add_source(lambda: [counters("c", "A counter.", (), {(): number})])
    number = 7.0
    assert value(metrics, "g", a="x") == value(metrics, "c_total") == 7
    assert any(name == "process_resident_memory_bytes" for name, _ in samples(metrics))


def test_ten_thousand_namespaces_and_more_policies_than_labels_leave_the_series_few() -> None:
    metrics = Metrics()
    names = [f"policy-{number}" for number in range(MAX_LABELS + 500)]
    for start in range(0, len(names), 500):
        policies = PolicySet.of(policy(name) for name in names[start : start + 500])
        decoded = admission.decode(msgspec.json.encode(review(pod(BAD))))
        metrics.count("validate", admission.validate(decoded, policies, None), 0.001)
    few = PolicySet.of([policy()])
    for number in range(10_000):
        kind = {"group": "", "version": "v1", "kind": f"Kind{number}"}
        meta = {"name": f"pod-{number}", "labels": {"app": f"app-{number}"}}
        user = {"username": f"user-{number}"}
        made_ups: tuple[dict[str, Any], ...] = ({}, {"kind": kind, "operation": f"OP{number}"})
        for made_up in made_ups:
            decoded = admission.decode(
                msgspec.json.encode(review(pod(BAD, **meta), namespace=f"ns-{number}", userInfo=user, **made_up))
            )
            metrics.count("validate", admission.validate(decoded, few, None), 0.001)
    for status in (400, 404, 405, 408, 413, 415, 503):
        metrics.count_http_error(status)
    series = samples(metrics)
    label_values = {value for _, labels in series for _, value in labels}
    assert not [value for value in label_values if value.startswith(("ns-", "pod-", "app-", "user-", "Kind", "OP"))]
    assert len(series) < MAX_LABELS + 100


def test_as_many_labels_as_are_kept_are_collected_in_little_time() -> None:
    metrics, one = Metrics(), outcome()
    for number in range(MAX_LABELS):
        violations = tuple(replace(violation, policies=(f"policy-{number}",)) for violation in one.violations)
        metrics.count("validate", replace(one, violations=violations, waived=(waived(f"w-{number}"),)), 0.001)
    seconds = []
    for _ in range(3):
        began = time.thread_time()
        metrics.families()
        seconds.append(time.thread_time() - began)
    assert min(seconds) < 0.01


def test_promtool_would_find_nothing_to_improve() -> None:
    metrics = Metrics()
    for webhook in ("validate", "mutate"):
        metrics.count(webhook, outcome(), 0.001)
    metrics.count_http_error(404)
    metrics.add_source(lambda: [gauges("sekisho_policies", "Policies in effect.", (), {(): 1})])
    assert faults(metrics.render().decode()) == []
    in_open_metrics = exposition.generate_latest(Collected(metrics.families())).decode()
    assert {family.name for family in parser.text_string_to_metric_families(in_open_metrics)} >= {
        "sekisho_admission_reviews",
        "sekisho_admission_duration_seconds",
    }


def test_the_checker_finds_what_promtool_would() -> None:
    good = "# HELP sekisho_x_total Things.\n# TYPE sekisho_x_total counter\nsekisho_x_total 1\n"
    assert faults(good) == []
    for wrong in (
        good.replace("# HELP sekisho_x_total Things.\n", ""),
        good.replace("# TYPE sekisho_x_total counter\n", ""),
        good.replace("Things.", "Things"),
        good.replace("sekisho_x", "sekisho_x_ms"),
        good.replace("sekisho_x", "other_x"),
        good.replace("counter", "gauge"),
        good.replace("_total 1", '_total{namespace="x"} 1'),
        good + "sekisho_x_total 2\n",
    ):
        assert len(faults(wrong)) >= 1, wrong


def test_the_build_and_failures_are_reported_from_the_start() -> None:
    series = samples(Metrics())
    (labels,) = (dict(labels) for name, labels in series if name == "sekisho_build_info")
    assert labels["component"] == "webhook"
    for webhook in ("validate", "mutate"):
        failed = {"decision": "error", "kind": "Pod", "operation": "CREATE", "webhook": webhook}
        assert series[("sekisho_admission_reviews_total", tuple(sorted(failed.items())))] == 0


def test_uses_of_waivers_are_counted_by_waiver_policy_and_control(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LABELS", 10)
    metrics = Metrics()
    for number in [0] * 3 + list(range(1, 50)):
        metrics.count("validate", replace(outcome(), waived=(waived(f"w-{number}"),)), 0.001)
    labels = {"policy": "p", "control": "privileged"}
    assert value(metrics, "sekisho_admission_waivers_used_total", waiver="w-0", **labels) == 3
    assert [name for name, _ in samples(metrics)].count("sekisho_admission_waivers_used_total") == 11
