"""csiDrivers: inline CSI volumes must use a driver that the policy allows.

Restricted fields: spec.volumes[*].csi.driver
Allowed values: a driver in `allowed`
A driver behind a PersistentVolumeClaim is not visible in the pod: its StorageClass or PersistentVolume names it.
Level: none; the control applies only where a policy names it
"""

from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.controls.volume_drivers import check_drivers
from sekisho.pods import Volume


class CsiDrivers(Parameters, frozen=True):
    """Which drivers inline CSI volumes may use."""

    allowed: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...],
            Meta(description="Drivers that are allowed, such as secrets-store.csi.k8s.io.", max_length=64),
        ]
        | None
    ) = None


def _check(parameters: CsiDrivers, _minor: int) -> Check:
    return check_drivers("csiDrivers", "csi", _driver_of, parameters.allowed or (), "no inline CSI volume")


def _driver_of(volume: Volume) -> str | None:
    return None if volume.csi is None else volume.csi.driver


CONTROL = Control(
    name="csiDrivers",
    reason="a CSI driver",
    summary="Inline CSI volumes must use a driver that the policy allows; without a list, none.",
    why="A pod passes options of its own to the driver, which runs privileged on the node. Many drivers do not expect "
    "options from tenants.",
    example=Example(
        parameters="{allowed: [secrets-store.csi.k8s.io]}",
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
volumes:
- name: share
  csi: {driver: smb.csi.k8s.io, volumeAttributes: {source: //files.example.com/share}}
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
volumes:
- name: secrets
  csi: {driver: secrets-store.csi.k8s.io, readOnly: true}
""",
    ),
    parameters=CsiDrivers,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
    unset={"allowed": "none"},
)
