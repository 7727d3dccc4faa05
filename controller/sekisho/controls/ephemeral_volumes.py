"""ephemeralVolumes: generic ephemeral volumes must use a storage class that the policy allows.

Restricted fields: spec.volumes[*].ephemeral.volumeClaimTemplate.spec.storageClassName
Allowed values: a class in `allowedStorageClasses`; unset means the cluster's default class, which must be named
Restricted fields: spec.volumes[*].ephemeral.volumeClaimTemplate.metadata.annotations
Allowed values: volume.beta.kubernetes.io/storage-class unset, or a class in `allowedStorageClasses`; where set, it
    decides in place of storageClassName
Restricted fields: spec.volumes[*].ephemeral.volumeClaimTemplate.spec.volumeName
Allowed values: unset, because a name chooses a PersistentVolume past its class
Level: none; the control applies only where a policy names it
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, words
from sekisho.pods import ClaimTemplate, ContainerRef, Pod

_CLASS = ("spec", "storageClassName")
_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


class EphemeralVolumes(Parameters, frozen=True):
    """Which storage classes generic ephemeral volumes may use."""

    allowed_storage_classes: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...],
            Meta(description="Storage classes that are allowed.", max_length=64),
        ]
        | None
    ) = None


def _check(parameters: EphemeralVolumes, _minor: int) -> Check:
    classes = parameters.allowed_storage_classes or ()
    allowed = words(classes) if classes else "no generic ephemeral volume"

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        findings: list[Finding] = []
        for index, volume in enumerate(pod.spec.volumes or ()):
            if volume.ephemeral is None:
                continue
            template = volume.ephemeral.volume_claim_template or ClaimTemplate()
            above = ("spec", "volumes", index, "ephemeral", "volumeClaimTemplate")
            field, storage_class = _storage_class(template)
            if storage_class not in classes:
                fix = "use an emptyDir or an allowed class"
                path = above + field
                findings.append(
                    Finding.of("ephemeralVolumes", path, storage_class, allowed=allowed, fix=fix, about=volume)
                )
            name = template.spec.volume_name
            if name:
                path = (*above, "spec", "volumeName")
                findings.append(
                    Finding.of("ephemeralVolumes", path, name, allowed="unset", fix="remove it", about=volume)
                )
        return findings

    return judge


def _storage_class(template: ClaimTemplate) -> tuple[tuple[str, ...], str | None]:
    """The field that decides the storage class, below the template, and its value."""
    annotated = (template.metadata.annotations or {}).get(_ANNOTATION)
    if annotated is not None:
        return ("metadata", "annotations", _ANNOTATION), annotated
    return _CLASS, template.spec.storage_class_name


CONTROL = Control(
    name="ephemeralVolumes",
    reason="a storage class",
    summary="Generic ephemeral volumes must use a storage class that the policy allows; without a list, none.",
    why="With such a volume, anyone who may create pods also creates PersistentVolumeClaims, without the right to, and "
    "chooses the storage.",
    example=Example(
        parameters="{allowedStorageClasses: [scratch]}",
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
volumes:
- name: work
  ephemeral:
    volumeClaimTemplate:
      spec: {storageClassName: fast, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
volumes:
- name: work
  ephemeral:
    volumeClaimTemplate:
      spec: {storageClassName: scratch, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
""",
    ),
    parameters=EphemeralVolumes,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
    unset={"allowedStorageClasses": "none"},
)
