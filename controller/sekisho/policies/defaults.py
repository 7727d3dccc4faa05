"""What a policy fills in where a pod leaves it unset: the types, and their compilation."""

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from sekisho.controls.capabilities import KNOWN, CapabilityName, unknown
from sekisho.controls.control import cel
from sekisho.policies.problems import Problems


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
            Meta(description="The profile's file on the node, for the type Localhost.", min_length=1, max_length=253),
        ]
        | None
    ) = None


LOCALHOST_NAMES_PROFILE = "localhostProfile goes with the type Localhost, and is needed there"
Seccomp = Annotated[
    SeccompDefault,
    Meta(extra_json_schema=cel("(self.type == 'Localhost') == has(self.localhostProfile)", LOCALHOST_NAMES_PROFILE)),
]


class CapabilitiesDefault(Struct, frozen=True, forbid_unknown_fields=True):
    """Linux capabilities."""

    drop: Annotated[
        tuple[CapabilityName, ...],
        Meta(
            description="Capabilities added to the list of those that the container drops.", min_length=1, max_length=64
        ),
    ]


class PodSecurityContextDefaults(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Fields of the pod's securityContext that are filled in where the pod leaves them unset."""

    run_as_non_root: Annotated[bool, Meta(description="Default of runAsNonRoot.")] | None = None
    run_as_user: Annotated[UserId, Meta(description="Default of runAsUser.")] | None = None
    run_as_group: Annotated[UserId, Meta(description="Default of runAsGroup.")] | None = None
    fs_group: Annotated[UserId, Meta(description="Default of fsGroup.")] | None = None
    seccomp_profile: Annotated[Seccomp, Meta(description="Default of seccompProfile.")] | None = None


class ContainerSecurityContextDefaults(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Fields of each container's securityContext that are filled in where container and pod leave them unset."""

    run_as_non_root: Annotated[bool, Meta(description="Default of runAsNonRoot.")] | None = None
    run_as_user: Annotated[UserId, Meta(description="Default of runAsUser.")] | None = None
    run_as_group: Annotated[UserId, Meta(description="Default of runAsGroup.")] | None = None
    allow_privilege_escalation: (
        Annotated[
            Literal[False],
            Meta(description="Default of allowPrivilegeEscalation; left out where the API would reject it."),
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
    """What is filled in where a pod leaves it unset. An explicit value is never changed, and is then judged."""

    profile: (
        Annotated[
            DefaultsProfile,
            Meta(
                description="restricted fills in what that level asks for; baseline, which asks for nothing, the "
                "seccomp profile RuntimeDefault."
            ),
        ]
        | None
    ) = None
    pod: (
        Annotated[PodDefaults, Meta(description="Defaults for the pod itself; they outweigh the profile's.")] | None
    ) = None
    container: (
        Annotated[ContainerDefaults, Meta(description="Defaults for every container; they outweigh the profile's.")]
        | None
    ) = None


class Default(Struct, frozen=True, eq=False):
    """One field that a policy fills in: `level` is spec, or pod or container for its securityContext."""

    level: str
    key: str
    value: Any
    policy: str


def compile_defaults(policy: str, defaults: Defaults) -> tuple[Default, ...]:
    """The fields that a policy fills in. Raises PolicyError for values that the API server would reject in a pod."""
    given: dict[tuple[str, str], Any] = {}
    if defaults.profile == DefaultsProfile.RESTRICTED:
        given[("pod", "runAsNonRoot")] = True
        given[("container", "allowPrivilegeEscalation")] = False
        given[("container", "capabilities")] = {"drop": ["ALL"]}
    if defaults.profile is not None:
        given[("pod", "seccompProfile")] = {"type": "RuntimeDefault"}
    if defaults.pod is not None:
        given |= _fields("pod", defaults.pod.security_context)
        if defaults.pod.automount_service_account_token is not None:
            given[("spec", "automountServiceAccountToken")] = defaults.pod.automount_service_account_token
    if defaults.container is not None:
        given |= _fields("container", defaults.container.security_context)
    _verify(given)
    return tuple(Default(level, key, value, policy) for (level, key), value in given.items())


def _fields(level: str, context: Struct | None) -> dict[tuple[str, str], Any]:
    if context is None:
        return {}
    values = ((field.encode_name, getattr(context, field.name)) for field in msgspec.structs.fields(context))
    return {(level, key): msgspec.to_builtins(value) for key, value in values if value is not None}


def _verify(given: dict[tuple[str, str], Any]) -> None:
    found = Problems()
    for index, name in enumerate(given.get(("container", "capabilities"), {}).get("drop", ())):
        if name not in KNOWN:
            found.add(f"spec.defaults.container.securityContext.capabilities.drop[{index}]", unknown(name))
    for level in ("pod", "container"):
        profile = given.get((level, "seccompProfile"))
        if profile is not None and (profile["type"] == "Localhost") is not ("localhostProfile" in profile):
            found.add(f"spec.defaults.{level}.securityContext.seccompProfile", LOCALHOST_NAMES_PROFILE)
    found.raise_any()
