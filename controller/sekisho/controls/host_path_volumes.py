"""hostPathVolumes: pods may not mount the node's file system, or only the folders that the policy allows.

Restricted fields: spec.volumes[*].hostPath, and with `readOnly` the volumeMounts of such volumes
Allowed values: unset, or a path at or below one of `allowed`, without `..`. Paths are compared as the node resolves
    them: /var/run is /run, /proc/1/root is /
Level: baseline, from v1.0; at restricted the control restrictedVolumes requires the same and more
A hostPath behind a PersistentVolumeClaim is not visible in the pod, which names only the claim: control who may create
PersistentVolumes.
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (HostPath Volumes)
"""

from collections.abc import Iterable, Iterator, Sequence
from posixpath import normpath
from typing import Annotated

from msgspec import Meta, Struct

from sekisho.controls.control import Check, Control, Example, Level, ParameterError, Parameters
from sekisho.findings import Finding, remove, set_to, words
from sekisho.paths import node_path
from sekisho.pods import ContainerRef, Pod, Volume


class AllowedHostPath(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A folder of the node that pods may mount, with everything below it."""

    path_prefix: Annotated[
        Annotated[str, Meta(pattern="^/", max_length=4096)],
        Meta(description="The folder, such as /var/log; /var/log-old is not below it."),
    ]
    read_only: Annotated[bool, Meta(description="Whether containers must mount it read-only.")] = False


class HostPathVolumes(Parameters, frozen=True):
    """Which folders of the node pods may mount."""

    allowed: (
        Annotated[tuple[AllowedHostPath, ...], Meta(description="Folders of the node that are allowed.", max_length=64)]
        | None
    ) = None


def _standard(level: Level, _minor: int) -> HostPathVolumes | None:
    return HostPathVolumes(allowed=()) if level == Level.BASELINE else None


def _check(parameters: HostPathVolumes, _minor: int) -> Check:
    folders = [(node_path(folder.path_prefix).rstrip("/") + "/", folder) for folder in parameters.allowed or ()]
    allowed = words(["unset", *(f"below {folder.path_prefix}" for _, folder in folders)])

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        findings: list[Finding] = []
        must_be_read_only: set[str] = set()
        for index, volume in enumerate(pod.spec.volumes or ()):
            if volume.host_path is None:
                continue
            covering = _covering(folders, volume.host_path.path)
            if not covering:
                findings.append(_not_allowed(index, volume, volume.host_path.path, allowed))
            elif all(folder.read_only for folder in covering):
                must_be_read_only.add(volume.name)
        if must_be_read_only:
            findings += _writable_mounts(must_be_read_only, containers)
        return findings

    return judge


def _covering(folders: Sequence[tuple[str, AllowedHostPath]], path: str) -> list[AllowedHostPath]:
    """The folders that have the path, each with its own path as the node resolves it and a slash at its end."""
    if not folders or ".." in path.split("/"):
        return []
    resolved = node_path(path) + "/"
    return [folder for prefix, folder in folders if resolved.startswith(prefix)]


def _not_allowed(index: int, volume: Volume, path: str, allowed: str) -> Finding:
    field = ("spec", "volumes", index, "hostPath")
    return Finding.of(
        "hostPathVolumes",
        field,
        path,
        allowed=allowed,
        fix="use another kind of volume, such as emptyDir or persistentVolumeClaim",
        change=remove(field),
        about=volume,
    )


def _writable_mounts(volumes: set[str], containers: Iterable[ContainerRef]) -> Iterator[Finding]:
    for ref in containers:
        for index, mount in enumerate(ref.container.volume_mounts or ()):
            if mount.name in volumes and not mount.read_only:
                field = (*ref.path, "volumeMounts", index, "readOnly")
                yield Finding.of(
                    "hostPathVolumes",
                    field,
                    mount.read_only,
                    allowed="true for this hostPath",
                    fix="set it to true",
                    change=set_to(field, True),
                    about=ref,
                )


def _verify(parameters: HostPathVolumes) -> None:
    for index, folder in enumerate(parameters.allowed or ()):
        plain = normpath(folder.path_prefix)
        if folder.path_prefix.rstrip("/") != plain.rstrip("/"):
            message = f"{folder.path_prefix!r} is not a plain path, so no path is below it; write {plain!r}"
            raise ParameterError(f"allowed[{index}].pathPrefix", message)


CONTROL = Control(
    name="hostPathVolumes",
    reason="a hostPath volume",
    summary="Pods may not mount the node's file system, or only folders that the policy allows.",
    why="A pod that mounts the node's files reads the credentials of the kubelet and of other pods, and with write "
    "access it controls the node.",
    example=Example(
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  volumeMounts: [{name: data, mountPath: /data}]
volumes:
- name: data
  hostPath: {path: /var/lib/app}
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
    parameters=HostPathVolumes,
    standard=_standard,
    check=_check,
    verify=_verify,
    unset={"allowed": "none", "allowed[].readOnly": "`false`"},
)
