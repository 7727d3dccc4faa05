"""privileged: containers may not be privileged.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].securityContext.privileged
Allowed values: unset, false
Level: baseline, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (Privileged Containers)
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Level, Parameters
from sekisho.findings import Finding, set_to
from sekisho.pods import Container, ContainerRef, Pod

_FIELD = ("securityContext", "privileged")


class Privileged(Parameters, frozen=True):
    """Containers may not be privileged."""


def _standard(level: Level, _minor: int) -> Privileged | None:
    return None if level == Level.PRIVILEGED else Privileged()


def _check(_parameters: Privileged, _minor: int) -> Check:
    return _judge


def _judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [
        _finding(ref)
        for ref in containers
        if (context := ref.container.security_context) is not None and context.privileged
    ]


def _finding(ref: ContainerRef) -> Finding:
    mounts_for_node = _mounts_for_node(ref.container)
    fix = "remove it or set it to false"
    return Finding.of(
        "privileged",
        ref.path + _FIELD,
        True,
        allowed="unset or false",
        fix=f"{fix}, and mountPropagation Bidirectional with it" if mounts_for_node else fix,
        change=None if mounts_for_node else set_to(ref.path + _FIELD, False),
        about=ref,
    )


def _mounts_for_node(container: Container) -> bool:
    """Whether its mounts appear on the node; the API server rejects that in a container that is not privileged."""
    return any(mount.mount_propagation == "Bidirectional" for mount in container.volume_mounts or ())


CONTROL = Control(
    name="privileged",
    reason="privileged mode",
    summary="Containers may not run privileged.",
    why="A privileged container has every capability, every device and no confinement: it controls its node.",
    example=Example(
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {privileged: true}
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {privileged: false}
""",
    ),
    parameters=Privileged,
    standard=_standard,
    check=_check,
)
