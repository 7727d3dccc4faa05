"""Families of metrics that are made when Prometheus asks, and those that both processes have."""

import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sekisho.telemetry import logs


def counters(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    """A family of counters, by the values of its labels."""
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def gauges(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    """A family of gauges, by the values of its labels."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


class ProcessFamilies:
    """A collector of what both processes tell of themselves; `component` is webhook or controller."""

    def __init__(self, component: str) -> None:
        self._component = component

    def collect(self) -> Iterable[Metric]:
        """What prometheus_client calls."""
        yield gauges(
            "sekisho_build_info",
            "Always 1; the labels tell which Sekisho runs on which Python.",
            ("component", "version", "python_version"),
            {(self._component, _version(), platform.python_version()): 1.0},
        )
        yield counters(
            "sekisho_log_lines_suppressed",
            "Lines left out of the log, because one logger wrote too many.",
            (),
            {(): logs.throttle.suppressed},
        )


@cache
def _version() -> str:
    return version("sekisho")
