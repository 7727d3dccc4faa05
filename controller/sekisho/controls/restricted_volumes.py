"""restrictedVolumes: volumes are of the kinds that stay within the cluster's own storage.

Restricted fields: spec.volumes[*]
Allowed values: configMap, csi, downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, projected, secret,
    or the kinds that the policy lists
A volume of any other kind, one that is not known here included, is denied.
Level: restricted, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted (Volume Types)
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Annotated, Final

from msgspec import Meta

from sekisho.controls.control import Check, Control, Level, ParameterError, Parameters
from sekisho.findings import Finding, render_value, words
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

VolumeKind = Annotated[str, Meta(pattern="^[A-Za-z]+$", max_length=64)]


class RestrictedVolumes(Parameters, frozen=True):
    """Of which kinds volumes may be."""

    allowed: (
        Annotated[tuple[VolumeKind, ...], Meta(description="Kinds of volume that are allowed.", max_length=64)] | None
    ) = None


def _standard(level: Level, _minor: int) -> RestrictedVolumes | None:
    return RestrictedVolumes(allowed=WITHIN_THE_CLUSTER) if level == "restricted" else None


def _check(parameters: Parameters, _minor: int) -> Check:
    assert isinstance(parameters, RestrictedVolumes)  # noqa: S101
    kinds = parameters.allowed or ()
    for index, kind in enumerate(kinds):
        if kind not in VOLUME_KINDS:
            hint = did_you_mean(kind, VOLUME_KINDS)
            raise ParameterError(f"allowed[{index}]", f"there is no kind of volume {kind!r}{hint}")
    sources_of = _all_of(tuple(VOLUME_KINDS[kind] for kind in kinds))
    none_set = (None,) * len(kinds)
    allowed = f"a volume of the kind {words(kinds)}" if kinds else "no volume"

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        volumes = pod.spec.volumes
        if not volumes:
            return []
        return [_of(index, volume, allowed) for index, volume in enumerate(volumes) if sources_of(volume) == none_set]

    return judge


def _all_of(attributes: tuple[str, ...]) -> Callable[[Volume], tuple[object, ...]]:
    """The values of the attributes, as a tuple whatever their number."""
    if len(attributes) > 1:
        return attrgetter(*attributes)
    return lambda volume: tuple(getattr(volume, attribute) for attribute in attributes)


def _of(index: int, volume: Volume, allowed: str) -> Finding:
    kinds = volume_kinds(volume)
    return Finding(
        control="restrictedVolumes",
        path=("spec", "volumes", index, *kinds[:1]),
        value="set" if kinds else "of an unknown kind",
        allowed=allowed,
        fix="use an allowed kind of volume, such as emptyDir or persistentVolumeClaim",
        subject=f"volume {render_value(volume.name)}",
    )


CONTROL = Control(
    "restrictedVolumes",
    "restricted volume types",
    "Volumes must be of the kinds that stay within the cluster's own storage, or that the policy allows.",
    RestrictedVolumes,
    _standard,
    _check,
    of_pod_only=True,
)
