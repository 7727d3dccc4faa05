"""Objects of unknown kinds that seem to have pods: their pods cannot be checked offline, and that must be said."""

from collections.abc import Iterator
from typing import Any, Final

from sekisho.custom_kinds import COMPOSED_KINDS, CUSTOM_KINDS
from sekisho.documents import Path, Problem
from sekisho.findings import render_path
from sekisho.manifests.objects import Manifest
from sekisho.pods import POD_TEMPLATES
from sekisho.spelling import did_you_mean

MAX_DEPTH: Final = 12
"""Levels below `spec` at which containers are searched."""
_LISTS: Final = ("containers", "initContainers", "steps", "sidecars")
_SINGLE: Final = ("container", "script")
"""Names of fields that have containers: those of pods, of Tekton's Tasks and of Argo's Workflows."""


_WITHOUT_PODS: Final = {
    "": frozenset(
        {
            *("Binding", "ComponentStatus", "ConfigMap", "Endpoints", "Event", "LimitRange", "Namespace", "Node"),
            *("PersistentVolume", "PersistentVolumeClaim", "ResourceQuota", "Secret", "Service", "ServiceAccount"),
            *("List", "Status", "Config", "Template"),  # Config is that of kubectl, Template one of OpenShift
        }
    ),
    "apps": frozenset({"ControllerRevision"}),
    "batch": frozenset(),
    "extensions": frozenset({"Ingress", "NetworkPolicy", "PodSecurityPolicy"}),
}
"""The kinds without pods in the groups of Kubernetes' own workloads; any other kind there is misspelt."""


_KNOWN: Final = (*POD_TEMPLATES, *CUSTOM_KINDS, *COMPOSED_KINDS)
"""Groups and kinds whose pods are judged."""


def unknown_workload(manifest: Manifest) -> Iterator[Problem]:
    """A note on an object of an unknown kind that may have pods, at most one.

    It has containers somewhere below `spec`, or its group is one of Kubernetes' own and has no such kind.
    """
    group, kind = manifest.group, manifest.kind
    path = _containers(manifest.value.get("spec"), ("spec",))
    without_pods = _WITHOUT_PODS.get(group)
    if path is None and (without_pods is None or kind in without_pods):
        return
    groups = [known for known, known_kind in _KNOWN if known_kind == kind]
    hint = f"; did you mean {kind} of {groups[0]}?" if groups else did_you_mean(kind, _kinds_of(group))
    location = manifest.document.location(manifest.at)
    unchecked = f", so {render_path(path)} was not checked" if path is not None else ""
    which = "with pods that Sekisho knows" if unchecked else "of that group"
    yield Problem(location, f"{kind} of {group or 'v1'} is not a kind {which}{unchecked}{hint}")


def _kinds_of(group: str) -> list[str]:
    own = [kind for known, kind in (*_KNOWN, ("", "Pod")) if known == group]
    return [*own, *_WITHOUT_PODS.get(group, ())]


def _containers(value: Any, path: Path) -> Path | None:
    """The path of the first list of containers, or of a single one: an object with an image, as in Argo's Workflows."""
    if len(path) > MAX_DEPTH:
        return None
    if isinstance(value, dict):
        for key in _LISTS:
            containers = value.get(key)
            if isinstance(containers, list) and any(isinstance(one, dict) and "image" in one for one in containers):
                return (*path, key)
        for key in _SINGLE:
            if isinstance(value.get(key), dict) and isinstance(value[key].get("image"), str):
                return (*path, key)
        below = value.items()
    elif isinstance(value, list):
        below = enumerate(value)  # type: ignore[assignment]
    else:
        return None
    return next((containers for key, one in below if (containers := _containers(one, (*path, key))) is not None), None)
