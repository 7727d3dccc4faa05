"""Kyverno's `validate.podSecurity`: a level of the Pod Security Standards without some of its controls.

Without images, an exclusion is about the fields of the pod itself; with images, about those of containers.

Source: https://kyverno.io/docs/policy-types/cluster-policy/validate/#pod-security
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from sekisho.documents import Path
from sekisho.manifests.engines.images import exempt_images
from sekisho.manifests.engines.parts import Unknown
from sekisho.manifests.engines.waivers import Waived

_OF_POD: Final = {
    "Host Namespaces": "hostNamespaces",
    "HostPath Volumes": "hostPathVolumes",
    "Sysctls": "sysctls",
    "Volume Types": "restrictedVolumes",
}
_OF_CONTAINERS: Final = {
    "Privileged Containers": "privileged",
    "Capabilities": "capabilities",
    "Host Ports": "hostPorts",
    "/proc Mount Type": "procMount",
    "Privilege Escalation": "allowPrivilegeEscalation",
}
_OF_BOTH: Final = {
    "HostProcess": "windowsHostProcess",
    "SELinux": "seLinuxOptions",
    "AppArmor": "appArmorProfile",
    "Seccomp": "seccompProfile",
    "Running as Non-root": "runAsNonRoot",
    "Running as Non-root user": "runAsUser",
}
CONTROLS: Final = _OF_POD | _OF_CONTAINERS | _OF_BOTH
"""Our controls by Kyverno's names."""


class PodSecurity(Struct, frozen=True):
    """A standard, the controls that are off, what waivers exempt, and what cannot be translated."""

    standard: dict[str, Any]
    off: tuple[str, ...] = ()
    waived: tuple[Waived, ...] = ()
    unknown: tuple[Unknown, ...] = ()


def pod_security(rule: Mapping[str, Any], path: Path) -> PodSecurity:
    """Translate `validate.podSecurity`. An exclusion that cannot be translated is left out, which is stricter."""
    standard = {"level": str(rule.get("level", "")), "version": str(rule.get("version") or "latest")}
    by_control: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for index, exclusion in enumerate(rule.get("exclude") or ()):
        by_control.setdefault(str(exclusion.get("controlName")), []).append((index, exclusion))
    off: list[str] = []
    exempt: list[Waived | Unknown] = []
    for name, exclusions in by_control.items():
        control = CONTROLS.get(name)
        if control is not None and _is_off(name, [one for _, one in exclusions]):
            off.append(control)
            continue
        exempt += [exemption(one, (*path, "exclude", index)) for index, one in exclusions]
    waived = tuple(one for one in exempt if isinstance(one, Waived))
    return PodSecurity(standard, tuple(off), waived, tuple(one for one in exempt if isinstance(one, Unknown)))


def _is_off(name: str, exclusions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the exclusions together leave nothing of the control."""
    whole = [one for one in exclusions if not one.get("restrictedField") and not one.get("values")]
    of_pod = any(not one.get("images") for one in whole)
    of_containers = any("*" in (one.get("images") or ()) for one in whole)
    return (of_pod or name in _OF_CONTAINERS) and (of_containers or name in _OF_POD)


def exemption(one: Mapping[str, Any], path: Path) -> Waived | Unknown:
    """The waiver for one exclusion, or why there is none. `path`: the exclusion's in the document."""
    name = str(one.get("controlName"))
    control = CONTROLS.get(name)
    if control is None:
        return Unknown(f"there is no control {name!r}", path)
    if one.get("restrictedField") or one.get("values"):
        return Unknown("an exclusion of single fields and values; write a waiver with `values`", path)
    images = one.get("images") or ()
    if not images and name in _OF_POD:
        return Waived((control,), {}, f"{name} was excluded in Kyverno")
    if not images:
        return Unknown(f"{name} is excluded for the pod itself and not for its containers; a waiver cannot be", path)
    patterns, remarks, problems = [], [], []
    for image in map(str, images):
        try:
            written, further = exempt_images(image)
        except ValueError as error:
            problems.append(str(error))
        else:
            patterns += written
            remarks += further
    if problems:
        return Unknown(f"of the images that it excludes, {problems[0]}", (*path, "images"))
    return Waived(
        (control,), {"images": patterns}, f"{name} was excluded for these images in Kyverno", (), tuple(remarks)
    )
