"""hostPathVolumes: a pod may not mount the node's file system, or only the folders that the policy allows.

Restricted fields: spec.volumes[*].hostPath, and with `readOnly` the volumeMounts of such volumes
Allowed values: unset, or a path at or below one of `allowed`, without `..`
Level: baseline, from v1.0; at restricted the control restrictedVolumes says the same and more
A hostPath behind a PersistentVolumeClaim cannot be seen in the pod, which names only the claim: who may create
PersistentVolumes decides about those.
Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#baseline (HostPath Volumes)
"""

from collections.abc import Sequence
from posixpath import normpath
from typing import Annotated

from msgspec import Meta, Struct

from sekisho.controls.control import Check, Control, Level, ParameterError, Parameters, of_container, remove, set_to
from sekisho.findings import Finding, render_value, words
from sekisho.pods import ContainerRef, Pod


class AllowedHostPath(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A folder of the node that pods may mount, with all below it."""

    path_prefix: Annotated[
        Annotated[str, Meta(pattern="^/", max_length=4096)],
        Meta(description="The folder, such as /var/log; /var/log-old is not below it."),
    ]
    read_only: Annotated[bool, Meta(description="Whether it may be mounted read-only only.")] = False

    def covers(self, path: str) -> bool:
        """Whether the path is the folder or lies below it."""
        prefix = self.path_prefix.rstrip("/")
        return ".." not in path.split("/") and (path == prefix or path.startswith(f"{prefix}/"))


class HostPathVolumes(Parameters, frozen=True):
    """Which folders of the node pods may mount."""

    allowed: (
        Annotated[tuple[AllowedHostPath, ...], Meta(description="Folders of the node that are allowed.", max_length=64)]
        | None
    ) = None


def _standard(level: Level, _minor: int) -> HostPathVolumes | None:
    return HostPathVolumes(allowed=()) if level == "baseline" else None


def _check(parameters: Parameters, _minor: int) -> Check:
    assert isinstance(parameters, HostPathVolumes)  # noqa: S101
    folders = parameters.allowed or ()
    allowed = words(["unset", *(f"below {folder.path_prefix}" for folder in folders)])

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        findings = []
        for index, volume in enumerate(pod.spec.volumes or ()):
            if volume.host_path is None:
                continue
            covering = [folder for folder in folders if folder.covers(volume.host_path.path)]
            if not covering:
                findings.append(_denied(index, volume.name, volume.host_path.path, allowed))
            elif all(folder.read_only for folder in covering):
                findings += _writable(volume.name, containers)
        return findings

    return judge


def _denied(index: int, name: str, path: str, allowed: str) -> Finding:
    field = ("spec", "volumes", index, "hostPath")
    return Finding(
        control="hostPathVolumes",
        path=field,
        value=render_value(path),
        allowed=allowed,
        fix="use another kind of volume, such as emptyDir or persistentVolumeClaim",
        subject=f"volume {render_value(name)}",
        change=remove(field),
    )


def _writable(name: str, containers: Sequence[ContainerRef]) -> list[Finding]:
    return [
        of_container(
            "hostPathVolumes",
            placed,
            ("volumeMounts", index, "readOnly"),
            mount.read_only,
            "true for this hostPath",
            "set it to true",
            set_to((*placed.path, "volumeMounts", index, "readOnly"), True),
        )
        for placed in containers
        for index, mount in enumerate(placed.container.volume_mounts or ())
        if mount.name == name and not mount.read_only
    ]


def _verify(given: Parameters) -> None:
    assert isinstance(given, HostPathVolumes)  # noqa: S101
    for index, folder in enumerate(given.allowed or ()):
        plain = normpath(folder.path_prefix)
        if folder.path_prefix.rstrip("/") != plain.rstrip("/"):
            message = f"{folder.path_prefix!r} is no plain path, so no path lies below it; write {plain!r}"
            raise ParameterError(f"allowed[{index}].pathPrefix", message)


CONTROL = Control(
    "hostPathVolumes",
    "a hostPath volume",
    "Pods may not mount the node's file system, or only folders that the policy allows.",
    HostPathVolumes,
    _standard,
    _check,
    verify=_verify,
)
