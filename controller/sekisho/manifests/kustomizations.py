"""Kustomizations among the files of a folder: which of the files are patches, and no objects of their own.

Source: https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from sekisho.documents import DocumentError, read_documents

NAMES: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_MAX_BYTES: Final = 1024 * 1024


class _Patch(Struct, frozen=True):
    path: str | None = None


class _Written(Struct, frozen=True, rename="camel"):
    resources: list[str] | None = None
    patches: list[_Patch] | None = None
    patches_strategic_merge: list[str] | None = None
    patches_json6902: list[_Patch] | None = None


class Kustomization(Struct, frozen=True):
    """A kustomization: its file, and what it names in its own folder or elsewhere, as normal paths.

    resources: files and folders of objects.
    patches: files that change objects.
    """

    file: Path
    resources: frozenset[Path] = frozenset()
    patches: frozenset[Path] = frozenset()


def read_kustomization(file: Path) -> Kustomization:
    """What a kustomization names; one that cannot be read names nothing."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            return Kustomization(file)
        documents = read_documents(file.read_text(), str(file))
        written = msgspec.convert(next(iter(documents)).value, _Written)
    except (OSError, UnicodeDecodeError, DocumentError, StopIteration, msgspec.ValidationError):
        return Kustomization(file)
    return Kustomization(
        file, frozenset(_paths(file, written.resources or ())), frozenset(_paths(file, _patches(written)))
    )


def patches_of(kustomizations: Iterable[Kustomization]) -> frozenset[Path]:
    """The files that are patches of a kustomization, and resources of none."""
    read = tuple(kustomizations)
    resources = {path for one in read for path in one.resources}
    return frozenset(path for one in read for path in one.patches if path not in resources)


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
