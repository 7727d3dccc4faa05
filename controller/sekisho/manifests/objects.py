"""From texts to Kubernetes objects, and to the pod that an object is or makes."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from sekisho.admission.bounds import pod_excess, workload_excess
from sekisho.admission.custom_pods import UnreadablePodError, typed_pod, unknown_containers_of
from sekisho.admission.nulls import with_volume_sources, without_nulls
from sekisho.custom_kinds import CUSTOM_KINDS, MadePod, Part, PartError, Places, PodKinds, pods_made_by
from sekisho.documents import Document, DocumentError, Path, Problem, parse_path, problem_of, read_documents
from sekisho.findings import render_path
from sekisho.manifests.passed_over import RENDER_FIRST, PassedOver, is_template, reason_of_unreadable, reason_of_value
from sekisho.manifests.texts import Source
from sekisho.pods import POD_TEMPLATES, ObjectMeta, Pod, TemplatePath, Workload, WorkloadMeta, pod_template

T = TypeVar("T", bound=Pod)
_POD = ("", "Pod")


class Manifest(Struct, frozen=True):
    """One object: its value, and its path in the document, which is empty unless it is an item of a list."""

    document: Document
    at: Path
    value: dict[str, Any]
    group: str
    kind: str

    @property
    def pod_path(self) -> TemplatePath | None:
        """Where an object of Kubernetes' own kinds has its pod or template: empty for a pod, None for other objects."""
        key = (self.served_group, self.kind)
        return () if key == _POD else POD_TEMPLATES.get(key)

    @property
    def served_group(self) -> str:
        """The group that has the kind today: Deployments and others were in `extensions` before Kubernetes 1.16."""
        return "apps" if self.group == "extensions" else self.group


class JudgedObject(Struct, frozen=True):
    """An object that is a pod or makes pods, typed.

    pod: None for a workload without a template.
    made: where the fields of the pod are written in the object, and what is left out of it.
    annotations: those of the object with the template; None for none, and for a pod.
    workload: the object itself, None for a pod.
    """

    manifest: Manifest
    namespace: str
    name: str
    pod: Pod | None
    made: MadePod
    annotations: dict[str, str] | None = None
    workload: WorkloadMeta | None = None


def read_objects(
    sources: Iterable[Source], namespace: str, kinds: PodKinds = CUSTOM_KINDS
) -> Iterator[JudgedObject | Manifest | Problem | PassedOver]:
    """The objects in texts, typed if they have pods; a Manifest for others; a Problem for what cannot be read.

    namespace: the namespace of objects that set none.
    kinds: those of others that have pod templates. An object with several templates is yielded for each of them.
    """
    for manifest in read_manifests(sources):
        if isinstance(manifest, Manifest):
            yield from judged_objects(manifest, namespace, kinds) or (manifest,)
        else:
            yield manifest


def read_manifests(sources: Iterable[Source]) -> Iterator[Manifest | Problem | PassedOver]:
    """The objects in texts, those of lists one by one, and a Problem for whatever cannot be read.

    What is not an object is passed over in a file that is not named itself.
    """
    for source in sources:
        for document in documents_of(source):
            if isinstance(document, Problem):
                yield passed_over(source) or document
                continue
            for manifest in manifests_of(document, source.inherited):
                if isinstance(manifest, Problem):
                    yield passed_over(source, document) or manifest
                else:
                    yield manifest


def passed_over(source: Source, document: Document | None = None) -> PassedOver | None:
    """What is passed over of a text that holds no object; None where that is a problem.

    document: the one that is not an object, None where the text cannot be read.
    """
    if source.is_named:
        return None
    reason = reason_of_unreadable(source.text) if document is None else reason_of_value(document.value)
    return None if reason is None else PassedOver(source.file, reason)


def documents_of(source: Source) -> Iterator[Document | Problem]:
    """The documents of a text; a Problem for the first that cannot be read, which is the last."""
    try:
        yield from read_documents(source.text, source.file, source.first_line, source.origin)
    except DocumentError as error:
        problem = error.problem
        is_for_helm = is_template(source.text)
        yield Problem(problem.where, f"{problem.message}; a template? {RENDER_FIRST}") if is_for_helm else problem


def manifests_of(document: Document, inherited: tuple[str, str] | None = None) -> Iterator[Manifest | Problem]:
    """The objects of a document, those of lists one by one; a Problem for a value that is not an object.

    inherited: see Source; None for a whole document.
    """
    if inherited is None:
        yield from _objects(document, (), document.value, "", "")
    else:
        yield from _items(document, (), document.value, *inherited)


def _objects(document: Document, at: Path, value: Any, api_version: str, kind: str) -> Iterator[Manifest | Problem]:
    if isinstance(value, dict):
        api_version, kind = value.get("apiVersion") or api_version, value.get("kind") or kind
    is_typed = isinstance(kind, str) and kind and isinstance(api_version, str) and api_version
    if not isinstance(value, dict) or not is_typed:
        yield Problem(document.location(at), "is not a Kubernetes object: it needs apiVersion and kind")
        return
    items = value.get("items")
    if not kind.endswith("List") or not isinstance(items, list):
        yield Manifest(document, at, value, api_version.rpartition("/")[0], kind)
        return
    # As in kubectl, the items of a typed list such as PodList may leave out apiVersion and kind.
    inherited = (api_version, kind.removesuffix("List")) if kind != "List" else ("", "")
    yield from _items(document, (*at, "items"), items, *inherited)


def _items(document: Document, at: Path, items: list[Any], *inherited: str) -> Iterator[Manifest | Problem]:
    for index, item in enumerate(items):
        yield from _objects(document, (*at, index), item, *inherited)


def judged_objects(manifest: Manifest, namespace: str, kinds: PodKinds = CUSTOM_KINDS) -> list[JudgedObject | Problem]:
    """The object typed, for each pod that it is or makes; empty for one without pods.

    namespace: the namespace of objects that set none.
    kinds: those of others that have pod templates.
    """
    if manifest.pod_path is not None:
        return [_kubernetes_object(manifest, manifest.pod_path, namespace)]
    try:
        pods = pods_made_by(manifest.value, manifest.group, manifest.kind, kinds)
    except PartError as error:
        return [_misfit(manifest, error, Part(None, Places(error.path)))]
    except RecursionError as error:
        return [_misfit(manifest, error)]
    if pods is None:
        return []
    return [_custom_object(manifest, pod, namespace) for pod in pods] or [_without_template(manifest, namespace)]


def _kubernetes_object(manifest: Manifest, path: TemplatePath, namespace: str) -> JudgedObject | Problem:
    try:
        workload = _typed(manifest.value, path, Workload)
    except (msgspec.ValidationError, RecursionError) as error:
        return _misfit(manifest, error)
    meta = workload.metadata
    pod = pod_template(workload, manifest.served_group, manifest.kind) if path else workload
    own = WorkloadMeta(manifest.kind, meta) if path else None
    template: Any = manifest.value
    for part in path:
        template = (template or {}).get(part)
    return _bounded(manifest, MadePod(Part(template, Places(path))), meta, pod, namespace, own)


def _custom_object(manifest: Manifest, made: MadePod, namespace: str) -> JudgedObject | Problem:
    """The object with one of its pods."""
    try:
        meta = _meta(manifest)
        pod = typed_pod(made, manifest.kind, meta)
    except UnreadablePodError as error:
        return Problem(manifest.document.location(manifest.at + error.path), str(error))
    except (msgspec.ValidationError, RecursionError) as error:
        return _misfit(manifest, error)
    return _bounded(manifest, made, meta, pod, namespace, None)


def _without_template(manifest: Manifest, namespace: str) -> JudgedObject | Problem:
    try:
        meta = _meta(manifest)
    except (msgspec.ValidationError, RecursionError) as error:
        return _misfit(manifest, error)
    return _bounded(manifest, MadePod(Part({}, Places(()))), meta, None, namespace, None)


def _meta(manifest: Manifest) -> ObjectMeta:
    return msgspec.convert(without_nulls({"metadata": manifest.value.get("metadata") or {}}), _Described).metadata


class _Described(Struct, frozen=True):
    metadata: ObjectMeta


def _bounded(
    manifest: Manifest, made: MadePod, meta: ObjectMeta, pod: Pod | None, namespace: str, own: WorkloadMeta | None
) -> JudgedObject | Problem:
    """The object, or why its pods are denied without being judged."""
    excess = (pod_excess(pod) if pod is not None else "") or (workload_excess(own) if own is not None else "")
    excess = excess or ("" if pod is None else unknown_containers_of(made.pod))
    if excess:
        return unjudged(manifest, excess)
    name = meta.name or meta.generate_name or ""
    annotations = meta.annotations if made.pod.place else None
    return JudgedObject(manifest, meta.namespace or namespace, name, pod, made, annotations, own)


def unjudged(manifest: Manifest, reason: str) -> Problem:
    """The problem of an object whose pods the webhook denies without judging them; `reason` is a clause."""
    return Problem(manifest.document.location(manifest.at), f"cannot be judged, so its pods are denied: {reason}")


def _typed(value: dict[str, Any], path: TemplatePath, kind: type[T]) -> T:
    """The object typed, whose pod or template is at the path. Null may stand for a field that is unset."""
    value = with_volume_sources(value, (*path, "spec"))
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        without = without_nulls(value)
        if without == value:
            raise
        return msgspec.convert(without, kind)


def _misfit(manifest: Manifest, error: Exception, of: Part | None = None) -> Problem:
    """The problem of an object with a field of the wrong type; `of` is what was read, None for the whole object."""
    problem = problem_of(error)
    path = parse_path(problem.where)
    path = path if of is None else of.place_of(path)
    return Problem(manifest.document.location(manifest.at + path), str(Problem(render_path(path), problem.message)))
