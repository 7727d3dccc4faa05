"""Metric families: collected on the event loop for each scrape, rendered in a thread; and those of both processes."""

import platform
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import version

from msgspec import Struct
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sekisho.telemetry import logs


class Family(Struct, frozen=True):
    """Counters or gauges as they were when they were collected.

    Their samples are made where they are rendered, which takes about 10 us for each.

    values: by the values of the labels; may be called in another thread.
    """

    type: type[CounterMetricFamily] | type[GaugeMetricFamily]
    name: str
    text: str
    labels: tuple[str, ...]
    values: Callable[[], Mapping[tuple[str, ...], float]]

    def metric(self) -> Metric:
        """The family with its samples."""
        family = self.type(self.name, self.text, labels=self.labels)
        for key, value in self.values().items():
            family.add_metric(key, value)
        return family


def counters(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Family:
    """A family of counters; `values` are by the values of the `labels`, and may change afterwards."""
    kept = dict(values)
    return Family(CounterMetricFamily, name, text, labels, lambda: kept)


def gauges(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Family:
    """A family of gauges; `values` are by the values of the `labels`, and may change afterwards."""
    kept = dict(values)
    return Family(GaugeMetricFamily, name, text, labels, lambda: kept)


def gauge(name: str, text: str, value: Callable[[], float]) -> Family:
    """A gauge without labels, whose `value` takes long: it is called in another thread."""
    return Family(GaugeMetricFamily, name, text, (), lambda: {(): value()})


class Collected(Collector):
    """Families that were collected already."""

    def __init__(self, families: Iterable[Metric | Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """The families with their samples."""
        for family in self._families:
            yield family.metric() if isinstance(family, Family) else family


def rendered(families: Iterable[Metric | Family]) -> bytes:
    """Families in Prometheus' text format. Another thread may do it, as it reads nothing that changes."""
    return generate_latest(Collected(families))


def process_families(component: str) -> list[Family]:
    """The families that both processes have; `component` is webhook or controller."""
    return [
        gauges(
            "sekisho_build_info",
            "Always 1; the labels are the versions of Sekisho and Python.",
            ("component", "version", "python_version"),
            {(component, _version(), platform.python_version()): 1.0},
        ),
        counters(
            "sekisho_log_lines_suppressed",
            "Log lines that were dropped because one logger wrote too many.",
            (),
            {(): logs.throttle.suppressed},
        ),
    ]


@cache
def _version() -> str:
    return version("sekisho")
