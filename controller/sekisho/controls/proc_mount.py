"""procMount: containers keep the masked /proc.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].securityContext.procMount
Allowed values: unset, Default; at baseline from v1.35 any value in a pod with `hostUsers: false`
Level: baseline, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (/proc Mount Type), KEP-127
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Level, Parameters, of_container, remove
from sekisho.findings import Finding
from sekisho.pods import ContainerRef, Pod, in_user_namespace

_FIELD = ("securityContext", "procMount")


class ProcMount(Parameters, frozen=True):
    """Containers keep the masked /proc."""

    allowed_in_user_namespace: (
        Annotated[bool, Meta(description="Whether a pod with hostUsers false may have any procMount.")] | None
    ) = None


def _standard(level: Level, minor: int) -> ProcMount | None:
    if level == "privileged":
        return None
    return ProcMount(allowed_in_user_namespace=level == "baseline" and minor >= 35)


def _check(parameters: Parameters, _minor: int) -> Check:
    assert isinstance(parameters, ProcMount)  # noqa: S101
    return _judge_outside_user_namespaces if parameters.allowed_in_user_namespace else _judge


def _judge_outside_user_namespaces(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [] if in_user_namespace(pod.spec) else _judge(pod, containers)


def _judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    findings = []
    for placed in containers:
        context = placed.container.security_context
        found = None if context is None else context.proc_mount
        if found is not None and found != "Default":
            change = remove(placed.path + _FIELD)
            findings.append(of_container("procMount", placed, _FIELD, found, "unset or Default", "remove it", change))
    return findings


CONTROL = Control("procMount", "its procMount", "Containers must keep the masked /proc.", ProcMount, _standard, _check)
