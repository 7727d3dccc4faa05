"""allowPrivilegeEscalation: a process may not gain more privileges than its parent has.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].securityContext.allowPrivilegeEscalation
Allowed values: false
Level: restricted, from v1.8; pods with spec.os.name windows are exempt from v1.25
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted (Privilege Escalation)
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Level, Parameters
from sekisho.findings import Finding, set_to, words
from sekisho.pods import ContainerRef, Pod, SecurityContext, is_windows

_FIELD = ("securityContext", "allowPrivilegeEscalation")


class AllowPrivilegeEscalation(Parameters, frozen=True):
    """Containers must rule out privilege escalation."""


def _standard(level: Level, minor: int) -> AllowPrivilegeEscalation | None:
    return AllowPrivilegeEscalation() if level == Level.RESTRICTED and minor >= 8 else None


def _check(_parameters: AllowPrivilegeEscalation, minor: int) -> Check:
    return _judge_from_1_25 if minor >= 25 else _judge


def _judge_from_1_25(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [] if is_windows(pod.spec) else _judge(pod, containers)


def _judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    findings = []
    for ref in containers:
        context = ref.container.security_context
        value = None if context is None else context.allow_privilege_escalation
        if value is not False:
            needs_it = _needs_escalation(context)
            finding = Finding.of(
                "allowPrivilegeEscalation",
                ref.path + _FIELD,
                value,
                allowed="false",
                fix=f"set it to false and unset {words(needs_it, 'and')}" if needs_it else "set it to false",
                change=None if needs_it else set_to(ref.path + _FIELD, False),
                about=ref,
            )
            findings.append(finding)
    return findings


def _needs_escalation(context: SecurityContext | None) -> list[str]:
    """What the API server rejects beside false."""
    if context is None:
        return []
    added = (context.capabilities.add if context.capabilities is not None else None) or ()
    return ["privileged"] * bool(context.privileged) + ["CAP_SYS_ADMIN"] * ("CAP_SYS_ADMIN" in added)


CONTROL = Control(
    name="allowPrivilegeEscalation",
    reason="new privileges",
    summary="Containers must set allowPrivilegeEscalation to false.",
    why="A set-user-ID program such as sudo turns a process into root. With false the kernel ignores that bit "
    "(no_new_privs).",
    example=Example(
        denied="""\
securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {capabilities: {drop: [ALL]}}
""",
        allowed="""\
securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
""",
    ),
    parameters=AllowPrivilegeEscalation,
    standard=_standard,
    check=_check,
)
