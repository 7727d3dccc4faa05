"""The controller's metrics."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import partial

from msgspec import Struct
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import Metric

from sekisho.operator.audit_metrics import AuditMetrics
from sekisho.telemetry.families import Family, process_families, rendered


class Subject(StrEnum):
    """What the controller keeps up to date."""

    AUDIT = "audit"
    CERTIFICATES = "certificates"
    REPORTS = "reports"
    STATUS = "status"


class ProofResult(StrEnum):
    """What a proof that pods are judged found."""

    PROVEN = "proven"
    FAILED = "failed"
    UNKNOWN = "unknown"


class CatalogNumbers(Struct, frozen=True):
    """The numbers of entries of a catalog: by their state, and by days those that end within that many days."""

    name: str
    by_state: Mapping[str, int]
    ending: Mapping[int, int]


class Metrics:
    """One process's metrics, in a registry of their own."""

    def __init__(self) -> None:
        # prometheus_client would add a series with the time of creation to each counter.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        gauge, counter = partial(Gauge, registry=self._registry), partial(Counter, registry=self._registry)
        self.is_leader = gauge(
            "sekisho_controller_is_leader", "1 in the process that holds the Lease, 0 in the others."
        )
        self.certificate_expiry = gauge(
            "sekisho_controller_certificate_expiry_timestamp_seconds",
            "When the webhook's certificate and its authority's expire.",
            ["certificate"],
        )
        self.reconcile_errors = counter(
            "sekisho_controller_reconcile_errors_total",
            "Failed attempts to bring certificates, policy status or reports up to date, and failed audits.",
            ["subject"],
        )
        self.proofs = counter(
            "sekisho_controller_proofs_total", "Attempts to prove that the API server calls the webhook.", ["result"]
        )
        self.unproven = gauge(
            "sekisho_controller_unproven", "1 in the process that leads while the last proof did not succeed, else 0."
        )
        self.last_proof = gauge(
            "sekisho_controller_last_proof_timestamp_seconds",
            "When this process last proved that the API server calls the webhook; 0 for never.",
        )
        self.audit = AuditMetrics(self._registry)
        self._catalog_entries = gauge(
            "sekisho_controller_catalog_entries",
            "Entries of each ImageCatalog that are certified, ended or withdrawn, in the process that leads.",
            ["catalog", "state"],
        )
        self._catalog_entries_ending = gauge(
            "sekisho_controller_catalog_entries_ending",
            "Entries of each ImageCatalog that end within that many days, in the process that leads.",
            ["catalog", "days"],
        )
        self._show_zeros()

    def _show_zeros(self) -> None:
        """Have every series from the start, so that a rate of the first change is seen."""
        for subject in Subject:
            self.reconcile_errors.labels(subject)
        for result in ProofResult:
            self.proofs.labels(result)

    def show_catalogs(self, catalogs: Iterable[CatalogNumbers]) -> None:
        """Replace the numbers of all catalogs."""
        self._catalog_entries.clear()
        self._catalog_entries_ending.clear()
        for catalog in catalogs:
            for state, count in catalog.by_state.items():
                self._catalog_entries.labels(catalog.name, state).set(count)
            for days, count in catalog.ending.items():
                self._catalog_entries_ending.labels(catalog.name, str(days)).set(count)

    def render(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return rendered(self.families())

    def families(self) -> Sequence[Metric | Family]:
        """All metrics as they are now."""
        return [*self._registry.collect(), *process_families("controller")]
