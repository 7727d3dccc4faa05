"""The files of a folder of manifests, and those in it that are passed over without being read."""

import fnmatch
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final

from msgspec import Struct

from sekisho.manifests.kustomizations import NAMES, Kustomization, patches_of, read_kustomization
from sekisho.manifests.passed_over import PassedOver, Reason

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
_CHART: Final = "Chart.yaml"
_SUBCHARTS: Final = "charts"
_TEMPLATES: Final = "templates"
_GIT: Final = ".git"


class Folder(Struct, frozen=True):
    """The YAML and JSON files of a folder and of those in it, by name: the ones to read, and the others.

    charts: the folders of the Helm charts in it, without those that are parts of other charts.
    kustomizations: those in it.
    """

    files: tuple[Path, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    charts: tuple[Path, ...] = ()
    kustomizations: tuple[Kustomization, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is no file at all."""
        return not self.files and not self.passed_over


class Excluded:
    """The files that patterns leave out."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Leave out what a pattern matches: a path, a folder above it, or the name of either. `*` also matches `/`."""
        expressions = [fnmatch.translate(pattern.removeprefix("./").rstrip("/")) for pattern in patterns]
        self._matches = re.compile("|".join(expressions)).match if expressions else None

    def leaves_out(self, file: Path, folder: Path | None = None) -> bool:
        """Whether a file is left out; `folder` is the one that is read, None for a file that is named itself."""
        if self._matches is None:
            return False
        paths = [file] if folder is None else [file, file.relative_to(folder)]
        above = (str(part) for path in paths for part in (path, *path.parents))
        return any(self._matches(text) for text in (*above, *file.parts))


def read_folder(folder: Path, excluded: Excluded) -> Folder:
    """The files of a folder. Raises OSError."""
    files: list[Path] = []
    passed_over: list[PassedOver] = []
    kustomizations: list[Kustomization] = []
    charts: list[Path] = []
    for file in sorted(folder.rglob("*")):
        named_kustomization = file.name in NAMES
        if not (named_kustomization or file.suffix in _SUFFIXES) or _GIT in file.parts or not file.is_file():
            continue
        if excluded.leaves_out(file, folder):
            passed_over.append(PassedOver(str(file), Reason.EXCLUDED))
        elif chart_of(file) is not None:
            passed_over.append(PassedOver(str(file), Reason.TEMPLATE))
        elif named_kustomization and (kustomization := read_kustomization(file)) is not None:
            kustomizations.append(kustomization)
            passed_over.append(PassedOver(str(file), Reason.KUSTOMIZATION))
        else:
            charts += [file.parent] if file.name == _CHART and not _is_part_of_chart(file.parent) else []
            files.append(file)
    patches = patches_of(kustomizations)
    is_patch = [Path(os.path.normpath(file)) in patches for file in files] if patches else [False] * len(files)
    passed_over += (PassedOver(str(file), Reason.PATCH) for file, patch in zip(files, is_patch, strict=True) if patch)
    read = tuple(file for file, patch in zip(files, is_patch, strict=True) if not patch)
    return Folder(read, tuple(passed_over), tuple(charts), tuple(kustomizations))


def _is_part_of_chart(folder: Path) -> bool:
    """Whether a chart is one of those that another one has in its folder `charts`."""
    return folder.parent.name == _SUBCHARTS and (folder.parent.parent / _CHART).is_file()


def files_below(folder: Path) -> list[Path]:
    """The YAML and JSON files of a folder and of those in it, by name. Raises OSError."""
    return sorted(file for file in folder.rglob("*") if file.suffix in _SUFFIXES and file.is_file())


def chart_of(file: Path) -> Path | None:
    """The folder of the Helm chart that a file is a template of; None for any other file."""
    return _chart_of(file.parent)


@lru_cache(maxsize=1024)
def _chart_of(folder: Path) -> Path | None:
    for above in (folder, *folder.parents):
        if above.name == _TEMPLATES and (above.parent / _CHART).is_file():
            return above.parent
    return None
