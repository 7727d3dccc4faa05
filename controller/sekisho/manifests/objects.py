"""The Kubernetes objects in a document, and the pod that each is or makes: the one extractor for all kinds."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from sekisho.pods import POD_TEMPLATES, Pod, Workload, pod_template
from sekisho.policies import Document, Problem, parse_path
from sekisho.policies.documents import Path

_POD = ("", "Pod")


class Manifest(Struct, frozen=True):
    """One object: its value, and its path in the document, which is not empty for the items of a list."""

    document: Document
    at: Path
    value: dict[str, Any]
    group: str
    kind: str

    @property
    def pod_path(self) -> tuple[str, ...] | None:
        """Where the object keeps its pod or pod template: empty for a pod, None for an object without either."""
        key = (self.group, self.kind)
        return () if key == _POD else POD_TEMPLATES.get(key)


class JudgedObject(Struct, frozen=True):
    """An object that is a pod or makes pods, typed. `pod` is None for a workload without a template."""

    manifest: Manifest
    namespace: str
    name: str
    pod: Pod | None
    pod_path: tuple[str, ...]


def manifests_of(document: Document) -> Iterator[Manifest | Problem]:
    """The objects of a document, those of lists one by one; a problem for what is no object."""
    yield from _objects(document, (), document.value, "", "")


def _objects(document: Document, at: Path, value: Any, api_version: Any, kind: Any) -> Iterator[Manifest | Problem]:
    if isinstance(value, dict):
        api_version, kind = value.get("apiVersion") or api_version, value.get("kind") or kind
    if not isinstance(value, dict) or not isinstance(kind, str) or not isinstance(api_version, str):
        yield Problem(document.place(at), "is not a Kubernetes object: it needs apiVersion and kind")
        return
    if not kind or not api_version:
        yield Problem(document.place(at), "is not a Kubernetes object: it needs apiVersion and kind")
        return
    items = value.get("items")
    if not kind.endswith("List") or not isinstance(items, list):
        yield Manifest(document, at, value, api_version.rpartition("/")[0], kind)
        return
    # As in kubectl, the items of a typed list such as PodList may leave out what the list says.
    inherited = (api_version, kind.removesuffix("List")) if kind != "List" else ("", "")
    for index, item in enumerate(items):
        yield from _objects(document, (*at, "items", index), item, *inherited)


def judged_object(manifest: Manifest, namespace: str) -> JudgedObject | Problem | None:
    """The object typed, None for one without pods; `namespace` is that of objects which name none."""
    path = manifest.pod_path
    if path is None:
        return None
    try:
        workload = msgspec.convert(manifest.value, Workload)
    except (msgspec.ValidationError, RecursionError) as error:
        return _misfit(manifest, error)
    meta = workload.metadata
    pod = pod_template(workload, path) if path else workload
    return JudgedObject(manifest, meta.namespace or namespace, meta.name or meta.generate_name or "", pod, path)


def _misfit(manifest: Manifest, error: Exception) -> Problem:
    """msgspec says `what - at `$.path``; the path goes in front."""
    text, _, field = str(error).rpartition(" - at `$")
    field = field.strip(".`")
    place = manifest.document.place(manifest.at + parse_path(field))
    return Problem(place, f"{field}: {text}" if text else str(error))
