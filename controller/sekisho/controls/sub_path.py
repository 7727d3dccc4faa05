"""subPath: containers may not mount a part of a volume.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].volumeMounts[*].{subPath,subPathExpr}
Allowed values: unset, empty
Level: none; the control applies only where a policy names it
Source: CVE-2017-1002101, CVE-2021-25741
"""

from collections.abc import Iterator, Sequence

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, remove
from sekisho.pods import ContainerRef, Pod


class SubPath(Parameters, frozen=True):
    """Containers may not mount a part of a volume."""


def _check(_parameters: SubPath, _minor: int) -> Check:
    return _judge


def _judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [finding for ref in containers if ref.container.volume_mounts for finding in _container_findings(ref)]


def _container_findings(ref: ContainerRef) -> Iterator[Finding]:
    for index, mount in enumerate(ref.container.volume_mounts or ()):
        for key, value in (("subPath", mount.sub_path), ("subPathExpr", mount.sub_path_expr)):
            if value:
                field = (*ref.path, "volumeMounts", index, key)
                yield Finding.of(
                    "subPath",
                    field,
                    value,
                    allowed="unset",
                    fix="remove it and mount the whole volume",
                    change=remove(field),
                    about=ref,
                )


CONTROL = Control(
    name="subPath",
    reason="a part of a volume",
    summary="Containers may not mount a part of a volume with subPath or subPathExpr.",
    why="The kubelet resolves the path in a volume that the pod can write to. Links there have led to the node's own "
    "files before.",
    example=Example(
        parameters="{}",
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  volumeMounts: [{name: data, mountPath: /data, subPath: app}]
volumes:
- name: data
  persistentVolumeClaim: {claimName: shared}
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  volumeMounts: [{name: data, mountPath: /data}]
volumes:
- name: data
  persistentVolumeClaim: {claimName: app}
""",
    ),
    parameters=SubPath,
    standard=opt_in,
    check=_check,
)
