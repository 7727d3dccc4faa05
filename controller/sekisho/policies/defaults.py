"""The types of the defaults that a policy applies where a pod leaves a field unset."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from sekisho.controls.capabilities import CapabilityName
from sekisho.controls.control import cel
from sekisho.controls.resource_bounds import Quantity, as_texts
from sekisho.policies.selectors import LabelValue


class DefaultsProfile(StrEnum):
    """Defaults that go with a level of the Pod Security Standards."""

    BASELINE = "baseline"
    RESTRICTED = "restricted"


UserId = Annotated[int, Meta(ge=0, le=2147483647)]
AnnotationText = Annotated[str, Meta(max_length=1024)]
MAX_ENTRIES: Final = 32
"""Labels, annotations or mirrors of one policy."""


class DefaultProfileType(StrEnum):
    """The types that a seccomp or AppArmor profile of the defaults may have: all but Unconfined."""

    LOCALHOST = "Localhost"
    RUNTIME_DEFAULT = "RuntimeDefault"


class SeccompDefault(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """A seccomp profile."""

    type: Annotated[DefaultProfileType, Meta(description="The type of the profile.")]
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


class AppArmorDefault(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """An AppArmor profile."""

    type: Annotated[DefaultProfileType, Meta(description="The type of the profile.")]
    localhost_profile: (
        Annotated[
            str,
            Meta(
                description="The name of a profile that is loaded on the node; required for the type Localhost.",
                min_length=1,
                max_length=253,
            ),
        ]
        | None
    ) = None


LOCALHOST_NAMES_PROFILE = "localhostProfile must be set for the type Localhost, and unset for any other type"
_NAMES_PROFILE: Final = cel("(self.type == 'Localhost') == has(self.localhostProfile)", LOCALHOST_NAMES_PROFILE)
Seccomp = Annotated[SeccompDefault, Meta(extra_json_schema=_NAMES_PROFILE)]
AppArmor = Annotated[AppArmorDefault, Meta(extra_json_schema=_NAMES_PROFILE)]


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
    app_armor_profile: (
        Annotated[
            AppArmor, Meta(description="Default of appArmorProfile; not applied to a pod with AppArmor annotations.")
        ]
        | None
    ) = None


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
    app_armor_profile: (
        Annotated[
            AppArmor, Meta(description="Default of appArmorProfile; not applied to a pod with AppArmor annotations.")
        ]
        | None
    ) = None


class AmountsDefault(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Amounts of resources."""

    cpu: Annotated[Quantity, Meta(description="The amount of cpu, such as 100m.")] | None = None
    memory: Annotated[Quantity, Meta(description="The amount of memory, such as 128Mi.")] | None = None
    ephemeral_storage: (
        Annotated[Quantity, Meta(description="The amount of the node's own storage, such as 1Gi.")] | None
    ) = None

    def __post_init__(self) -> None:
        as_texts(self)


class ResourcesDefault(Struct, frozen=True, forbid_unknown_fields=True):
    """Defaults for requests and limits."""

    requests: (
        Annotated[AmountsDefault, Meta(description="Defaults of requests; never above the container's limit.")] | None
    ) = None
    limits: (
        Annotated[
            AmountsDefault,
            Meta(
                description="Defaults of limits, never below the container's request; an unset request becomes equal."
            ),
        ]
        | None
    ) = None


class PodDefaults(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Defaults for the pod itself."""

    labels: (
        Annotated[
            dict[str, LabelValue],
            Meta(
                description="Labels for pods that do not have them. A label that the podSelector of a policy or waiver "
                "names is not added.",
                max_length=MAX_ENTRIES,
            ),
        ]
        | None
    ) = None
    annotations: (
        Annotated[
            dict[str, AnnotationText],
            Meta(description="Annotations for pods that do not have them.", max_length=MAX_ENTRIES),
        ]
        | None
    ) = None
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
    image_pull_policy: (
        Annotated[
            Literal["Always"],
            Meta(
                description="Default of imagePullPolicy, for image volumes too. The API server sets IfNotPresent "
                "before Sekisho is called, so IfNotPresent counts as unset."
            ),
        ]
        | None
    ) = None
    resources: (
        Annotated[
            ResourcesDefault,
            Meta(
                description="Defaults for the resources of containers and init containers, in pods without "
                "spec.resources."
            ),
        ]
        | None
    ) = None


Mirror = Annotated[str, Meta(min_length=1, max_length=255)]


class Defaults(Struct, frozen=True, forbid_unknown_fields=True):
    """Defaults for fields that a pod leaves unset, and mirrors, which alone change what a pod says: its images."""

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
    mirrors: (
        Annotated[
            dict[str, Mirror],
            Meta(
                description="Registries, such as docker.io, and the registry with an optional path that images are "
                "pulled from instead. Repository, tag and digest are kept, and the new image is judged.",
                max_length=MAX_ENTRIES,
            ),
        ]
        | None
    ) = None
