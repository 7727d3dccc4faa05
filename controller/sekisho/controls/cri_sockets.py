"""criSockets: pods may not mount the socket of the container runtime.

Restricted fields: spec.volumes[*].hostPath.path
Allowed values: a path that is not one of the sockets and not a folder that holds one. /proc holds them, because the
    root of every process is in it. Paths are compared as the node resolves them: /var/run is /run, /proc/1/root is /
Level: none; the control applies only where a policy names it. It adds nothing where
    hostPathVolumes or restrictedVolumes deny every hostPath
"""

from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, remove
from sekisho.paths import node_path, process_folder
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
            Meta(description="Sockets on the node in addition to the well-known ones.", max_length=64),
        ]
        | None
    ) = None


def _check(parameters: CriSockets, _minor: int) -> Check:
    sockets = tuple(map(node_path, (*SOCKETS, *(parameters.further_sockets or ()))))

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        return [
            Finding.of(
                "criSockets",
                ("spec", "volumes", index, "hostPath", "path"),
                volume.host_path.path,
                allowed="a path that does not reach the container runtime's socket",
                fix="use another kind of volume, or a folder that does not hold the socket",
                change=remove(("spec", "volumes", index, "hostPath")),
                about=volume,
            )
            for index, volume in enumerate(pod.spec.volumes or ())
            if volume.host_path is not None and _reaches(node_path(volume.host_path.path), sockets)
        ]

    return judge


def _reaches(path: str, sockets: Sequence[str]) -> bool:
    folder = path.rstrip("/") + "/"
    # A mount of /var shows the link /var/run, not the folder that it points to.
    return process_folder(path) or any(socket == path or socket.startswith(folder) for socket in sockets)


CONTROL = Control(
    name="criSockets",
    reason="the container runtime's socket",
    summary="Pods may not mount the container runtime's socket, or a folder that holds it.",
    why="Anyone who can write to the socket can start privileged containers on the node without the API server.",
    example=Example(
        parameters="{}",
        denied="""\
containers:
- name: builder
  image: registry.example.com/builder:1.4
  volumeMounts: [{name: docker, mountPath: /var/run/docker.sock}]
volumes:
- name: docker
  hostPath: {path: /var/run/docker.sock}
""",
        allowed="""\
containers:
- name: builder
  image: registry.example.com/builder:1.4
  volumeMounts: [{name: work, mountPath: /work}]
volumes:
- name: work
  emptyDir: {}
""",
    ),
    parameters=CriSockets,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
    unset={"furtherSockets": "none"},
)
