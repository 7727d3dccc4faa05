"""probes: long-running containers let the kubelet see whether they work.

Restricted fields: spec.containers[*].{livenessProbe,readinessProbe,startupProbe}, and those of sidecars
Allowed values: those in `required` are set; readinessProbe where the policy lists none
Init containers that end, and ephemeral containers, have no probes.
Level: none, a policy names it
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Parameters, of_container, opt_in
from sekisho.findings import Finding
from sekisho.pods import ContainerRef, Pod


class Probe(StrEnum):
    """A kind of probe."""

    LIVENESS = "livenessProbe"
    READINESS = "readinessProbe"
    STARTUP = "startupProbe"


_ATTRIBUTES = {
    Probe.LIVENESS: "liveness_probe",
    Probe.READINESS: "readiness_probe",
    Probe.STARTUP: "startup_probe",
}


class Probes(Parameters, frozen=True):
    """Which probes long-running containers must have."""

    required: (
        Annotated[tuple[Probe, ...], Meta(description="Probes that have to be set.", min_length=1, max_length=3)] | None
    ) = None


def _check(parameters: Parameters, _minor: int) -> Check:
    assert isinstance(parameters, Probes)  # noqa: S101
    required = parameters.required or (Probe.READINESS,)

    def judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        return [
            of_container("probes", placed, (str(probe),), None, "a probe", "add one that fits the container")
            for placed in containers
            if _runs_on(placed)
            for probe in required
            if getattr(placed.container, _ATTRIBUTES[probe]) is None
        ]

    return judge


def _runs_on(placed: ContainerRef) -> bool:
    where = placed.path[1]
    return where == "containers" or (where == "initContainers" and placed.container.restart_policy == "Always")


CONTROL = Control(
    "probes",
    "a missing probe",
    "Long-running containers must have the probes that the policy lists.",
    Probes,
    opt_in,
    _check,
)
