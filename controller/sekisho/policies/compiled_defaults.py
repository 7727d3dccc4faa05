"""Compiles the defaults of a policy: each becomes one field, its value and the policy that sets it."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import Struct

from sekisho.controls.capabilities import KNOWN, unknown
from sekisho.controls.control import Level
from sekisho.images.reference import canonical_registry
from sekisho.images.registries import parse_pattern
from sekisho.policies.defaults import (
    LOCALHOST_NAMES_PROFILE,
    DefaultProfileType,
    Defaults,
    DefaultsProfile,
    PodDefaults,
    ResourcesDefault,
)
from sekisho.policies.problems import Problems
from sekisho.policies.selectors import LABEL_KEY
from sekisho.quantities import parse_quantity
from sekisho.standards import controls_of

USER_NAMESPACES_SINCE: Final = 35
"""The minor version from which the Pod Security Standards exempt pods with hostUsers false from runAsNonRoot."""


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


_MAX_KEY: Final = 317
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
