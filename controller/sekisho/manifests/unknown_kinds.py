"""Objects of unknown kinds that seem to have pods: their pods cannot be checked offline, and that must be said."""

from collections.abc import Iterator
from typing import Any, Final

from sekisho.documents import Path, Problem
from sekisho.findings import render_path
from sekisho.manifests.objects import Manifest
from sekisho.pods import POD_TEMPLATES
from sekisho.spelling import did_you_mean

MAX_DEPTH: Final = 12
"""Levels below `spec` at which containers are searched."""


def unknown_workload(manifest: Manifest) -> Iterator[Problem]:
    """A note on an object of an unknown kind that has a list of containers somewhere below `spec`, at most one."""
    path = _containers(manifest.value.get("spec"), ("spec",))
    if path is None:
        return
    group, kind = manifest.group or "v1", manifest.kind
    groups = [known for known, known_kind in POD_TEMPLATES if known_kind == kind]
    hint = f"; did you mean {kind} of {groups[0]}?" if groups else did_you_mean(kind, _kinds_of(manifest.group))
    place = manifest.document.place(manifest.at)
    yield Problem(
        place,
        f"{kind} of {group} is not a kind with pods that Sekisho knows, so {render_path(path)} was not checked{hint}",
    )


def _kinds_of(group: str) -> list[str]:
    return [kind for known, kind in (*POD_TEMPLATES, ("", "Pod")) if known == group]


def _containers(value: Any, path: Path) -> Path | None:
    """The path of the first list of containers: objects with a name or an image."""
    if len(path) > MAX_DEPTH:
        return None
    if isinstance(value, dict):
        containers = value.get("containers")
        if isinstance(containers, list) and any(isinstance(one, dict) and "image" in one for one in containers):
            return (*path, "containers")
        below = value.items()
    elif isinstance(value, list):
        below = enumerate(value)  # type: ignore[assignment]
    else:
        return None
    return next((containers for key, one in below if (containers := _containers(one, (*path, key))) is not None), None)
