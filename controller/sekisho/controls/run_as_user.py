"""runAsUser: neither the pod nor a container may ask for user 0, or they must ask for an id that the policy allows.

Restricted fields: spec.securityContext.runAsUser,
    spec.{containers,initContainers,ephemeralContainers}[*].securityContext.runAsUser
Allowed values: unset, any but 0; from v1.35 any value in a pod with `hostUsers: false`; with `ranges`, the ids in them
Level: restricted, from v1.23
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted (Non-root user), KEP-127
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Level, Parameters, inherits_by_update, of_container, remove
from sekisho.controls.id_ranges import Ranges, Rule, allowance, id_check
from sekisho.findings import Finding
from sekisho.pods import ContainerRef, Pod, in_user_namespace

_FIELD = ("securityContext", "runAsUser")
_POD_FIELD = ("spec", *_FIELD)
_ALLOWED = "unset or not 0"
_FIX = "remove it or set it to the image's own user, such as 10001"


class RunAsUser(Parameters, frozen=True):
    """Which user containers may ask for."""

    ranges: Ranges | None = None
    rule: Rule | None = None


def _standard(level: Level, minor: int) -> RunAsUser | None:
    return RunAsUser() if level == "restricted" and minor >= 23 else None


def _check(parameters: Parameters, minor: int) -> Check:
    assert isinstance(parameters, RunAsUser)  # noqa: S101
    allowed = allowance(parameters.ranges, parameters.rule)
    if allowed is not None:
        return id_check("runAsUser", "run_as_user", allowed)
    return _judge_from_1_35 if minor >= 35 else _judge


def _judge_from_1_35(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [] if in_user_namespace(pod.spec) else _judge(pod, containers)


def _judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    findings = []
    pod_context = pod.spec.security_context
    pod_is_root = pod_context is not None and pod_context.run_as_user == 0
    if pod_is_root:
        findings.append(
            Finding(
                control="runAsUser",
                path=_POD_FIELD,
                value="0",
                allowed=_ALLOWED,
                fix=_FIX,
                change=remove(_POD_FIELD),
            )
        )
    for placed in containers:
        context = placed.container.security_context
        user = None if context is None else context.run_as_user
        if user == 0:
            change = remove(placed.path + _FIELD)
            findings.append(of_container("runAsUser", placed, _FIELD, 0, _ALLOWED, _FIX, change))
        elif user is None and pod_is_root and inherits_by_update(placed):
            findings.append(
                of_container(
                    "runAsUser",
                    placed,
                    _FIELD,
                    None,
                    "not 0, and the pod's is 0",
                    "set it to a user other than 0",
                )
            )
    return findings


CONTROL = Control(
    "runAsUser",
    "the user it runs as",
    "Neither the pod nor a container may ask for user 0, or for an id outside the policy's ranges.",
    RunAsUser,
    _standard,
    _check,
)
