"""Kustomizations among the files of a folder: which of the files are patches, and no objects of their own.

Source: https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from sekisho.documents import DocumentError, read_documents

NAMES: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_GROUP: Final = "kustomize.config.k8s.io"
_REMOTE: Final = re.compile(r"://|[?&]ref=|^git@|^github\.com[/:]")
_MAX_BYTES: Final = 1024 * 1024


class _Patch(Struct, frozen=True):
    path: str | None = None


class _Written(Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    resources: list[str] | None = None
    bases: list[str] | None = None
    components: list[str] | None = None
    patches: list[_Patch] | None = None
    patches_strategic_merge: list[str] | None = None
    patches_json6902: list[_Patch] | None = None


class Kustomization(Struct, frozen=True):
    """A kustomization: its file, and what it names in its own folder or elsewhere, as normal paths.

    resources: files and folders of objects, components included.
    patches: files that change objects.
    is_component: whether only other kustomizations can use it.
    is_remote: whether it names something that is not on this machine.
    """

    file: Path
    resources: frozenset[Path] = frozenset()
    patches: frozenset[Path] = frozenset()
    is_component: bool = False
    is_remote: bool = False


def read_kustomization(file: Path) -> Kustomization | None:
    """What a kustomization names; one that cannot be read names nothing. None for an object of another group.

    Flux has objects of the same kind, which are often in files of the same name.
    """
    try:
        if file.stat().st_size > _MAX_BYTES:
            return Kustomization(file)
        documents = read_documents(file.read_text(), str(file))
        written = msgspec.convert(next(iter(documents)).value, _Written)
    except (OSError, UnicodeDecodeError, DocumentError, StopIteration, msgspec.ValidationError):
        return Kustomization(file)
    if written.api_version and written.api_version.partition("/")[0] != _GROUP:
        return None
    names = (*(written.resources or ()), *(written.bases or ()), *(written.components or ()))
    return Kustomization(
        file,
        frozenset(_paths(file, names)),
        frozenset(_paths(file, _patches(written))),
        written.kind == "Component",
        any(_REMOTE.search(name) for name in names),
    )


class Built(Struct, frozen=True):
    """What is made by building a kustomization.

    files: the files that it uses, those of other kustomizations included, normal paths.
    is_remote: whether it uses something that is not on this machine.
    """

    files: frozenset[Path]
    is_remote: bool


def roots_of(kustomizations: Iterable[Kustomization]) -> list[Kustomization]:
    """The kustomizations that no other one uses, and that can be built."""
    read = tuple(kustomizations)
    used = {path for kustomization in read for path in kustomization.resources}
    return [
        kustomization
        for kustomization in read
        if not kustomization.is_component and Path(os.path.normpath(kustomization.file.parent)) not in used
    ]


def built_by(root: Kustomization) -> Built:
    """What is used by building a kustomization: all that it names, and what the kustomizations among that name."""
    files: set[Path] = set()
    is_remote = False
    waiting = [root]
    while waiting:
        one = waiting.pop()
        is_remote |= one.is_remote
        files |= {Path(os.path.normpath(one.file)), *one.patches}
        for path in one.resources - files:
            files.add(path)
            below = next((path / name for name in NAMES if (path / name).is_file()), None) if path.is_dir() else None
            read = read_kustomization(below) if below is not None else None
            waiting += [read] if read is not None else []
    return Built(frozenset(files), is_remote)


def patches_of(kustomizations: Iterable[Kustomization]) -> frozenset[Path]:
    """The files that are patches of a kustomization, and resources of none."""
    read = tuple(kustomizations)
    resources = {path for kustomization in read for path in kustomization.resources}
    return frozenset(path for kustomization in read for path in kustomization.patches if path not in resources)


def _patches(written: _Written) -> Iterator[str]:
    yield from written.patches_strategic_merge or ()
    for patch in (*(written.patches or ()), *(written.patches_json6902 or ())):
        if patch.path:
            yield patch.path


def _paths(file: Path, names: Iterable[str]) -> Iterator[Path]:
    """The paths that are named; a name of several lines is a patch that is written there itself."""
    for name in names:
        if "\n" not in name:
            yield Path(os.path.normpath(file.parent / name))
