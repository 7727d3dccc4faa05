"""The defaults that a policy applies where a pod leaves a field unset: the types, and their compilation."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from sekisho.controls.capabilities import KNOWN, CapabilityName, unknown
from sekisho.controls.control import Level, cel
from sekisho.controls.resource_bounds import Quantity, as_texts
from sekisho.images.reference import canonical_registry
from sekisho.images.registries import parse_pattern
from sekisho.policies.problems import Problems
from sekisho.policies.selectors import LABEL_KEY, LabelValue
from sekisho.quantities import parse_quantity
from sekisho.standards import controls_of

USER_NAMESPACES_SINCE: Final = 35
"""The minor version from which the Pod Security Standards exempt pods with hostUsers false from runAsNonRoot."""


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


class DefaultLevel(StrEnum):
    """Where a default goes.

    SPEC: into the pod's spec. POD, CONTAINER: into the securityContext of the pod or of each container.
    METADATA: into the pod's metadata; the key is `labels.` or `annotations.` and the name of one.
    PULL: imagePullPolicy of each container, and pullPolicy of each image volume.
    RESOURCES: into each container's resources; the key is `requests.` or `limits.` and the resource.
    MIRRORS: into the images of a registry, which is the key.
    """

    SPEC = "spec"
    POD = "pod"
    CONTAINER = "container"
    METADATA = "metadata"
    PULL = "pull"
    RESOURCES = "resources"
    MIRRORS = "mirrors"

    def path(self, key: str) -> str:
        """The path of a default in a policy."""
        match self:
            case DefaultLevel.POD | DefaultLevel.CONTAINER:
                return f"spec.defaults.{self}.securityContext.{key}"
            case DefaultLevel.METADATA:
                return f"spec.defaults.pod.{_bracketed(key)}"
            case DefaultLevel.PULL:
                return f"spec.defaults.container.{key}"
            case DefaultLevel.RESOURCES:
                return f"spec.defaults.container.resources.{key}"
            case DefaultLevel.MIRRORS:
                return f"spec.defaults.mirrors[{key}]"
            case _:
                return f"spec.defaults.pod.{key}"


def _bracketed(key: str) -> str:
    """`labels.team` as `labels[team]`: the name may have dots."""
    field, _, name = key.partition(".")
    return f"{field}[{name}]"


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
    def label(self) -> str | None:
        """The key of the label that it adds; None for any other default."""
        field, _, name = self.key.partition(".")
        return name if self.level is DefaultLevel.METADATA and field == "labels" else None

    @property
    def control(self) -> str:
        """The control that judges the field; for labels and annotations the field's name."""
        match self.level:
            case DefaultLevel.METADATA:
                return self.key.partition(".")[0]
            case DefaultLevel.RESOURCES:
                return "resources"
            case DefaultLevel.MIRRORS:
                return "images"
            case _:
                return "serviceAccountToken" if self.key == "automountServiceAccountToken" else self.key


_MAPS: Final = frozenset((DefaultLevel.METADATA, DefaultLevel.RESOURCES, DefaultLevel.MIRRORS))


def entries_of(defaults: Iterable[Default]) -> int:
    """How many of the defaults are entries of maps, of which a policy may have many."""
    return sum(default.level in _MAPS for default in defaults)


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
    values = _profile_values(defaults.profile, minor)
    if profile_controls is not None:
        values = {field: value for field, value in values.items() if field[1] in profile_controls}
    if defaults.pod is not None:
        values |= _fields(DefaultLevel.POD, defaults.pod.security_context)
        if defaults.pod.automount_service_account_token is not None:
            values[(DefaultLevel.SPEC, "automountServiceAccountToken")] = defaults.pod.automount_service_account_token
        values |= _metadata(defaults.pod)
    if defaults.container is not None:
        values |= _fields(DefaultLevel.CONTAINER, defaults.container.security_context)
        values |= _resources(defaults.container.resources)
        if defaults.container.image_pull_policy is not None:
            values[(DefaultLevel.PULL, "imagePullPolicy")] = defaults.container.image_pull_policy
    problems = Problems()
    values |= _mirrors(defaults.mirrors or {}, problems)
    _verify(values, problems)
    problems.raise_any()
    old = minor < USER_NAMESPACES_SINCE
    made = (
        Default(level, key, value, policy, of_cluster, old, token_accounts if value is False else frozenset())
        for (level, key), value in values.items()
    )
    return tuple(default for default in made if default.control not in off)


def _profile_values(profile: DefaultsProfile | None, minor: int) -> dict[tuple[DefaultLevel, str], Any]:
    if profile == DefaultsProfile.RESTRICTED:
        return _restricted(minor)
    return {} if profile is None else {(DefaultLevel.POD, "seccompProfile"): {"type": "RuntimeDefault"}}


def _restricted(minor: int) -> dict[tuple[DefaultLevel, str], Any]:
    """The fields that the restricted level requires at a version."""
    required = controls_of(Level.RESTRICTED, minor)
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


def _metadata(pod: PodDefaults) -> dict[tuple[DefaultLevel, str], Any]:
    maps = {"labels": pod.labels or {}, "annotations": pod.annotations or {}}
    return {
        (DefaultLevel.METADATA, f"{field}.{name}"): text
        for field, texts in maps.items()
        for name, text in texts.items()
    }


def _resources(resources: ResourcesDefault | None) -> dict[tuple[DefaultLevel, str], Any]:
    if resources is None:
        return {}
    built: dict[str, dict[str, str | None] | None] = msgspec.to_builtins(resources)
    return {
        (DefaultLevel.RESOURCES, f"{field}.{name}"): amount
        for field in ("limits", "requests")
        for name, amount in (built[field] or {}).items()
        if amount is not None
    }


def _mirrors(mirrors: Mapping[str, str], problems: Problems) -> dict[tuple[DefaultLevel, str], Any]:
    """The mirrors, by the one name of each registry."""
    values: dict[tuple[DefaultLevel, str], Any] = {}
    for registry, mirror in mirrors.items():
        where = f"spec.defaults.mirrors[{registry}]"
        message = _why_no_registry(registry) or _why_no_mirror(mirror)
        level = (DefaultLevel.MIRRORS, canonical_registry(registry))
        if message is None and level in values:
            message = f"{level[1]} has a mirror already, under another of its names"
        if message is None:
            values[level] = mirror
        else:
            problems.add(where, message)
    return values


def _why_no_registry(registry: str) -> str | None:
    if "*" in registry or "/" in registry:
        return f"{registry!r} must be the host of one registry, such as docker.io"
    try:
        parse_pattern(registry)
    except ValueError as error:
        return f"{registry!r} {error}"
    return None


def _why_no_mirror(mirror: str) -> str | None:
    if "*" in mirror:
        return f"{mirror!r} must be a registry with an optional path, such as registry.example.com/hub"
    try:
        parse_pattern(mirror)
    except ValueError as error:
        return f"{mirror!r} {error}"
    return None


@cache
def _names_of(kind: type[Struct]) -> tuple[tuple[str, str], ...]:
    """The fields' names in JSON and in Python. msgspec evaluates all annotations again at each call."""
    return tuple((field.encode_name, field.name) for field in msgspec.structs.fields(kind))


_RESERVED: Final = (
    "sekisho.dev/",
    "kubernetes.io/config.",
    "container.apparmor.security.beta.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
)
"""Beginnings of annotations that change how a pod is judged or run."""


def _verify(values: Mapping[tuple[DefaultLevel, str], Any], problems: Problems) -> None:
    for index, name in enumerate(values.get((DefaultLevel.CONTAINER, "capabilities"), {}).get("drop", ())):
        if name not in KNOWN:
            problems.add(f"spec.defaults.container.securityContext.capabilities.drop[{index}]", unknown(name))
    for level in (DefaultLevel.POD, DefaultLevel.CONTAINER):
        for key in ("seccompProfile", "appArmorProfile"):
            profile = values.get((level, key), {})
            if (profile.get("type") == DefaultProfileType.LOCALHOST) is not ("localhostProfile" in profile):
                problems.add(f"spec.defaults.{level}.securityContext.{key}", LOCALHOST_NAMES_PROFILE)
    for (level, key), value in values.items():
        if level is DefaultLevel.METADATA:
            for message in _name_problems(key.partition(".")[2]):
                problems.add(level.path(key), message)
        limit = values.get((level, key.replace("requests.", "limits.", 1))) if level is DefaultLevel.RESOURCES else None
        if limit is not None and parse_quantity(value) > parse_quantity(limit):
            problems.add(level.path(key), f"{value} is above the default limit {limit}")


def _name_problems(name: str) -> Iterator[str]:
    """What is wrong with the name of a label or an annotation."""
    if len(name) > _MAX_KEY or not re.fullmatch(LABEL_KEY, name):
        yield f"{name[:80]!r} is not a key such as team or example.com/team"
    if name.startswith(_RESERVED):
        yield "changes how a pod is judged or run, so it cannot be a default"


_MAX_KEY: Final = 317
