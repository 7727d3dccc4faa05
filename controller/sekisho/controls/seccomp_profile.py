"""seccompProfile: containers must keep the filter of system calls, and at restricted must set it.

Restricted fields, v1.0 to v1.18: metadata.annotations[seccomp.security.alpha.kubernetes.io/pod],
    metadata.annotations[container.seccomp.security.alpha.kubernetes.io/*]
Allowed values: unset, runtime/default, docker/default, localhost/*
Restricted fields, from v1.19: spec.securityContext.seccompProfile.type,
    spec.{containers,initContainers,ephemeralContainers}[*].securityContext.seccompProfile.type
Allowed values, baseline: unset, RuntimeDefault, Localhost
Allowed values, restricted from v1.19: RuntimeDefault, Localhost; a container may leave it unset where the pod sets an
    allowed one; pods with spec.os.name windows are exempt from v1.25
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (Seccomp)
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Level, ParameterError, Parameters
from sekisho.controls.profiles import (
    CONFINED,
    AllowedTypes,
    LocalhostProfiles,
    ProfileRules,
    judge_profiles,
    verify_profiles,
)
from sekisho.findings import Finding, remove
from sekisho.pods import ContainerRef, Pod, annotations_of, is_windows

_POD_ANNOTATION = "seccomp.security.alpha.kubernetes.io/pod"
_CONTAINER_ANNOTATION = "container.seccomp.security.alpha.kubernetes.io/"


class SeccompProfile(Parameters, frozen=True):
    """Which seccomp profiles pods and containers may have, and whether they must have one."""

    allowed_types: AllowedTypes | None = None
    localhost_profiles: LocalhostProfiles | None = None
    required: Annotated[bool, Meta(description="Whether a container needs a profile, its own or the pod's.")] | None = (
        None
    )


def _standard(level: Level, minor: int) -> SeccompProfile | None:
    if level == Level.PRIVILEGED:
        return None
    return SeccompProfile(allowed_types=CONFINED, required=level == Level.RESTRICTED and minor >= 19)


def _check(parameters: SeccompProfile, minor: int) -> Check:
    if minor < 19:
        return _judge_annotations
    types = tuple(map(str, CONFINED if parameters.allowed_types is None else parameters.allowed_types))
    required = bool(parameters.required and types)
    rules = ProfileRules("seccompProfile", "seccomp_profile", types, parameters.localhost_profiles, required)
    exempts_windows = required and minor >= 25

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        return [] if exempts_windows and is_windows(pod.spec) else judge_profiles(rules, pod, containers)

    return judge


def _judge_annotations(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    annotations = annotations_of(pod)
    keys: list[tuple[str, ContainerRef | None]] = [(_POD_ANNOTATION, None)]
    keys += [(_CONTAINER_ANNOTATION + ref.container.name, ref) for ref in containers]
    findings = []
    for key, ref in keys:
        profile = annotations.get(key)
        if profile is None or profile in ("runtime/default", "docker/default") or profile.startswith("localhost/"):
            continue
        finding = Finding.of(
            "seccompProfile",
            ("metadata", "annotations", key),
            profile,
            allowed="unset, runtime/default, docker/default or localhost/*",
            fix="remove the annotation or set it to runtime/default",
            change=remove(("metadata", "annotations", key)),
            about=ref,
        )
        findings.append(finding)
    return findings


def _verify(parameters: SeccompProfile) -> None:
    verify_profiles(parameters.allowed_types, parameters.localhost_profiles)
    if parameters.required and parameters.allowed_types == ():
        raise ParameterError("required", "needs a type of profile, and allowedTypes has none")


CONTROL = Control(
    name="seccompProfile",
    reason="seccomp",
    summary="Containers must keep a seccomp profile of an allowed type.",
    why="Most ways out of a container use system calls that applications do not need; the profile blocks them.",
    example=Example(
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {seccompProfile: {type: Unconfined}}
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {seccompProfile: {type: RuntimeDefault}}
""",
    ),
    parameters=SeccompProfile,
    standard=_standard,
    check=_check,
    verify=_verify,
    unset={"localhostProfiles": "any"},
)
