"""Fixes as patches of a kustomization, for manifests that are rendered and have no file to change.

Source: https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/patches/
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sekisho.documents import Path, Problem, is_same, new_indices, write_document
from sekisho.manifests.fixes import FixedObject
from sekisho.manifests.objects import Manifest

_HEAD: Final = "# Patches by `sekisho fix --as kustomize`. Add the manifests that they change to `resources`.\n"

Operation = dict[str, Any]
"""An operation of a JSON patch (RFC 6902)."""


def kustomization(changed: Sequence[FixedObject]) -> str:
    """A kustomization with a patch for each changed object that has a name."""
    patches = [
        {"target": _target(one.manifest), "patch": write_document(operations(one.before, one.manifest.value))}
        for one in changed
        if _name(one.manifest)
    ]
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return _HEAD + write_document(head | {"patches": patches})


def without_name(changed: Sequence[FixedObject]) -> list[Problem]:
    """Problems with changed objects that no patch can select, because they have no name."""
    manifests = [fixed_object.manifest for fixed_object in changed if not _name(fixed_object.manifest)]
    return [
        Problem(manifest.document.location(manifest.at), f"{manifest.kind} has no name, by which a patch selects it")
        for manifest in manifests
    ]


def operations(before: Any, after: Any) -> list[Operation]:
    """The JSON patch that makes a value another one."""
    return list(_operations(before, after, ()))


def _operations(before: Any, after: Any, path: Path) -> Iterator[Operation]:
    if is_same(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in after.items():
            if key in before:
                yield from _operations(before[key], value, (*path, key))
            else:
                yield {"op": "add", "path": _pointer((*path, key)), "value": value}
        yield from ({"op": "remove", "path": _pointer((*path, key))} for key in before if key not in after)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _operations_on_list(before, after, path)
    else:
        yield {"op": "replace", "path": _pointer(path), "value": after}


def _operations_on_list(before: Sequence[Any], after: Sequence[Any], path: Path) -> Iterator[Operation]:
    kept = list(new_indices(before, after))
    for index, new_index in enumerate(kept):
        if new_index is not None:
            yield from _operations(before[index], after[new_index], (*path, index))
    removed = [index for index, new_index in enumerate(kept) if new_index is None]
    yield from ({"op": "remove", "path": _pointer((*path, index))} for index in reversed(removed))
    yield from ({"op": "add", "path": _pointer((*path, "-")), "value": value} for value in after[len(before) :])


def _pointer(path: Path) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _target(manifest: Manifest) -> dict[str, str]:
    """What selects the object. Kustomize reads names as regular expressions."""
    group, _, version = str(manifest.value.get("apiVersion", "")).rpartition("/")
    meta = manifest.value["metadata"]
    target = {"group": group, "version": version, "kind": manifest.kind, "name": re.escape(meta["name"])}
    target |= {"namespace": meta["namespace"]} if meta.get("namespace") else {}
    return {key: value for key, value in target.items() if value}


def _name(manifest: Manifest) -> str:
    return str((manifest.value.get("metadata") or {}).get("name") or "")
