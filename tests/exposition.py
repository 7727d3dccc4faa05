"""What /metrics answers, read strictly, and what `promtool check metrics` would find to improve."""

import re
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

TARGET_LABELS = frozenset({"container", "endpoint", "instance", "job", "namespace", "node", "pod", "service"})
"""What Prometheus and its operator put on each series. A label of ours by such a name would become `exported_…`."""

_NAME = re.compile(r"(sekisho|process|python)(_[a-z0-9]+)+")
_NOT_BASE_UNITS = re.compile(
    r"_(milliseconds|microseconds|nanoseconds|minutes|hours|days|kilobytes|mebibytes|percent|ms|us|ns|kb|mb)(_|$)"
)


def families_of(text: str) -> dict[str, Metric]:
    """The families of an exposition by name; a counter's name ends with `_total`."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(text)
    }


def labels_of(text: str) -> dict[str, frozenset[str]]:
    """The names of the labels of each sample by the name that a query gives it; of those that have samples."""
    series: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, set()).update(sample.labels)
    return {name: frozenset(labels) for name, labels in series.items()}


def faults(text: str) -> list[str]:
    """What is wrong with an exposition; an empty list when nothing is."""
    return list(_faults(text))


def _faults(text: str) -> Iterator[str]:
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    for family in text_string_to_metric_families(text):
        yield from _faults_of_name(family)
        for sample in family.samples:
            if family.type == "counter" and sample.name != f"{family.name}_total":
                yield f"{sample.name} is a counter without _total"
            if TARGET_LABELS & set(sample.labels):
                yield f"{sample.name} has a label that Prometheus sets itself: {sorted(sample.labels)}"
            series = (sample.name, frozenset(sample.labels.items()))
            if series in seen:
                yield f"{sample.name} {sample.labels} is there twice"
            seen.add(series)


def _faults_of_name(family: Metric) -> Iterator[str]:
    name = family.name
    if not family.documentation or family.type == "unknown":
        yield f"{name} has no HELP or no TYPE"
    if not family.documentation.endswith("."):
        yield f"{name}: its HELP is no sentence"
    if not _NAME.fullmatch(name):
        yield f"{name} is not named as ours are"
    if _NOT_BASE_UNITS.search(name):
        yield f"{name} is not in a base unit"
    if family.type != "histogram" and name.endswith(("_total", "_count", "_sum", "_bucket")):
        yield f"{name} has the ending of another type"
