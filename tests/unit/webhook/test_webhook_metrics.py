"""Metrics: what is counted, and that labels stay few."""

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving_reviews import BAD, GOOD, pod, policy, review

from sekisho import admission
from sekisho.admission import Outcome
from sekisho.policies import PolicySet
from sekisho.webhook import metrics as module
from sekisho.webhook.metrics import Metrics, counters, gauges


def outcome(name: str = "p", thing: dict[str, object] | None = None, **request: object) -> Outcome:
    asked = admission.decode(msgspec.json.encode(review(thing or pod(BAD), **request)))
    return admission.validate(asked, PolicySet.of([policy(name)]), None)


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
    counted = {"endpoint": "validate", "operation": "CREATE", "kind": "Pod"}
    assert value(metrics, "sekisho_admission_reviews_total", decision="deny", **counted) == 3
    assert value(metrics, "sekisho_admission_reviews_total", decision="allow", **counted) == 1
    labels = {"policy": "p", "control": "privileged", "enforcement": "Deny"}
    assert value(metrics, "sekisho_admission_violations_total", **labels) == 3


def test_latency_is_a_histogram() -> None:
    metrics = Metrics()
    for seconds in (0.0004, 0.0005, 0.003, 99.0):
        metrics.count("mutate", outcome(), seconds)
    name = "sekisho_admission_duration_seconds"
    found = {
        bound: value(metrics, f"{name}_bucket", endpoint="mutate", le=bound) for bound in ("0.0005", "10.0", "+Inf")
    }
    assert found == {"0.0005": 2, "10.0": 3, "+Inf": 4}
    assert value(metrics, f"{name}_count", endpoint="mutate") == 4
    assert value(metrics, f"{name}_sum", endpoint="mutate") == pytest.approx(99.0039)


def test_what_a_client_makes_up_is_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LABELS", 10)
    metrics = Metrics()
    for number in range(50):
        kind = {"group": "", "version": "v1", "kind": f"Kind{number}"}
        metrics.count("validate", outcome(f"policy-{number}"), 0.001)
        metrics.count("validate", outcome(operation=f"OP{number}", kind=kind), 0.001)
    names = [name for name, _ in samples(metrics)]
    assert names.count("sekisho_admission_violations_total") == 11
    assert names.count("sekisho_admission_reviews_total") <= 3


def test_sources_are_asked_when_prometheus_asks() -> None:
    metrics = Metrics()
    number = 1.0
    metrics.add_source(lambda: [gauges("g", "A gauge.", ("a",), {("x",): number})])
    metrics.add_source(lambda: [counters("c", "A counter.", (), {(): number})])
    number = 7.0
    assert value(metrics, "g", a="x") == value(metrics, "c_total") == 7
    assert any(name == "process_resident_memory_bytes" for name, _ in samples(metrics))
