"""appArmorProfile: containers may not turn the AppArmor profile off.

Restricted fields: spec.securityContext.appArmorProfile.type,
    spec.{containers,initContainers,ephemeralContainers}[*].securityContext.appArmorProfile.type
Allowed values: unset, RuntimeDefault, Localhost
Restricted fields: metadata.annotations[container.apparmor.security.beta.kubernetes.io/*]
Allowed values: unset, empty, runtime/default, localhost/*
Annotations of a Binding are added to a judged pod; a ValidatingAdmissionPolicy of the chart denies these in it.
Level: baseline, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (AppArmor)
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Level, Parameters
from sekisho.controls.profiles import (
    CONFINED,
    AllowedTypes,
    LocalhostProfiles,
    ProfileRules,
    ProfileType,
    judge_profiles,
    verify_profiles,
)
from sekisho.findings import Finding, remove
from sekisho.globs import glob_matches
from sekisho.pods import ContainerRef, Pod, annotations_of

ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"


class AppArmorProfile(Parameters, frozen=True):
    """Which AppArmor profiles pods and containers may have."""

    allowed_types: AllowedTypes | None = None
    localhost_profiles: LocalhostProfiles | None = None


def _standard(level: Level, _minor: int) -> AppArmorProfile | None:
    return None if level == Level.PRIVILEGED else AppArmorProfile(allowed_types=CONFINED)


def _check(parameters: AppArmorProfile, _minor: int) -> Check:
    types = tuple(map(str, CONFINED if parameters.allowed_types is None else parameters.allowed_types))
    rules = ProfileRules("appArmorProfile", "app_armor_profile", types, parameters.localhost_profiles)

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        findings = judge_profiles(rules, pod, containers)
        if pod.metadata.annotations:
            findings += _judge_annotations(rules, pod)
        return findings

    return judge


def _judge_annotations(rules: ProfileRules, pod: Pod) -> list[Finding]:
    profiles = sorted([item for item in annotations_of(pod).items() if item[0].startswith(ANNOTATION)])
    return [
        Finding.of(
            "appArmorProfile",
            ("metadata", "annotations", key),
            profile,
            allowed="unset, runtime/default or localhost/*"
            if rules.localhost is None
            else f"a profile that is {rules.allowed}",
            fix="remove the annotation or set it to runtime/default",
            change=remove(("metadata", "annotations", key)),
        )
        for key, profile in profiles
        if not _is_allowed(rules, profile)
    ]


def _is_allowed(rules: ProfileRules, profile: str) -> bool:
    if not profile:
        return True
    if profile == "runtime/default":
        return ProfileType.RUNTIME_DEFAULT in rules.types
    if profile == "unconfined":
        return ProfileType.UNCONFINED in rules.types
    local = profile.removeprefix("localhost/")
    if local == profile or ProfileType.LOCALHOST not in rules.types:
        return False
    return rules.localhost is None or any(glob_matches(pattern, local) for pattern in rules.localhost)


def _verify(parameters: AppArmorProfile) -> None:
    verify_profiles(parameters.allowed_types, parameters.localhost_profiles)


CONTROL = Control(
    name="appArmorProfile",
    reason="a forbidden AppArmor profile",
    summary="Containers may not turn the AppArmor profile off.",
    why="The runtime's profile denies mounts, writes to /proc and /sys and other ways out of a container.",
    example=Example(
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {appArmorProfile: {type: Unconfined}}
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {appArmorProfile: {type: RuntimeDefault}}
""",
    ),
    parameters=AppArmorProfile,
    standard=_standard,
    check=_check,
    verify=_verify,
    unset={"localhostProfiles": "any"},
)
