"""criSockets: a pod may not mount the socket of the container runtime, with which it would own the node.

Restricted fields: spec.volumes[*].hostPath.path
Allowed values: a path that is none of the sockets, and no folder that holds one
Level: none, a policy names it; where hostPathVolumes or restrictedVolumes hold, no hostPath is left to look at
"""

from collections.abc import Sequence
from posixpath import normpath
from typing import Annotated, Final

from msgspec import Meta

from sekisho.controls.control import Check, Control, Parameters, opt_in, remove
from sekisho.findings import Finding, render_value
from sekisho.pods import ContainerRef, Pod

SOCKETS: Final = (
    "/run/containerd/containerd.sock",
    "/run/cri-dockerd.sock",
    "/run/crio/crio.sock",
    "/run/docker.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/podman/podman.sock",
)


class CriSockets(Parameters, frozen=True):
    """Pods may not mount the container runtime's socket."""

    further_sockets: (
        Annotated[
            tuple[Annotated[str, Meta(pattern="^/", max_length=4096)], ...],
            Meta(description="Sockets on the node beside the well-known ones.", max_length=64),
        ]
        | None
    ) = None


def _check(parameters: Parameters, _minor: int) -> Check:
    assert isinstance(parameters, CriSockets)  # noqa: S101
    sockets = tuple(map(_normal, (*SOCKETS, *(parameters.further_sockets or ()))))

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        return [
            Finding(
                control="criSockets",
                path=("spec", "volumes", index, "hostPath", "path"),
                value=render_value(volume.host_path.path),
                allowed="a path that does not reach the container runtime's socket",
                fix="remove the volume, or mount a folder that does not hold the socket",
                subject=f"volume {render_value(volume.name)}",
                change=remove(("spec", "volumes", index)),
            )
            for index, volume in enumerate(pod.spec.volumes or ())
            if volume.host_path is not None and _reaches(_normal(volume.host_path.path), sockets)
        ]

    return judge


def _normal(path: str) -> str:
    """The path without `.`, `..` and doubled slashes; /var/run is a link to /run."""
    plain = "/" + normpath(path).lstrip("/")
    return plain.removeprefix("/var") if plain == "/var/run" or plain.startswith("/var/run/") else plain


def _reaches(path: str, sockets: Sequence[str]) -> bool:
    folder = path.rstrip("/") + "/"
    # A mount of /var shows the link /var/run, and not what it points to.
    return any(socket == path or socket.startswith(folder) for socket in sockets)


CONTROL = Control(
    "criSockets",
    "the container runtime's socket",
    "Pods may not mount the container runtime's socket, or a folder that holds it.",
    CriSockets,
    opt_in,
    _check,
    of_pod_only=True,
)
