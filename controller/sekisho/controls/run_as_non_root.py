"""runAsNonRoot: containers must be required to run as a user other than root.

Restricted fields: spec.securityContext.runAsNonRoot,
    spec.{containers,initContainers,ephemeralContainers}[*].securityContext.runAsNonRoot
Allowed values: true; a container may leave it unset where the pod says true; from v1.35 any value in a pod with
    `hostUsers: false`, whose root is not the host's root
Level: restricted, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted (Running as Non-root), KEP-127
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Level, Parameters, inherits_by_update, of_container, set_to
from sekisho.findings import Finding
from sekisho.pods import ContainerRef, Pod, in_user_namespace

_FIELD = ("securityContext", "runAsNonRoot")
_POD_FIELD = ("spec", *_FIELD)


class RunAsNonRoot(Parameters, frozen=True):
    """Containers must run as a user other than root."""


def _standard(level: Level, _minor: int) -> RunAsNonRoot | None:
    return RunAsNonRoot() if level == "restricted" else None


def _check(_parameters: Parameters, minor: int) -> Check:
    return _judge_from_1_35 if minor >= 35 else _judge


def _judge_from_1_35(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [] if in_user_namespace(pod.spec) else _judge(pod, containers)


def _judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    findings = []
    pod_context = pod.spec.security_context
    pod_says = None if pod_context is None else pod_context.run_as_non_root
    if pod_says is False:
        findings.append(
            Finding(
                control="runAsNonRoot",
                path=_POD_FIELD,
                value="false",
                allowed="true",
                fix="set it to true",
                change=set_to(_POD_FIELD, True),
            )
        )
    for placed in containers:
        context = placed.container.security_context
        says = None if context is None else context.run_as_non_root
        if says is False:
            findings.append(_of(placed, False, "set it to true or remove it", pod_says))
        elif says is None and pod_says is None:
            findings.append(_of(placed, None, "set spec.securityContext.runAsNonRoot to true", pod_says))
        elif says is None and pod_says is False and inherits_by_update(placed):
            findings.append(_of(placed, None, "set it to true", pod_says))
    return findings


def _of(placed: ContainerRef, says: bool | None, fix: str, pod_says: bool | None) -> Finding:
    path = _POD_FIELD if says is None and pod_says is None else placed.path + _FIELD
    allowed = "true" if pod_says is not True else "true or unset"
    return of_container("runAsNonRoot", placed, _FIELD, says, allowed, fix, set_to(path, True))


CONTROL = Control(
    "runAsNonRoot",
    "possibly running as root",
    "Containers must run as a user other than root.",
    RunAsNonRoot,
    _standard,
    _check,
)
