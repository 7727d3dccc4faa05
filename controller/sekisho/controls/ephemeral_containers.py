"""ephemeralContainers: nobody adds a container to a running pod.

Restricted fields: spec.ephemeralContainers[*]
Allowed values: none
Level: none, a policy names it. Every other control judges ephemeral containers as it judges the others.
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Parameters, of_container, opt_in
from sekisho.findings import Finding
from sekisho.pods import ContainerRef, Pod


class EphemeralContainers(Parameters, frozen=True):
    """Pods may have no ephemeral containers."""


def _check(_parameters: Parameters, _minor: int) -> Check:
    return _judge


def _judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [
        of_container("ephemeralContainers", placed, ("name",), placed.container.name, "none", "debug a copy of the pod")
        for placed in containers
        if placed.path[1] == "ephemeralContainers"
    ]


CONTROL = Control(
    "ephemeralContainers",
    "being added to a running pod",
    "Pods may have no ephemeral containers.",
    EphemeralContainers,
    opt_in,
    _check,
)
