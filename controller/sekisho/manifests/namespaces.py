"""What is known of namespaces, offline: their labels, from manifests of Namespaces and a file, and their objects."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from sekisho.admission import NO_OBJECTS, NamespaceObjects
from sekisho.documents import Document, Problem
from sekisho.manifests.objects import Manifest, read_manifests
from sekisho.manifests.passed_over import PassedOver
from sekisho.manifests.texts import Source
from sekisho.manifests.typed_files import documents_in
from sekisho.policies import CompiledPolicy, PolicyError

Labels = Mapping[str, str]
LabelsByNamespace = Mapping[str, Labels]

NOT_JUDGED: Final = "Sekisho does not judge its pods, because --exclude-namespace names it"
_NAME_LABEL: Final = "kubernetes.io/metadata.name"
"""The API server sets this label on every namespace."""
_MAYBE_NAMESPACE: Final = re.compile(r"\bNamespace(?:List)?\b")


class Namespaces:
    """The labels and objects of namespaces by name. An unknown namespace has only the label with its name."""

    def __init__(
        self,
        *known: LabelsByNamespace,
        objects: Mapping[str, NamespaceObjects] | None = None,
        exempt: Iterable[str] = (),
    ) -> None:
        """Labels by namespace; later ones are added to earlier ones, as `kubectl apply` does.

        objects: what changes the pods of a namespace, by its name; None is nothing for any.
        exempt: the namespaces whose pods the API server does not send to the webhook.
        """
        self.exempt = frozenset(exempt)
        self._objects = objects or {}
        self._known: dict[str, dict[str, str]] = {}
        for by_namespace in known:
            for name, labels in by_namespace.items():
                self._known[name] = {**self._known.get(name, {}), **labels, _NAME_LABEL: name}
        self._unknown: dict[str, Labels] = {}

    def labels(self, namespace: str) -> Labels:
        """The labels of a namespace."""
        known = self._known.get(namespace)
        if known is not None:
            return known
        return self._unknown.setdefault(namespace, {_NAME_LABEL: namespace})

    @property
    def read_as_unknown(self) -> tuple[str, ...]:
        """The unknown namespaces whose labels were read, in this order."""
        return tuple(self._unknown)

    def objects(self, namespace: str) -> NamespaceObjects:
        """The objects of a namespace that change its pods."""
        return self._objects.get(namespace, NO_OBJECTS)

    def __contains__(self, namespace: str) -> bool:
        return namespace in self._known


def read_namespace_labels(path: Path) -> dict[str, dict[str, str]]:
    """The labels of namespaces in a YAML or JSON file that maps names to labels. Raises PolicyError."""
    known: dict[str, dict[str, str]] = {}
    for document in documents_in(path):
        known |= _labels_by_name(document)
    return known


def _labels_by_name(document: Document) -> dict[str, dict[str, str]]:
    at: tuple[str, ...] = ()
    known: dict[str, dict[str, str]] = {}
    try:
        for name, labels in msgspec.convert(document.value, dict[str, Any]).items():
            at = (name,)
            known[name] = msgspec.convert(labels, dict[str, str])
    except msgspec.ValidationError:
        problem = "must map names of namespaces to labels, and labels to strings"
        raise PolicyError(Problem(document.location(at), problem)) from None
    return known


def labels_in(sources: Iterable[Source]) -> dict[str, Labels]:
    """The labels of the Namespaces among manifests. What cannot be read is ignored: checking it reports it."""
    maybe = (
        source
        for source in sources
        if (source.inherited or ("", ""))[1] == "Namespace" or _MAYBE_NAMESPACE.search(source.text)
    )
    return dict(_labels_of_namespaces(read_manifests(maybe)))


class _Meta(msgspec.Struct, frozen=True):
    name: str
    labels: dict[str, str] | None = None


def _labels_of_namespaces(manifests: Iterable[Manifest | Problem | PassedOver]) -> Iterable[tuple[str, Labels]]:
    for manifest in manifests:
        if isinstance(manifest, Manifest) and (manifest.group, manifest.kind) == ("", "Namespace"):
            try:
                meta = msgspec.convert(manifest.value.get("metadata"), _Meta)
            except msgspec.ValidationError:
                continue
            yield meta.name, meta.labels or {}


def policies_reading_labels(policies: Iterable[CompiledPolicy], namespace: str) -> list[str]:
    """The names of the policies whose verdict on a namespace's pods depends on the namespace's labels."""
    return [
        policy.name
        for policy in policies
        if (policy.selects_labels is not None or policy.for_labels is not None) and policy.selects_namespace(namespace)
    ]
