"""seccompProfile: containers must keep the system call filter, and at restricted must say so.

Restricted fields, v1.0 to v1.18: metadata.annotations[seccomp.security.alpha.kubernetes.io/pod],
    metadata.annotations[container.seccomp.security.alpha.kubernetes.io/*]
Allowed values: unset, runtime/default, docker/default, localhost/*
Restricted fields, from v1.19: spec.securityContext.seccompProfile.type,
    spec.{containers,initContainers,ephemeralContainers}[*].securityContext.seccompProfile.type
Allowed values, baseline: unset, RuntimeDefault, Localhost
Allowed values, restricted from v1.19: RuntimeDefault, Localhost; a container may leave it unset where the pod sets an
    allowed one; pods that say spec.os.name is windows are exempt from v1.25
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (Seccomp)
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Level, Parameters, of_container, remove, set_to
from sekisho.findings import Change, Finding, render_value, words
from sekisho.pods import Placed, Pod, annotations_of, is_windows

_FIELD = ("securityContext", "seccompProfile", "type")
_POD_FIELD = ("spec", *_FIELD)
_POD_ANNOTATION = "seccomp.security.alpha.kubernetes.io/pod"
_CONTAINER_ANNOTATION = "container.seccomp.security.alpha.kubernetes.io/"


class SeccompType(StrEnum):
    """A seccompProfile's type."""

    RUNTIME_DEFAULT = "RuntimeDefault"
    LOCALHOST = "Localhost"
    UNCONFINED = "Unconfined"


class SeccompProfile(Parameters, frozen=True):
    """Which seccomp profiles pods and containers may have, and whether they must have one."""

    allowed_types: (
        Annotated[
            tuple[SeccompType, ...],
            Meta(description="Types of profile that are allowed.", min_length=1, max_length=3),
        ]
        | None
    ) = None
    required: Annotated[bool, Meta(description="Whether a container needs a profile, its own or the pod's.")] | None = (
        None
    )


def _standard(level: Level, minor: int) -> SeccompProfile | None:
    if level == "privileged":
        return None
    return SeccompProfile(
        allowed_types=(SeccompType.RUNTIME_DEFAULT, SeccompType.LOCALHOST),
        required=level == "restricted" and minor >= 19,
    )


def _check(parameters: Parameters, minor: int) -> Check:
    if minor < 19:
        return _judge_annotations
    assert isinstance(parameters, SeccompProfile)  # noqa: S101
    allowed = tuple(parameters.allowed_types or ())
    required = bool(parameters.required)
    fields = _Fields(allowed, required)
    spares_windows = required and minor >= 25

    def judge(pod: Pod, containers: Sequence[Placed]) -> list[Finding]:
        return [] if spares_windows and is_windows(pod.spec) else fields.judge(pod, containers)

    return judge


class _Fields:
    """The check from v1.19 on, with its texts made once."""

    def __init__(self, allowed: tuple[SeccompType, ...], required: bool) -> None:
        self.types = frozenset(map(str, allowed))
        self.required = required
        self.first = str(allowed[0])
        self.allowed = words([*(() if required else ("unset",)), *map(str, allowed)])

    def judge(self, pod: Pod, containers: Sequence[Placed]) -> list[Finding]:
        findings = []
        pod_context = pod.spec.security_context
        pod_profile = None if pod_context is None else pod_context.seccomp_profile
        pod_is_good = pod_profile is not None and pod_profile.type in self.types
        if pod_profile is not None and not pod_is_good:
            findings.append(
                Finding(
                    control="seccompProfile",
                    path=_POD_FIELD,
                    value=render_value(pod_profile.type),
                    allowed=self.allowed,
                    fix=f"set it to {self.first}",
                    change=set_to(_POD_FIELD, self.first),
                )
            )
        for placed in containers:
            context = placed.container.security_context
            profile = None if context is None else context.seccomp_profile
            if profile is not None:
                if profile.type not in self.types:
                    findings.append(
                        self._of(placed, profile.type, "remove seccompProfile or set its type to " + self.first)
                    )
            elif pod_profile is None:
                if self.required:
                    findings.append(
                        self._of(
                            placed,
                            None,
                            f"set spec.securityContext.seccompProfile.type to {self.first}",
                            _POD_FIELD,
                        )
                    )
            elif not pod_is_good and placed.path[1] == "ephemeralContainers":
                # It inherits the pod's profile and arrives by an update, when the pod's own finding is no longer new.
                findings.append(self._of(placed, None, f"set it to {self.first}"))
        return findings

    def _of(self, placed: Placed, found: str | None, fix: str, at: tuple[str | int, ...] | None = None) -> Finding:
        change = Change("set", at or placed.path + _FIELD, self.first)
        return of_container("seccompProfile", placed, _FIELD, found, self.allowed, fix, change)


def _judge_annotations(pod: Pod, containers: Sequence[Placed]) -> list[Finding]:
    annotations = annotations_of(pod)
    keys: list[tuple[str, Placed | None]] = [(_POD_ANNOTATION, None)]
    keys += [(_CONTAINER_ANNOTATION + placed.container.name, placed) for placed in containers]
    findings = []
    for key, placed in keys:
        profile = annotations.get(key)
        if profile is None or profile in ("runtime/default", "docker/default") or profile.startswith("localhost/"):
            continue
        path = ("metadata", "annotations", key)
        findings.append(
            Finding(
                control="seccompProfile",
                path=path,
                value=render_value(profile),
                allowed="unset, runtime/default, docker/default or localhost/*",
                fix="remove the annotation or set it to runtime/default",
                change=remove(path),
                subject="the pod" if placed is None else f"{placed.kind} {render_value(placed.container.name)}",
            )
        )
    return findings


CONTROL = Control(
    "seccompProfile",
    "its seccompProfile",
    "Containers must keep a seccomp profile of an allowed type.",
    SeccompProfile,
    _standard,
    _check,
)
