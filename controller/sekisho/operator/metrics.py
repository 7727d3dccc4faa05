"""The controller's metrics."""

from enum import StrEnum

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from sekisho.telemetry.families import ProcessFamilies


class Subject(StrEnum):
    """What the controller keeps up to date."""

    CERTIFICATES = "certificates"
    STATUS = "status"


class Metrics:
    """One process's metrics, in a registry of their own."""

    def __init__(self) -> None:
        # prometheus_client would add a series with the time of creation to each counter.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(ProcessFamilies("controller"))
        self.is_leader = Gauge(
            "sekisho_controller_is_leader",
            "1 in the process that holds the Lease, 0 in the others.",
            registry=self._registry,
        )
        self.certificate_expiry = Gauge(
            "sekisho_controller_certificate_expiry_timestamp_seconds",
            "When the webhook's certificate and its authority's expire.",
            ["certificate"],
            registry=self._registry,
        )
        self.reconcile_errors = Counter(
            "sekisho_controller_reconcile_errors_total",
            "Failed attempts to bring certificates or policy status up to date.",
            ["subject"],
            registry=self._registry,
        )
        for subject in Subject:
            self.reconcile_errors.labels(subject)

    def render(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)
