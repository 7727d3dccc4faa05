"""A baseline: findings that are known already, in a file, so that only new ones are reported."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import asdict, replace

from sekisho.documents import write_document
from sekisho.findings import MAX_VALUE_LENGTH, render_path, render_value
from sekisho.manifests.checks import Checked, Located
from sekisho.manifests.sources import STDIN
from sekisho.manifests.typed_files import converted, document_in

_HEAD: Final = "# Findings that `sekisho check --baseline` leaves out. `sekisho check --write-baseline` wrote them.\n"


class KnownFinding(Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """What makes a finding the same in another run: not its line, nor the place of its container in the list.

    file: relative to the baseline's folder, with slashes.
    object: kind, namespace and name, such as `Deployment shop/web`.
    field: the path with `[*]` for every index.
    value: as people read it; a hash follows a text that is cut.
    """

    file: str
    object: str
    control: str
    subject: str
    field: str
    value: str


class _Entry(KnownFinding, frozen=True, order=True, forbid_unknown_fields=True):
    count: Annotated[int, Meta(ge=1)] = 1


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    findings: tuple[_Entry, ...]


Baseline = Mapping[KnownFinding, int]
"""How often each finding is known."""


def read_baseline(path: Path) -> Baseline:
    """The findings in a file that `write_baseline` wrote. Raises PolicyError."""
    document = document_in(path, "is not a baseline: it must hold one document with findings")
    entries = converted(document, _File, "is not a baseline: ").findings
    counts: Counter[KnownFinding] = Counter()
    for entry in entries:
        fields = {name: getattr(entry, name) for name in KnownFinding.__struct_fields__}
        counts[KnownFinding(**fields)] += entry.count
    return counts


def baseline_of(results: Iterable[Checked], folder: Path) -> Baseline:
    """The findings of a run, counted; their files are relative to `folder`."""
    return Counter(known_finding(checked, located, folder) for checked in results for located in checked.violations)


def write_baseline(baseline: Baseline) -> str:
    """The text of the file, in the order of files, objects and controls."""
    entries: list[dict[str, Any]] = [
        asdict(known) | ({"count": count} if count > 1 else {}) for known, count in sorted(baseline.items())
    ]
    return f"{_HEAD}{write_document({'findings': entries})}"


def without_known(results: Iterable[Checked], baseline: Baseline, folder: Path) -> tuple[list[Checked], Baseline]:
    """The results without the findings that a baseline in a folder has, and what is left of the baseline."""
    unused = Counter(baseline)
    new: list[Checked] = []
    for checked in results:
        kept: list[Located] = []
        for located in checked.violations:
            known = known_finding(checked, located, folder)
            if unused[known] > 0:
                unused[known] -= 1
            else:
                kept.append(located)
        new.append(replace(checked, violations=tuple(kept)) if len(kept) < len(checked.violations) else checked)
    return new, +unused


def known_finding(checked: Checked, located: Located, folder: Path) -> KnownFinding:
    """A finding as a baseline has it: its file is relative to `folder`, and no index of a list is in its path."""
    finding = located.finding
    path = tuple("*" if isinstance(part, int) else part for part in finding.path)
    file, value = _file(checked.file, folder), _value(located)
    return KnownFinding(file, checked.title, finding.control, finding.subject, render_path(path), value)


def _file(file: str, folder: Path) -> str:
    relative = file if file == STDIN else Path(os.path.relpath(file, folder)).as_posix()
    return relative.encode(errors="backslashreplace").decode()


def _value(located: Located) -> str:
    finding = located.finding
    if finding.shown is not None:
        return finding.shown
    raw = finding.raw_value
    whole = raw if isinstance(raw, str) else msgspec.json.encode(raw).decode()
    shown = render_value(raw)
    if len(whole) < MAX_VALUE_LENGTH:
        return shown
    return f"{shown} {sha256(whole.encode(errors='surrogatepass')).hexdigest()}"
