"""runAsUser: neither the pod nor a container may set user 0, or an id that the policy does not allow.

Restricted fields: spec.securityContext.runAsUser,
    spec.{containers,initContainers,ephemeralContainers}[*].securityContext.runAsUser
Allowed values: unset, any but 0; from v1.35 any value in a pod with `hostUsers: false`; with `ranges`, the ids in them
Level: restricted, from v1.23
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted (Non-root user), KEP-127
"""

from collections.abc import Sequence

from sekisho.controls.control import (
    Check,
    Control,
    Example,
    Level,
    ParameterError,
    Parameters,
    inherits_by_update,
)
from sekisho.controls.id_ranges import Ranges, Rule, allowance, id_check
from sekisho.findings import Change, FieldPath, Finding, remove
from sekisho.pods import ContainerRef, Pod, in_user_namespace

_FIELD = ("securityContext", "runAsUser")
_POD_FIELD = ("spec", *_FIELD)


class RunAsUser(Parameters, frozen=True):
    """Which user pods and containers may set."""

    ranges: Ranges | None = None
    rule: Rule | None = None


def _standard(level: Level, minor: int) -> RunAsUser | None:
    return RunAsUser() if level == Level.RESTRICTED and minor >= 23 else None


def _check(parameters: RunAsUser, minor: int) -> Check:
    if parameters.ranges:
        return id_check("runAsUser", "run_as_user", allowance(parameters.ranges, parameters.rule))
    if parameters.rule is not None:
        raise ParameterError("ranges", f"the rule {parameters.rule} needs at least one range")
    return _judge_from_1_35 if minor >= 35 else _judge


def _judge_from_1_35(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [] if in_user_namespace(pod.spec) else _judge(pod, containers)


def _judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    findings = []
    pod_context = pod.spec.security_context
    pod_user = None if pod_context is None else pod_context.run_as_user
    if pod_user == 0:
        findings.append(_root(_POD_FIELD, None, None))
    for ref in containers:
        context = ref.container.security_context
        user = None if context is None else context.run_as_user
        if user == 0:
            findings.append(_root(ref.path + _FIELD, ref, pod_user))
        elif user is None and pod_user == 0 and inherits_by_update(ref):
            finding = Finding.of(
                "runAsUser",
                ref.path + _FIELD,
                None,
                allowed="not 0, and the pod's is 0",
                fix="set it to a user other than 0",
                about=ref,
            )
            findings.append(finding)
    return findings


def _root(path: FieldPath, about: ContainerRef | None, pod_user: int | None) -> Finding:
    """The finding on user 0. Without the field the pod's user applies, or the image's if the pod has none.

    The image's user is often root, and the kubelet then starts nothing where runAsNonRoot is true.
    """
    fix = "set an id above 0, here or only in the image"
    change: Change | None = None
    if pod_user:
        fix, change = "remove it: the pod's user applies then", remove(path)
    return Finding.of("runAsUser", path, 0, allowed="unset or not 0", fix=fix, change=change, about=about)


CONTROL = Control(
    name="runAsUser",
    reason="the user it runs as",
    summary="Neither the pod nor a container may set user 0, or an id outside the policy's ranges.",
    why="A process that runs as root in a container is root on the node once it finds a way out of the container.",
    example=Example(
        denied="""\
securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {runAsUser: 0, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
""",
        allowed="""\
securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {runAsUser: 10001, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
""",
    ),
    parameters=RunAsUser,
    standard=_standard,
    check=_check,
    unset={"ranges": "any but 0", "rule": '`"MayRunAs"`'},
)
