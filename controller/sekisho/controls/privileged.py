"""privileged: a privileged container owns its node, so none may be privileged.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].securityContext.privileged
Allowed values: unset, false
Level: baseline, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (Privileged Containers)
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Level, Parameters, of_container, set_to
from sekisho.findings import Finding
from sekisho.pods import ContainerRef, Pod

_FIELD = ("securityContext", "privileged")


class Privileged(Parameters, frozen=True):
    """Containers may not be privileged."""


def _standard(level: Level, _minor: int) -> Privileged | None:
    return None if level == "privileged" else Privileged()


def _check(_parameters: Parameters, _minor: int) -> Check:
    return _judge


def _judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    findings = []
    for placed in containers:
        context = placed.container.security_context
        if context is not None and context.privileged:
            findings.append(
                of_container(
                    "privileged",
                    placed,
                    _FIELD,
                    True,
                    "unset or false",
                    "remove it or set it to false",
                    set_to(placed.path + _FIELD, False),
                )
            )
    return findings


CONTROL = Control("privileged", "privileged mode", "Containers may not run privileged.", Privileged, _standard, _check)
