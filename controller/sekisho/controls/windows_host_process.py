"""windowsHostProcess: a Windows container may not be a process of its node.

Restricted fields: spec.securityContext.windowsOptions.hostProcess,
    spec.{containers,initContainers,ephemeralContainers}[*].securityContext.windowsOptions.hostProcess
Allowed values: unset, false
Level: baseline, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (HostProcess)
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Level, Parameters, of_container, set_to
from sekisho.findings import Finding
from sekisho.pods import ContainerRef, Pod, PodSecurityContext, SecurityContext

_FIELD = ("securityContext", "windowsOptions", "hostProcess")
_POD_FIELD = ("spec", *_FIELD)


class WindowsHostProcess(Parameters, frozen=True):
    """Windows containers may not be processes of their node."""


def _standard(level: Level, _minor: int) -> WindowsHostProcess | None:
    return None if level == "privileged" else WindowsHostProcess()


def _check(_parameters: Parameters, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    findings = []
    if _is_host_process(pod.spec.security_context):
        findings.append(
            Finding(
                control="windowsHostProcess",
                path=_POD_FIELD,
                value="true",
                allowed="unset or false",
                fix="remove it or set it to false",
                change=set_to(_POD_FIELD, False),
            )
        )
    for placed in containers:
        if _is_host_process(placed.container.security_context):
            change = set_to(placed.path + _FIELD, False)
            findings.append(
                of_container(
                    "windowsHostProcess",
                    placed,
                    _FIELD,
                    True,
                    "unset or false",
                    "remove it or set it to false",
                    change,
                )
            )
    return findings


def _is_host_process(context: SecurityContext | PodSecurityContext | None) -> bool:
    return context is not None and context.windows_options is not None and context.windows_options.host_process is True


CONTROL = Control(
    "windowsHostProcess",
    "hostProcess",
    "Windows containers may not be processes of their node.",
    WindowsHostProcess,
    _standard,
    _check,
)
