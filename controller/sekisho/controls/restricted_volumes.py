"""restrictedVolumes: volumes are of the kinds that stay within the cluster's own storage.

Restricted fields: spec.volumes[*]
Allowed values: configMap, csi, downwardAPI, emptyDir, ephemeral, image, persistentVolumeClaim, projected, secret
A volume of any other kind, one that is not known here included, is refused.
Level: restricted, from v1.0
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted (Volume Types)
"""

from collections.abc import Sequence

import msgspec

from sekisho.controls.control import Check, Control, Level, Parameters
from sekisho.findings import Finding, render_value, words
from sekisho.pods import Placed, Pod, Volume

_ALLOWED = (
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
_ATTRIBUTES = {field.encode_name: field.name for field in msgspec.structs.fields(Volume) if field.encode_name != "name"}
_GOOD = tuple(_ATTRIBUTES[kind] for kind in _ALLOWED)


class RestrictedVolumes(Parameters, frozen=True):
    """Volumes must be of the kinds that stay within the cluster's own storage."""


def _standard(level: Level, _minor: int) -> RestrictedVolumes | None:
    return RestrictedVolumes() if level == "restricted" else None


def _check(_parameters: Parameters, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, _containers: Sequence[Placed]) -> list[Finding]:
    volumes = pod.spec.volumes
    return [_of(index, volume) for index, volume in enumerate(volumes) if not _is_good(volume)] if volumes else []


def _is_good(volume: Volume) -> bool:
    return any(getattr(volume, attribute) is not None for attribute in _GOOD)


def _of(index: int, volume: Volume) -> Finding:
    kind = next((key for key, name in _ATTRIBUTES.items() if getattr(volume, name) is not None), None)
    return Finding(
        control="restrictedVolumes",
        path=("spec", "volumes", index, *(() if kind is None else (kind,))),
        value="set" if kind is not None else "of an unknown kind",
        allowed=f"a volume of the kind {words(_ALLOWED)}",
        fix="use an allowed kind of volume, such as emptyDir or persistentVolumeClaim",
        subject=f"volume {render_value(volume.name)}",
    )


CONTROL = Control(
    "restrictedVolumes",
    "restricted volume types",
    "Volumes must be of the kinds that stay within the cluster's own storage.",
    RestrictedVolumes,
    _standard,
    _check,
)
