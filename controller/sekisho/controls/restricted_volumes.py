"""restrictedVolumes: volumes must be of kinds that do not reach outside the cluster's own storage.

Restricted fields: spec.volumes[*]
Allowed values: configMap, csi, downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, projected, secret,
    or the kinds that the policy lists
A volume of any other kind is denied, also one of a kind that is newer than this control. A volume with two sources
counts as of its allowed kind, as in the built-in plugin; the API server rejects it.
Level: restricted, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted (Volume Types)
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Annotated, Final

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Level, ParameterError, Parameters
from sekisho.findings import Finding, words
from sekisho.pods import VOLUME_KINDS, ContainerRef, Pod, Volume, volume_kinds
from sekisho.spelling import did_you_mean

WITHIN_THE_CLUSTER: Final = (
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
_MAX_KINDS_IN_TEXT: Final = 4

VolumeKind = Annotated[str, Meta(pattern="^[A-Za-z]+$", max_length=64)]


class RestrictedVolumes(Parameters, frozen=True):
    """Which kinds of volume pods may have."""

    allowed: (
        Annotated[
            tuple[VolumeKind, ...],
            Meta(description="Kinds of volume that are allowed. Replaces the standard's list.", max_length=64),
        ]
        | None
    ) = None
    additional_allowed: (
        Annotated[
            tuple[VolumeKind, ...],
            Meta(description="Kinds of volume that are allowed besides those of the standard.", max_length=64),
        ]
        | None
    ) = None


def _standard(level: Level, _minor: int) -> RestrictedVolumes | None:
    return RestrictedVolumes(allowed=WITHIN_THE_CLUSTER) if level == Level.RESTRICTED else None


def _check(parameters: RestrictedVolumes, _minor: int) -> Check:
    kinds = tuple(kind for kind in parameters.allowed or () if kind in VOLUME_KINDS)
    sources_of = _getter(tuple(VOLUME_KINDS[kind] for kind in kinds))
    none_set = (None,) * len(kinds)
    allowed, fix = _texts(kinds)

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        volumes = pod.spec.volumes
        if not volumes:
            return []
        return [
            _not_allowed(index, volume, allowed, fix)
            for index, volume in enumerate(volumes)
            if sources_of(volume) == none_set
        ]

    return judge


def _getter(attributes: tuple[str, ...]) -> Callable[[Volume], tuple[object, ...]]:
    """A function that returns the attributes of a volume as a tuple; attrgetter does so only for two and more."""
    if len(attributes) > 1:
        return attrgetter(*attributes)
    return lambda volume: tuple(getattr(volume, attribute) for attribute in attributes)


def _texts(kinds: tuple[str, ...]) -> tuple[str, str]:
    """What is allowed, and the fix; of a long list only the kinds that replace most others are named."""
    if not kinds:
        return "no volume", "remove it"
    usual = [kind for kind in kinds if kind in ("emptyDir", "persistentVolumeClaim")] or [kinds[0]]
    is_long = len(kinds) > _MAX_KINDS_IN_TEXT
    allowed = f"{len(kinds)} other kinds" if is_long else words(kinds)
    return allowed, f"use {words(usual)} instead"


def _not_allowed(index: int, volume: Volume, allowed: str, fix: str) -> Finding:
    kinds = volume_kinds(volume)
    return Finding.of(
        "restrictedVolumes",
        ("spec", "volumes", index, *kinds[:1]),
        None,
        shown="set" if kinds else "of an unknown kind",
        allowed=allowed,
        fix=fix,
        about=volume,
    )


def _verify(parameters: RestrictedVolumes) -> None:
    for parameter, kinds in (("allowed", parameters.allowed), ("additionalAllowed", parameters.additional_allowed)):
        for index, kind in enumerate(kinds or ()):
            if kind not in VOLUME_KINDS:
                hint = did_you_mean(kind, VOLUME_KINDS)
                raise ParameterError(f"{parameter}[{index}]", f"there is no kind of volume {kind!r}{hint}")


CONTROL = Control(
    name="restrictedVolumes",
    reason="restricted volume types",  # Kubernetes' conformance suite looks for these words
    summary="Volumes must be of the kinds that stay within the cluster's own storage, or that the policy allows.",
    why="Other kinds of volume reach the node's files or storage outside the cluster, past the rules that apply to "
    "PersistentVolumes.",
    example=Example(
        denied="""\
securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
volumes:
- name: data
  nfs: {server: nfs.example.com, path: /export}
""",
        allowed="""\
securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
containers:
- name: app
  image: registry.example.com/app:1.4
  securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
volumes:
- name: data
  persistentVolumeClaim: {claimName: app}
""",
    ),
    parameters=RestrictedVolumes,
    standard=_standard,
    check=_check,
    verify=_verify,
    of_pod_only=True,
)
