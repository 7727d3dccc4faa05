"""flexVolumes: FlexVolumes must use a driver that the policy allows.

Restricted fields: spec.volumes[*].flexVolume.driver
Allowed values: a driver in `allowed`
Kubernetes deprecates FlexVolumes in favour of CSI. A driver behind a PersistentVolumeClaim is not visible in the pod.
Level: none, a policy names it; restrictedVolumes denies every FlexVolume
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, remove, words
from sekisho.pods import ContainerRef, Pod


class FlexVolumes(Parameters, frozen=True):
    """Which drivers FlexVolumes may use."""

    allowed: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...],
            Meta(description="Drivers that are allowed, such as example.com/cifs.", max_length=64),
        ]
        | None
    ) = None


def _check(parameters: FlexVolumes, _minor: int) -> Check:
    drivers = parameters.allowed or ()
    allowed = words(drivers) if drivers else "no FlexVolume"

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        return [
            Finding.of(
                "flexVolumes",
                ("spec", "volumes", index, "flexVolume", "driver"),
                volume.flex_volume.driver,
                allowed=allowed,
                fix="use another kind of volume or an allowed driver",
                change=remove(("spec", "volumes", index, "flexVolume")),
                about=volume,
            )
            for index, volume in enumerate(pod.spec.volumes or ())
            if volume.flex_volume is not None and volume.flex_volume.driver not in drivers
        ]

    return judge


CONTROL = Control(
    name="flexVolumes",
    reason="a FlexVolume driver",
    summary="FlexVolumes must use a driver that the policy allows; without a list, none.",
    why="The driver is a program that the kubelet runs as root on the node, with options from the pod.",
    example=Example(
        parameters="{allowed: [example.com/cifs]}",
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
volumes:
- name: share
  flexVolume: {driver: example.com/lvm, options: {volumeID: vol-1}}
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
volumes:
- name: share
  flexVolume: {driver: example.com/cifs, options: {networkPath: //files.example.com/share}}
""",
    ),
    parameters=FlexVolumes,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
)
