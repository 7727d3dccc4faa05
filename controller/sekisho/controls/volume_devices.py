"""volumeDevices: containers may not use raw block devices.

Restricted fields: spec.{containers,initContainers,ephemeralContainers}[*].volumeDevices[*]
Allowed values: none
Level: none; the control applies only where a policy names it
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, remove
from sekisho.pods import ContainerRef, Pod


class VolumeDevices(Parameters, frozen=True):
    """Containers may not use raw block devices."""


def _check(_parameters: VolumeDevices, _minor: int) -> Check:
    return _judge


def _judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [
        Finding.of(
            "volumeDevices",
            (*ref.path, "volumeDevices", index, "name"),
            device.name,
            allowed="no raw block device",
            fix="mount the volume with volumeMounts",
            change=remove((*ref.path, "volumeDevices", index)),
            about=ref,
        )
        for ref in containers
        for index, device in enumerate(ref.container.volume_devices or ())
    ]


CONTROL = Control(
    name="volumeDevices",
    reason="a raw block device",
    summary="Containers may not use raw block devices.",
    why="A container that writes to a device can prepare a damaged file system for the kernel of a node to mount.",
    example=Example(
        parameters="{}",
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  volumeDevices: [{name: data, devicePath: /dev/data}]
volumes:
- name: data
  persistentVolumeClaim: {claimName: app}
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
    parameters=VolumeDevices,
    standard=opt_in,
    check=_check,
)
