"""windowsHostProcess: Windows containers may not run as processes of the node.

Restricted fields: spec.securityContext.windowsOptions.hostProcess,
    spec.{containers,initContainers,ephemeralContainers}[*].securityContext.windowsOptions.hostProcess
Allowed values: unset, false
Level: baseline, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (HostProcess)
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Level, Parameters
from sekisho.findings import FieldPath, Finding, set_to
from sekisho.pods import ContainerRef, Pod, PodSecurityContext, SecurityContext

_FIELD = ("securityContext", "windowsOptions", "hostProcess")


class WindowsHostProcess(Parameters, frozen=True):
    """Windows containers may not run as processes of the node."""


def _standard(level: Level, _minor: int) -> WindowsHostProcess | None:
    return None if level == Level.PRIVILEGED else WindowsHostProcess()


def _check(_parameters: WindowsHostProcess, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    findings = []
    if _is_host_process(pod.spec.security_context):
        findings.append(_finding(("spec",), None))
    findings += [_finding(ref.path, ref) for ref in containers if _is_host_process(ref.container.security_context)]
    return findings


def _is_host_process(context: SecurityContext | PodSecurityContext | None) -> bool:
    return context is not None and context.windows_options is not None and context.windows_options.host_process is True


def _finding(above: FieldPath, about: ContainerRef | None) -> Finding:
    return Finding.of(
        "windowsHostProcess",
        above + _FIELD,
        True,
        allowed="unset or false",
        fix="remove it or set it to false",
        change=set_to(above + _FIELD, False),
        about=about,
    )


CONTROL = Control(
    name="windowsHostProcess",
    reason="hostProcess",
    summary="Windows containers may not be processes of their node.",
    why="A HostProcess container runs directly on the Windows node, with its files and its network.",
    example=Example(
        denied="""\
os: {name: windows}
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {windowsOptions: {hostProcess: true}}
""",
        allowed="""\
os: {name: windows}
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {windowsOptions: {hostProcess: false}}
""",
    ),
    parameters=WindowsHostProcess,
    standard=_standard,
    check=_check,
)
