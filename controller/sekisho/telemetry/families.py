"""Metric families that are built for each scrape, and those that both processes have."""

import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sekisho.telemetry import logs


def counters(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    """A family of counters; `values` are by the values of the `labels`."""
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def gauges(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    """A family of gauges; `values` are by the values of the `labels`."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


class _Collected(Collector):
    """Families that were collected already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def rendered(families: Iterable[Metric]) -> bytes:
    """Families in Prometheus' text format. Another thread may do it, as it reads nothing that changes."""
    return generate_latest(_Collected(families))


class ProcessFamilies:
    """The collector of the families that both processes have; `component` is webhook or controller."""

    def __init__(self, component: str) -> None:
        self._component = component

    def collect(self) -> Iterable[Metric]:
        """The families; called by prometheus_client for each scrape."""
        yield gauges(
            "sekisho_build_info",
            "Always 1; the labels are the versions of Sekisho and Python.",
            ("component", "version", "python_version"),
            {(self._component, _version(), platform.python_version()): 1.0},
        )
        yield counters(
            "sekisho_log_lines_suppressed",
            "Log lines that were dropped because one logger wrote too many.",
            (),
            {(): logs.throttle.suppressed},
        )


@cache
def _version() -> str:
    return version("sekisho")
