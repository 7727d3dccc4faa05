"""The defaults that a policy applies where a pod leaves a field unset: the types, and their compilation."""

from collections.abc import Collection
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from sekisho.controls.capabilities import KNOWN, CapabilityName, unknown
from sekisho.controls.control import cel
from sekisho.policies.problems import Problems
from sekisho.standards import controls_of

USER_NAMESPACES_SINCE: Final = 35
"""The minor version from which the Pod Security Standards exempt pods with hostUsers false from runAsNonRoot."""


class DefaultsProfile(StrEnum):
    """Defaults that go with a level of the Pod Security Standards."""

    BASELINE = "baseline"
    RESTRICTED = "restricted"


UserId = Annotated[int, Meta(ge=0, le=2147483647)]


class SeccompDefault(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """A seccomp profile."""

    type: Annotated[Literal["RuntimeDefault", "Localhost"], Meta(description="The type of the profile.")]
    localhost_profile: (
        Annotated[
            str,
            Meta(
                description="The profile's file on the node; required for the type Localhost.",
                min_length=1,
                max_length=253,
            ),
        ]
        | None
    ) = None


LOCALHOST_NAMES_PROFILE = "localhostProfile must be set for the type Localhost, and unset for any other type"
Seccomp = Annotated[
    SeccompDefault,
    Meta(extra_json_schema=cel("(self.type == 'Localhost') == has(self.localhostProfile)", LOCALHOST_NAMES_PROFILE)),
]


class CapabilitiesDefault(Struct, frozen=True, forbid_unknown_fields=True):
    """Linux capabilities."""

    drop: Annotated[
        tuple[CapabilityName, ...],
        Meta(description="Capabilities to add to the container's drop list.", min_length=1, max_length=64),
    ]


class PodSecurityContextDefaults(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Defaults for fields of the pod's securityContext that the pod leaves unset."""

    run_as_non_root: Annotated[bool, Meta(description="Default of runAsNonRoot.")] | None = None
    run_as_user: Annotated[UserId, Meta(description="Default of runAsUser.")] | None = None
    run_as_group: Annotated[UserId, Meta(description="Default of runAsGroup.")] | None = None
    fs_group: Annotated[UserId, Meta(description="Default of fsGroup.")] | None = None
    supplemental_groups_policy: (
        Annotated[Literal["Strict"], Meta(description="Default of supplementalGroupsPolicy; nodes must support it.")]
        | None
    ) = None
    seccomp_profile: Annotated[Seccomp, Meta(description="Default of seccompProfile.")] | None = None


class ContainerSecurityContextDefaults(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Defaults for fields of each container's securityContext that the container and the pod leave unset."""

    run_as_non_root: Annotated[bool, Meta(description="Default of runAsNonRoot.")] | None = None
    run_as_user: Annotated[UserId, Meta(description="Default of runAsUser.")] | None = None
    run_as_group: Annotated[UserId, Meta(description="Default of runAsGroup.")] | None = None
    allow_privilege_escalation: (
        Annotated[
            Literal[False],
            Meta(description="Default of allowPrivilegeEscalation; not applied where the API server would reject it."),
        ]
        | None
    ) = None
    read_only_root_filesystem: Annotated[bool, Meta(description="Default of readOnlyRootFilesystem.")] | None = None
    capabilities: Annotated[CapabilitiesDefault, Meta(description="Capabilities to drop.")] | None = None
    seccomp_profile: Annotated[Seccomp, Meta(description="Default of seccompProfile.")] | None = None


class PodDefaults(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Defaults for the pod itself."""

    security_context: (
        Annotated[PodSecurityContextDefaults, Meta(description="Defaults for the pod's securityContext.")] | None
    ) = None
    automount_service_account_token: (
        Annotated[bool, Meta(description="Default of automountServiceAccountToken.")] | None
    ) = None


class ContainerDefaults(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Defaults for every container."""

    security_context: (
        Annotated[ContainerSecurityContextDefaults, Meta(description="Defaults for each container's securityContext.")]
        | None
    ) = None


class Defaults(Struct, frozen=True, forbid_unknown_fields=True):
    """Defaults for fields that a pod leaves unset. A value that is set is never changed, only judged."""

    profile: (
        Annotated[
            DefaultsProfile,
            Meta(
                description="restricted sets what that level requires at the version of podSecurityStandard; baseline, "
                "which requires no field to be set, sets the seccomp profile RuntimeDefault."
            ),
        ]
        | None
    ) = None
    pod: (
        Annotated[PodDefaults, Meta(description="Defaults for the pod itself; they override the profile's.")] | None
    ) = None
    container: (
        Annotated[ContainerDefaults, Meta(description="Defaults for every container; they override the profile's.")]
        | None
    ) = None


class DefaultLevel(StrEnum):
    """Where a default goes: into the pod's spec, or into the securityContext of the pod or of each container."""

    SPEC = "spec"
    POD = "pod"
    CONTAINER = "container"


class Default(Struct, frozen=True, eq=False):
    """A default of one field. `key` is the field's name, `value` is as in JSON, `policy` the name of the policy.

    of_cluster: whether the policy is a ClusterPodPolicy.
    in_user_namespaces: whether runAsNonRoot applies to pods with hostUsers false, from which no version since v1.35
        requires it.
    exempt_accounts: for automountServiceAccountToken, the service accounts whose pods the policy allows a token.
    """

    level: DefaultLevel
    key: str
    value: Any
    policy: str
    of_cluster: bool = True
    in_user_namespaces: bool = False
    exempt_accounts: frozenset[str] = frozenset()

    @property
    def control(self) -> str:
        """The control that judges the field."""
        return "serviceAccountToken" if self.key == "automountServiceAccountToken" else self.key


def compile_defaults(
    policy: str,
    defaults: Defaults,
    minor: int,
    off: Collection[str],
    *,
    of_cluster: bool,
    token_accounts: frozenset[str] = frozenset(),
    profile_controls: Collection[str] | None = None,
) -> tuple[Default, ...]:
    """The defaults of a policy. Raises PolicyError for values that the API server would reject in a pod.

    minor: the version of the Pod Security Standards that the profile follows.
    off: the controls that the policy switches off; it sets no default for their fields.
    token_accounts: the service accounts whose pods the policy allows a token.
    profile_controls: the controls that the profile may set fields for; None for all.
    """
    values = _of_profile(defaults.profile, minor)
    if profile_controls is not None:
        values = {field: value for field, value in values.items() if field[1] in profile_controls}
    if defaults.pod is not None:
        values |= _fields(DefaultLevel.POD, defaults.pod.security_context)
        if defaults.pod.automount_service_account_token is not None:
            values[(DefaultLevel.SPEC, "automountServiceAccountToken")] = defaults.pod.automount_service_account_token
    if defaults.container is not None:
        values |= _fields(DefaultLevel.CONTAINER, defaults.container.security_context)
    _verify(values)
    old = minor < USER_NAMESPACES_SINCE
    made = (
        Default(level, key, value, policy, of_cluster, old, token_accounts if value is False else frozenset())
        for (level, key), value in values.items()
    )
    return tuple(default for default in made if default.control not in off)


def _of_profile(profile: DefaultsProfile | None, minor: int) -> dict[tuple[DefaultLevel, str], Any]:
    if profile == DefaultsProfile.RESTRICTED:
        return _restricted(minor)
    return {} if profile is None else {(DefaultLevel.POD, "seccompProfile"): {"type": "RuntimeDefault"}}


def _restricted(minor: int) -> dict[tuple[DefaultLevel, str], Any]:
    """The fields that the restricted level requires at a version."""
    required = controls_of("restricted", minor)
    values: dict[tuple[DefaultLevel, str], Any] = {}
    if "runAsNonRoot" in required:
        values[(DefaultLevel.POD, "runAsNonRoot")] = True
    if "allowPrivilegeEscalation" in required:
        values[(DefaultLevel.CONTAINER, "allowPrivilegeEscalation")] = False
    if getattr(required.get("capabilities"), "required_drop", None):
        values[(DefaultLevel.CONTAINER, "capabilities")] = {"drop": ["ALL"]}
    if getattr(required.get("seccompProfile"), "required", None):
        values[(DefaultLevel.POD, "seccompProfile")] = {"type": "RuntimeDefault"}
    return values


def _fields(level: DefaultLevel, context: Struct | None) -> dict[tuple[DefaultLevel, str], Any]:
    if context is None:
        return {}
    values = ((key, getattr(context, name)) for key, name in _names_of(type(context)))
    return {(level, key): msgspec.to_builtins(value) for key, value in values if value is not None}


@cache
def _names_of(kind: type[Struct]) -> tuple[tuple[str, str], ...]:
    """The fields' names in JSON and in Python. msgspec evaluates all annotations again at each call."""
    return tuple((field.encode_name, field.name) for field in msgspec.structs.fields(kind))


def _verify(values: dict[tuple[DefaultLevel, str], Any]) -> None:
    problems = Problems()
    for index, name in enumerate(values.get((DefaultLevel.CONTAINER, "capabilities"), {}).get("drop", ())):
        if name not in KNOWN:
            problems.add(f"spec.defaults.container.securityContext.capabilities.drop[{index}]", unknown(name))
    for level in (DefaultLevel.POD, DefaultLevel.CONTAINER):
        profile = values.get((level, "seccompProfile"))
        if profile is not None and (profile["type"] == "Localhost") is not ("localhostProfile" in profile):
            problems.add(f"spec.defaults.{level}.securityContext.seccompProfile", LOCALHOST_NAMES_PROFILE)
    problems.raise_any()
