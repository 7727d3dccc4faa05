"""The JSON patch that applies defaults to a pod, and the annotation that says which policy set which fields."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from sekisho.admission.changed_images import ChangedImage
from sekisho.findings import render_path
from sekisho.pods import DEFAULTED_ANNOTATION, ObjectMeta, Pod
from sekisho.policies import Default

ANNOTATION: Final = DEFAULTED_ANNOTATION
MAX_ANNOTATIONS: Final = 256 * 1024
"""Bytes of all annotations of one object; the API server rejects more."""


class Addition(Struct, frozen=True, gc=False, tag_field="op", tag="add"):
    """The operation `add` of a JSON patch (RFC 6902)."""

    path: str
    value: Any


class Removal(Struct, frozen=True, gc=False, tag_field="op", tag="remove"):
    """The operation `remove` of a JSON patch (RFC 6902)."""

    path: str


Operation = Addition | Removal


class Filled(Struct, frozen=True):
    """The defaults for one pod: the operations that set them, and the fields by the policy whose defaults they are."""

    operations: tuple[Operation, ...] = ()
    fields: tuple[tuple[str, tuple[str, ...]], ...] = ()


class PatchOfDefaults:
    """Collects the operations, and the fields by policy.

    labels, annotations: those that defaults add to the pod.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.fields: dict[str, list[str]] = {}
        self.labels: dict[str, str] = {}
        self.annotations: dict[str, str] = {}

    @property
    def filled(self) -> Filled:
        """All that was collected."""
        fields = tuple((policy, tuple(names)) for policy, names in sorted(self.fields.items()))
        return Filled(tuple(self.operations), fields)

    def add(self, pointer: str, value: Any) -> None:
        """Add a value, or replace the member that is there."""
        self.operations.append(Addition(pointer, value))

    def remove(self, pointer: str) -> None:
        """Remove a value."""
        self.operations.append(Removal(pointer))

    def change(self, image: ChangedImage) -> None:
        """Replace an image, and credit its policies."""
        self.add(pointer_of(image.path), image.image)  # replaces the member that is there
        for policy in image.policies:
            self.credit(policy, render_path(image.path))

    def credit(self, policy: str, field: str) -> None:
        """Record that a policy set a field."""
        self.fields.setdefault(policy, []).append(field)

    def fill_context(self, at: tuple[str | int, ...], exists: bool, wanted: Sequence[Default]) -> None:
        """Set fields of the securityContext below `at`, which is created where it does not exist."""
        if not wanted:
            return
        pointer, field = f"{pointer_of(at)}/securityContext", f"{render_path(at)}.securityContext."
        if not exists:
            self.add(pointer, {default.key: default.value for default in wanted})
        for default in wanted:
            if exists:
                self.add(f"{pointer}/{default.key}", default.value)
            self.credit(default.policy, field + default.key)


def with_defaults(pod: Pod, filled: Filled) -> Pod:
    """The pod with its defaults applied."""
    if not filled.operations:
        return pod
    root = msgspec.json.decode(msgspec.json.encode(pod))  # some fields of a pod may still be JSON
    for operation in filled.operations:
        *above, last = (part.replace("~1", "/").replace("~0", "~") for part in operation.path[1:].split("/"))
        target: Any = root
        for part in above:
            target = target[int(part)] if isinstance(target, list) else target[part]
        if isinstance(operation, Removal):
            del target[int(last)]
        elif isinstance(target, list):
            target.append(operation.value)
        else:  # later operations may add to an object, which is not to change the operation
            target[last] = dict(operation.value) if isinstance(operation.value, dict) else operation.value
    return msgspec.convert(root, Pod)


def annotate(patch: PatchOfDefaults, metadata: ObjectMeta) -> None:
    """Record which policy set which fields, in addition to what an earlier call on the same pod recorded."""
    annotations = metadata.annotations
    recorded = _recorded(annotations.get(ANNOTATION) if annotations else None)
    for policy, fields in patch.fields.items():
        added = frozenset(fields)
        recorded[policy] = [*(f for f in recorded.get(policy, ()) if f not in added), *fields]
    text = msgspec.json.encode(recorded, order="sorted").decode()
    if bytes_of({**(annotations or {}), **patch.annotations, ANNOTATION: text}) > MAX_ANNOTATIONS:
        return
    if annotations is None and not patch.annotations:
        patch.add("/metadata/annotations", {ANNOTATION: text})
    else:
        patch.add(pointer_to(("metadata", "annotations"), ANNOTATION), text)


def bytes_of(annotations: Mapping[str, str]) -> int:
    """The size of annotations as the API server counts it, in bytes."""
    return sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())


def _recorded(annotation: str | None) -> dict[str, list[str]]:
    if annotation is None:
        return {}
    try:
        return msgspec.json.decode(annotation, type=dict[str, list[str]])
    except (msgspec.DecodeError, RecursionError):
        return {}


def pointer_of(path: tuple[str | int, ...]) -> str:
    """A path of plain keys as a JSON pointer (RFC 6901)."""
    return "/" + "/".join(map(str, path))


def pointer_to(path: tuple[str | int, ...], name: str) -> str:
    """The pointer to any name below a path of plain keys."""
    return f"{pointer_of(path)}/{name.replace('~', '~0').replace('/', '~1')}"
