"""allowPrivilegeEscalation: a process may not gain more privileges than its parent, as set-user-ID binaries do.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].securityContext.allowPrivilegeEscalation
Allowed values: false
Level: restricted, from v1.8; pods that say spec.os.name is windows are exempt from v1.25
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted (Privilege Escalation)
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Level, Parameters, of_container, set_to
from sekisho.findings import Finding
from sekisho.pods import ContainerRef, Pod, is_windows

_FIELD = ("securityContext", "allowPrivilegeEscalation")


class AllowPrivilegeEscalation(Parameters, frozen=True):
    """Containers must rule out privilege escalation."""


def _standard(level: Level, minor: int) -> AllowPrivilegeEscalation | None:
    return AllowPrivilegeEscalation() if level == "restricted" and minor >= 8 else None


def _check(_parameters: Parameters, minor: int) -> Check:
    return _judge_from_1_25 if minor >= 25 else _judge


def _judge_from_1_25(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [] if is_windows(pod.spec) else _judge(pod, containers)


def _judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    findings = []
    for placed in containers:
        context = placed.container.security_context
        found = None if context is None else context.allow_privilege_escalation
        if found is not False:
            findings.append(
                of_container(
                    "allowPrivilegeEscalation",
                    placed,
                    _FIELD,
                    found,
                    "false",
                    "set it to false",
                    set_to(placed.path + _FIELD, False),
                )
            )
    return findings


CONTROL = Control(
    "allowPrivilegeEscalation",
    "possible privilege escalation",
    "Containers must set allowPrivilegeEscalation to false.",
    AllowPrivilegeEscalation,
    _standard,
    _check,
)
