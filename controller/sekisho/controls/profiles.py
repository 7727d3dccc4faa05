"""seccomp and AppArmor profiles: the pod's profile applies to every container that has none of its own."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Struct, structs

from sekisho.controls.control import ParameterError, inherits_by_update
from sekisho.findings import FieldPath, Finding, remove, set_to, words
from sekisho.globs import glob_matches
from sekisho.pods import AppArmorProfile, ContainerRef, Pod, SeccompProfile

Profile = SeccompProfile | AppArmorProfile


class ProfileType(StrEnum):
    """The type of a profile."""

    RUNTIME_DEFAULT = "RuntimeDefault"
    LOCALHOST = "Localhost"
    UNCONFINED = "Unconfined"


CONFINED: Final = (ProfileType.RUNTIME_DEFAULT, ProfileType.LOCALHOST)

AllowedTypes = Annotated[
    tuple[ProfileType, ...],
    Meta(
        description="Types of profile that are allowed; an empty list allows none, so that the field must be unset.",
        max_length=3,
    ),
]
LocalhostProfiles = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...],
    Meta(
        description="Profiles that the type Localhost may name; * matches any characters. Unset allows any.",
        max_length=64,
    ),
]


def verify_profiles(types: Sequence[str] | None, localhost: Sequence[str] | None) -> None:
    """Raises ParameterError where profiles are listed for a type that the same policy does not allow.

    None for a parameter that the policy leaves unset.
    """
    if localhost is not None and types is not None and ProfileType.LOCALHOST not in types:
        raise ParameterError("localhostProfiles", "goes with the type Localhost, which allowedTypes does not have")


class ProfileRules(Struct, frozen=True):
    """Which profiles are allowed in a field of securityContext.

    key: the field, which is also the control's name.
    attribute: the field's name in the typed view.
    localhost: patterns for the profiles of the type Localhost; None allows any.
    required: whether a container needs a profile, its own or the pod's.
    allowed, allowed_localhost: the types and the profiles of the type Localhost in words, made from the others.
    """

    key: str
    attribute: str
    types: tuple[str, ...]
    localhost: tuple[str, ...] | None = None
    required: bool = False
    allowed: str = ""
    allowed_localhost: str = ""

    def __post_init__(self) -> None:
        structs.force_setattr(self, "allowed", words([*(() if self.required else ("unset",)), *self.types]))
        structs.force_setattr(self, "allowed_localhost", words(self.localhost or ("none",)))


def judge_profiles(rules: ProfileRules, pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    """The findings on the pod's profile and on the containers' profiles."""
    findings = []
    pod_context = pod.spec.security_context
    pod_profile = None if pod_context is None else getattr(pod_context, rules.attribute)
    pod_fault = None if pod_profile is None else _fault(rules, pod_profile)
    if pod_fault is not None:
        findings.append(_finding(rules, _pod_path(rules), pod_fault, _fix(rules, pod_fault)))
    for ref in containers:
        context = ref.container.security_context
        profile = None if context is None else getattr(context, rules.attribute)
        if profile is not None:
            fault = _fault(rules, profile)
            if fault is not None:
                findings.append(_finding(rules, _path(rules, ref), fault, _fix(rules, fault), about=ref))
        elif pod_profile is None and rules.required:
            fix = f"set spec.securityContext.{rules.key}.type to {rules.types[0]}"
            findings.append(_finding(rules, _path(rules, ref), _unset(rules), fix, about=ref, changes=_pod_path(rules)))
        elif pod_fault is not None and inherits_by_update(ref):
            fix = f"set it to {rules.types[0]}" if rules.types else f"remove spec.securityContext.{rules.key}"
            findings.append(_finding(rules, _path(rules, ref), _unset(rules), fix, about=ref))
    return findings


def _pod_path(rules: ProfileRules) -> FieldPath:
    return ("spec", "securityContext", rules.key)


def _path(rules: ProfileRules, ref: ContainerRef) -> FieldPath:
    return (*ref.path, "securityContext", rules.key)


def _unset(rules: ProfileRules) -> "_Fault":
    return _Fault("type", None, rules.allowed)


class _Fault(Struct, frozen=True):
    """What is wrong with a profile: the key below it, its value, what is allowed."""

    key: str
    value: str | None
    allowed: str


def _fault(rules: ProfileRules, profile: Profile) -> _Fault | None:
    if profile.type not in rules.types:
        return _Fault("type", profile.type, rules.allowed)
    if rules.localhost is not None and profile.type == ProfileType.LOCALHOST:
        name = profile.localhost_profile or ""
        if not any(glob_matches(pattern, name) for pattern in rules.localhost):
            return _Fault("localhostProfile", profile.localhost_profile, rules.allowed_localhost)
    return None


def _fix(rules: ProfileRules, fault: _Fault) -> str:
    if not rules.types:
        return "remove it"
    return f"use {rules.types[0]}" if fault.key == "type" else f"set its type to {rules.types[0]}"


def _finding(
    rules: ProfileRules,
    path: FieldPath,
    fault: _Fault,
    fix: str,
    *,
    about: ContainerRef | None = None,
    changes: FieldPath | None = None,
) -> Finding:
    """A finding on the profile at `path`; the fix changes that profile, or the one at `changes`."""
    kind = rules.types[0] if rules.types else None
    # The API server rejects Localhost without a localhostProfile, and a localhostProfile beside another type.
    change = None if kind == ProfileType.LOCALHOST else set_to(changes or path, {"type": kind})
    if kind is None:
        change = remove(path) if fault.value is not None else None
    return Finding.of(
        rules.key,
        (*path, fault.key),
        fault.value,
        allowed=fault.allowed,
        fix=fix,
        change=change,
        about=about,
    )
