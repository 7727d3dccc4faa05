"""ephemeralContainers: running pods may not get further containers.

Restricted fields: spec.ephemeralContainers[*]
Allowed values: none
Level: none; the control applies only where a policy names it. Every other control judges
    ephemeral containers like all containers.
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding
from sekisho.pods import ContainerKind, ContainerRef, Pod


class EphemeralContainers(Parameters, frozen=True):
    """Pods may have no ephemeral containers."""


def _check(_parameters: EphemeralContainers, _minor: int) -> Check:
    return _judge


def _judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [
        Finding.of(
            "ephemeralContainers",
            (*ref.path, "name"),
            ref.container.name,
            allowed="no ephemeral container",
            fix="debug a copy of the pod",
            about=ref,
        )
        for ref in containers
        if ref.kind is ContainerKind.EPHEMERAL
    ]


CONTROL = Control(
    name="ephemeralContainers",
    reason="being added to a running pod",
    summary="Pods may have no ephemeral containers.",
    why="`kubectl debug` adds a container with a shell to a pod in production; it can read the pod's memory, files and "
    "tokens.",
    example=Example(
        parameters="{}",
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
ephemeralContainers:
- name: debugger
  image: registry.example.com/tools:1
  targetContainerName: app
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=EphemeralContainers,
    standard=opt_in,
    check=_check,
)
