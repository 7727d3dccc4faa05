"""Profiles of the kernel's confinement, seccomp and AppArmor: set for the pod, or for a container in its place."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from sekisho.controls.control import ParameterError, inherits_by_update, of_container, set_to
from sekisho.findings import Finding, render_value, words
from sekisho.globs import glob_matches
from sekisho.pods import AppArmorProfile, ContainerRef, Pod, SeccompProfile

Profile = SeccompProfile | AppArmorProfile


class ProfileType(StrEnum):
    """The type of a profile."""

    RUNTIME_DEFAULT = "RuntimeDefault"
    LOCALHOST = "Localhost"
    UNCONFINED = "Unconfined"


CONFINED = (ProfileType.RUNTIME_DEFAULT, ProfileType.LOCALHOST)

AllowedTypes = Annotated[
    tuple[ProfileType, ...], Meta(description="Types of profile that are allowed.", min_length=1, max_length=3)
]
LocalhostProfiles = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...],
    Meta(
        description="Profiles that the type Localhost may name; * stands for any characters. Any when left out.",
        max_length=64,
    ),
]


def verify_profiles(types: Sequence[str] | None, localhost: Sequence[str] | None) -> None:
    """Raise ParameterError for profiles of a type that the same policy does not allow."""
    if localhost is not None and types is not None and ProfileType.LOCALHOST not in types:
        raise ParameterError("localhostProfiles", "goes with the type Localhost, which allowedTypes does not have")


class ProfileRules(Struct, frozen=True):
    """What is allowed of the profiles under `key` of a securityContext, in the struct's `attribute`."""

    key: str
    attribute: str
    types: tuple[str, ...]
    localhost: tuple[str, ...] | None = None
    required: bool = False

    @property
    def allowed(self) -> str:
        """The allowed types in words."""
        return words([*(() if self.required else ("unset",)), *self.types])


def judge_profiles(rules: ProfileRules, pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    """The findings on the pod's profile and on each container's."""
    findings = []
    path = ("spec", "securityContext", rules.key)
    pod_context = pod.spec.security_context
    pod_profile = None if pod_context is None else getattr(pod_context, rules.attribute)
    pod_fault = None if pod_profile is None else _fault(rules, pod_profile)
    if pod_fault is not None:
        tail, value, allowed = pod_fault
        fix = f"set its type to {rules.types[0]}" if tail == "localhostProfile" else f"set it to {rules.types[0]}"
        change = set_to((*path, "type"), rules.types[0])
        findings.append(Finding(rules.key, (*path, tail), render_value(value), allowed, fix, change=change))
    for placed in containers:
        context = placed.container.security_context
        profile = None if context is None else getattr(context, rules.attribute)
        if profile is not None:
            fault = _fault(rules, profile)
            if fault is not None:
                findings.append(_of(rules, placed, *fault, f"remove {rules.key} or set its type to {rules.types[0]}"))
        elif pod_profile is None and rules.required:
            fix = f"set spec.securityContext.{rules.key}.type to {rules.types[0]}"
            findings.append(_of(rules, placed, "type", None, rules.allowed, fix, at=(*path, "type")))
        elif pod_fault is not None and inherits_by_update(placed):
            findings.append(_of(rules, placed, "type", None, rules.allowed, f"set it to {rules.types[0]}"))
    return findings


def _fault(rules: ProfileRules, profile: Profile) -> tuple[str, str | None, str] | None:
    """What is wrong with a profile: the key below it, the value found, what is allowed."""
    if profile.type not in rules.types:
        return "type", profile.type, rules.allowed
    if profile.type == ProfileType.LOCALHOST and rules.localhost is not None:
        name = profile.localhost_profile or ""
        if not any(glob_matches(pattern, name) for pattern in rules.localhost):
            return "localhostProfile", profile.localhost_profile, words(rules.localhost)
    return None


def _of(
    rules: ProfileRules,
    placed: ContainerRef,
    tail: str,
    value: str | None,
    allowed: str,
    fix: str,
    at: tuple[str | int, ...] | None = None,
) -> Finding:
    field = ("securityContext", rules.key, tail)
    change = set_to(at or (*placed.path, "securityContext", rules.key, "type"), rules.types[0])
    return of_container(rules.key, placed, field, value, allowed, fix, change)
