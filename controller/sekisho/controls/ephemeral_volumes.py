"""ephemeralVolumes: generic ephemeral volumes must use a storage class that the policy allows.

Restricted fields: spec.volumes[*].ephemeral.volumeClaimTemplate.spec.storageClassName
Allowed values: a class in `allowedStorageClasses`; unset means the cluster's default class, which must be named
Level: none, a policy names it
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, words
from sekisho.pods import ContainerRef, EphemeralVolume, Pod

_CLASS = ("volumeClaimTemplate", "spec", "storageClassName")


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
        return [
            Finding.of(
                "ephemeralVolumes",
                ("spec", "volumes", index, "ephemeral", *_CLASS),
                _storage_class(volume.ephemeral),
                allowed=allowed,
                fix="use an emptyDir or an allowed class",
                about=volume,
            )
            for index, volume in enumerate(pod.spec.volumes or ())
            if volume.ephemeral is not None and _storage_class(volume.ephemeral) not in classes
        ]

    return judge


def _storage_class(volume: EphemeralVolume) -> str | None:
    template = volume.volume_claim_template
    return None if template is None else template.spec.storage_class_name


CONTROL = Control(
    name="ephemeralVolumes",
    reason="a storage class",
    summary="Generic ephemeral volumes must use a storage class that the policy allows; without a list, none.",
    why="With such a volume, who may create pods creates PersistentVolumeClaims too, without the right to do so, and "
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
)
