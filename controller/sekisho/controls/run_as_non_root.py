"""runAsNonRoot: containers must be required to run as a user other than root.

Restricted fields: spec.securityContext.runAsNonRoot,
    spec.{containers,initContainers,ephemeralContainers}[*].securityContext.runAsNonRoot
Allowed values: true; a container may leave it unset where the pod says true; from v1.35 any value in a pod with
    `hostUsers: false`, whose root is not the host's root
Level: restricted, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted (Running as Non-root), KEP-127
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Level, Parameters, inherits_by_update
from sekisho.findings import Finding, set_to
from sekisho.pods import ContainerRef, Pod, in_user_namespace

_FIELD = ("securityContext", "runAsNonRoot")
_POD_FIELD = ("spec", *_FIELD)


class RunAsNonRoot(Parameters, frozen=True):
    """Containers must run as a user other than root."""


def _standard(level: Level, _minor: int) -> RunAsNonRoot | None:
    return RunAsNonRoot() if level == Level.RESTRICTED else None


def _check(_parameters: RunAsNonRoot, minor: int) -> Check:
    return _judge_from_1_35 if minor >= 35 else _judge


def _judge_from_1_35(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [] if in_user_namespace(pod.spec) else _judge(pod, containers)


def _judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    findings = []
    pod_context = pod.spec.security_context
    of_pod = None if pod_context is None else pod_context.run_as_non_root
    if of_pod is False:
        finding = Finding.of(
            "runAsNonRoot",
            _POD_FIELD,
            False,
            allowed="true",
            fix="set it to true",
            change=set_to(_POD_FIELD, True),
        )
        findings.append(finding)
    for ref in containers:
        context = ref.container.security_context
        own = None if context is None else context.run_as_non_root
        if own is False:
            findings.append(_container_finding(ref, False, "set it to true or remove it", of_pod))
        elif own is None and of_pod is None:
            findings.append(_container_finding(ref, None, "set spec.securityContext.runAsNonRoot to true", of_pod))
        elif own is None and of_pod is False and inherits_by_update(ref):
            findings.append(_container_finding(ref, None, "set it to true", of_pod))
    return findings


def _container_finding(ref: ContainerRef, own: bool | None, fix: str, of_pod: bool | None) -> Finding:
    is_unset_everywhere = own is None and of_pod is None
    return Finding.of(
        "runAsNonRoot",
        ref.path + _FIELD,
        own,
        allowed="true" if of_pod is not True else "true or unset",
        fix=fix,
        change=set_to(_POD_FIELD if is_unset_everywhere else ref.path + _FIELD, True),
        about=ref,
    )


CONTROL = Control(
    name="runAsNonRoot",
    reason="possibly running as root",
    summary="Containers must run as a user other than root.",
    why="Without it the image decides, and many images run as root. The kubelet does not start a container that would "
    "run as root where this is true.",
    example=Example(
        denied="""\
securityContext: {seccompProfile: {type: RuntimeDefault}}
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
""",
        allowed="""\
securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
""",
    ),
    parameters=RunAsNonRoot,
    standard=_standard,
    check=_check,
)
