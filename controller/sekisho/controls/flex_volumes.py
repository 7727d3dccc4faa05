"""flexVolumes: FlexVolumes must use a driver that the policy allows.

Restricted fields: spec.volumes[*].flexVolume.driver
Allowed values: a driver in `allowed`
Kubernetes deprecates FlexVolumes in favour of CSI. A driver behind a PersistentVolumeClaim is not visible in the pod.
Level: none; the control applies only where a policy names it; restrictedVolumes denies every FlexVolume
"""

from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.controls.volume_drivers import check_drivers
from sekisho.pods import Volume


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
    return check_drivers("flexVolumes", "flexVolume", _driver_of, parameters.allowed or (), "no FlexVolume")


def _driver_of(volume: Volume) -> str | None:
    return None if volume.flex_volume is None else volume.flex_volume.driver


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
    unset={"allowed": "none"},
)
