"""hostPathVolumes: a pod may not mount the node's file system.

Restricted fields: spec.volumes[*].hostPath
Allowed values: unset
Level: baseline, from v1.0; at restricted the control restrictedVolumes says the same and more
A hostPath behind a PersistentVolumeClaim cannot be seen in the pod, which names only the claim: who may create
PersistentVolumes decides about those.
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (HostPath Volumes)
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Level, Parameters, remove
from sekisho.findings import Finding, render_value
from sekisho.pods import Placed, Pod


class HostPathVolumes(Parameters, frozen=True):
    """Pods may not mount the node's file system."""


def _standard(level: Level, _minor: int) -> HostPathVolumes | None:
    return HostPathVolumes() if level == "baseline" else None


def _check(_parameters: Parameters, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, _containers: Sequence[Placed]) -> list[Finding]:
    return [
        Finding(
            control="hostPathVolumes",
            path=("spec", "volumes", index, "hostPath"),
            value=render_value(volume.host_path.path),
            allowed="unset",
            fix="use another kind of volume, such as emptyDir or persistentVolumeClaim",
            subject=f"volume {render_value(volume.name)}",
            change=remove(("spec", "volumes", index, "hostPath")),
        )
        for index, volume in enumerate(pod.spec.volumes or ())
        if volume.host_path is not None
    ]


CONTROL = Control(
    "hostPathVolumes",
    "a hostPath volume",
    "Pods may not mount the node's file system.",
    HostPathVolumes,
    _standard,
    _check,
)
