"""procMount: containers must keep the masked /proc.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].securityContext.procMount
Allowed values: unset, Default; at baseline from v1.35 any value in a pod with `hostUsers: false`
Level: baseline, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (/proc Mount Type), KEP-127
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Level, Parameters
from sekisho.findings import Finding, remove
from sekisho.pods import ContainerRef, Pod, in_user_namespace

_FIELD = ("securityContext", "procMount")


class ProcMount(Parameters, frozen=True):
    """Containers must keep the masked /proc."""

    allowed_in_user_namespace: (
        Annotated[bool, Meta(description="Whether a pod with hostUsers false may have any procMount.")] | None
    ) = None


def _standard(level: Level, minor: int) -> ProcMount | None:
    if level == Level.PRIVILEGED:
        return None
    return ProcMount(allowed_in_user_namespace=level == Level.BASELINE and minor >= 35)


def _check(parameters: ProcMount, _minor: int) -> Check:
    return _judge_outside_user_namespaces if parameters.allowed_in_user_namespace else _judge


def _judge_outside_user_namespaces(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [] if in_user_namespace(pod.spec) else _judge(pod, containers)


def _judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    findings = []
    for ref in containers:
        context = ref.container.security_context
        value = None if context is None else context.proc_mount
        if value is not None and value != "Default":
            finding = Finding.of(
                "procMount",
                ref.path + _FIELD,
                value,
                allowed="unset or Default",
                fix="remove it",
                change=remove(ref.path + _FIELD),
                about=ref,
            )
            findings.append(finding)
    return findings


CONTROL = Control(
    name="procMount",
    reason="its procMount",
    summary="Containers must keep the masked /proc.",
    why="The runtime hides and protects files of /proc through which a process could change the node's kernel.",
    example=Example(
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {procMount: Unmasked}
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {procMount: Default}
""",
    ),
    parameters=ProcMount,
    standard=_standard,
    check=_check,
)
