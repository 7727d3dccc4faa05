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
from sekisho.findings import Finding, remove
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
    pod_is_root = pod_context is not None and pod_context.run_as_user == 0
    if pod_is_root:
        findings.append(_root(_POD_FIELD, None))
    for ref in containers:
        context = ref.container.security_context
        user = None if context is None else context.run_as_user
        if user == 0:
            findings.append(_root(ref.path + _FIELD, ref))
        elif user is None and pod_is_root and inherits_by_update(ref):
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


def _root(path: tuple[str | int, ...], about: ContainerRef | None) -> Finding:
    return Finding.of(
        "runAsUser",
        path,
        0,
        allowed="unset or not 0",
        fix="remove it or set another user",
        change=remove(path),
        about=about,
    )


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
