"""Fixing manifests: applying the defaults of the mutating webhook, and the smallest change for each finding."""

import textwrap
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, Final

from msgspec import Struct

from sekisho.admission import Addition, UnjudgedError
from sekisho.admission.patch import ANNOTATION
from sekisho.custom_kinds import Part, can_be_changed
from sekisho.documents import Document, Path, Problem, split_list, with_pieces, with_values
from sekisho.findings import Change, ChangeOperation, append, set_to
from sekisho.manifests.checks import Checked, Checker
from sekisho.manifests.ignore_comments import IgnoreComment, ignore_comments
from sekisho.manifests.objects import JudgedObject, Manifest, documents_of, manifests_of, passed_over, unjudged
from sekisho.manifests.sources import LARGE_LIST
from sekisho.manifests.texts import Source

MAX_ROUNDS: Final = 20
"""Rounds of changing and judging; a few are enough unless two policies conflict."""


class FixedObject(Struct, frozen=True):
    """An object that changed. `before` is its value before; `manifest` has the new one."""

    manifest: Manifest
    before: dict[str, Any]


class Fixed(Struct, frozen=True):
    """The text of a document after fixing, unchanged if there was nothing to fix.

    unfixed: the objects that still have findings.
    changed: the objects that have changed, with their values now.
    rewritten: the locations of documents that had to be written from scratch, which loses their comments.
    """

    text: str
    unfixed: tuple[Checked, ...] = ()
    problems: tuple[Problem, ...] = ()
    changed: tuple[FixedObject, ...] = ()
    rewritten: tuple[str, ...] = ()


def fix_source(source: Source, checker: Checker, *, apply_changes: bool) -> Fixed:
    """Apply the policies' defaults and, with `apply_changes`, the change of each finding that has one.

    The annotation that the webhook adds to a pod is not written: it describes the webhook's work, not the author's. The
    items of a large list are fixed one by one.
    """
    items = split_list(source.text) if len(source.text) >= LARGE_LIST else None
    if items is None:
        return _fix_document(source, checker, apply_changes=apply_changes)
    is_json = source.text.lstrip().startswith("{")
    pieces = [(line, piece.partition("[")[2][:-1] if is_json else piece, piece) for line, piece in items.pieces]
    fixed: list[Fixed] = []
    texts: list[tuple[str, str]] = []
    for line, written, piece in pieces:
        one = Source(source.file, source.first_line + line, piece, items.inherited)
        fixed.append(_fix_document(one, checker, apply_changes=apply_changes))
        texts.append((written, _item_text(fixed[-1], piece, is_json=is_json)))
    return Fixed(
        with_pieces(source.text, texts),
        tuple(checked for document in fixed for checked in document.unfixed),
        tuple(problem for document in fixed for problem in document.problems),
        tuple(changed for document in fixed for changed in document.changed),
        tuple(location for document in fixed for location in document.rewritten),
    )


def _item_text(fixed: Fixed, piece: str, *, is_json: bool) -> str:
    """The fixed text of an item. `piece` was read as a list of one item: its brackets or indentation change."""
    if is_json:
        return fixed.text.strip().removeprefix("[").removesuffix("]")
    indent = " " * (len(piece) - len(piece.lstrip(" ")))
    return textwrap.indent(fixed.text, indent) if fixed.rewritten else fixed.text


def _fix_document(source: Source, checker: Checker, *, apply_changes: bool) -> Fixed:
    comments, invalid = ignore_comments(source)
    fixer = _Fixer(checker, apply_changes, comments)
    fixer.problems += invalid
    documents: list[Document] = []
    for document in documents_of(source):
        if isinstance(document, Problem):
            return Fixed(source.text, problems=() if passed_over(source) else (document,))
        documents.append(document)
    for document in documents:
        fixer.fix(document, source)
    unfixed, problems = tuple(fixer.unfixed), tuple(fixer.problems)
    if not fixer.changed:
        return Fixed(source.text, unfixed, problems)
    before = [document for document in documents_of(source) if isinstance(document, Document)]
    try:
        edited = with_values(source.text, before, [document.value for document in documents])
    except RecursionError:
        return Fixed(source.text, problems=(*problems, Problem(source.file, "is nested too deeply to be changed")))
    rewritten = tuple(document.location(()) for document in before) if edited.is_rewritten else ()
    return Fixed(edited.text, unfixed, problems, tuple(fixer.changed), rewritten)


class _Fixer:
    def __init__(self, checker: Checker, apply_changes: bool, comments: Sequence[IgnoreComment]) -> None:
        self.checker = checker
        self.comments = comments
        self.apply_changes = apply_changes
        self.changed: list[FixedObject] = []
        self.unfixed: list[Checked] = []
        self.problems: list[Problem] = []

    def fix(self, document: Document, source: Source) -> None:
        """Change the document's value in place. No part of it is shared, because aliases are copied at each use."""
        for manifest in manifests_of(document, source.inherited):
            if isinstance(manifest, Problem) and passed_over(source, document):
                continue
            for judged in self.checker.read(manifest) if isinstance(manifest, Manifest) else [manifest]:
                if isinstance(judged, Problem):
                    self.problems.append(judged)
                    continue
                try:
                    self._fix_object(judged)
                except UnjudgedError as error:
                    self.problems.append(unjudged(judged.manifest, str(error)))

    def _fix_object(self, judged: JudgedObject) -> None:
        before: dict[str, Any] | None = None
        for _ in range(MAX_ROUNDS):
            changes = self._defaults(judged) or (self._changes(judged) if self.apply_changes else [])
            if not changes:
                break
            if before is None:
                before = deepcopy(judged.manifest.value)
            self._make(changes, judged.manifest.value)
            judged = self._again(judged)
        if before is not None and (not self.changed or self.changed[-1].manifest is not judged.manifest):
            self.changed.append(FixedObject(judged.manifest, before))
        checked = self._judge(judged)
        if checked.violations:
            self.unfixed.append(checked)

    def _again(self, judged: JudgedObject) -> JudgedObject:
        """The object with the same template, after a change."""
        changed = (candidate for candidate in self.checker.read(judged.manifest) if isinstance(candidate, JudgedObject))
        return next((candidate for candidate in changed if candidate.made.pod.place == judged.made.pod.place), judged)

    def _defaults(self, judged: JudgedObject) -> list[Change]:
        operations = self.checker.evaluate(judged).filled.operations
        # Removals only concern fields that the API server added, and a manifest does not have those.
        additions = (operation for operation in operations if isinstance(operation, Addition))
        pod = judged.made.pod
        changes = [_change(operation, pod) for operation in additions if not _is_record(operation)]
        return [change for change in changes if can_be_changed(change.path)]

    def _changes(self, judged: JudgedObject) -> list[Change]:
        changes = (located.finding.change for located in self._judge(judged).violations)
        return [change for change in changes if change is not None]

    def _judge(self, judged: JudgedObject) -> Checked:
        return self.checker.without_ignored(self.checker.judge(judged), self.comments)

    def _make(self, changes: Sequence[Change], value: Any) -> None:
        """Make the changes; removals last and from the end of each list, so that the other indices stay valid."""
        for change in changes:
            if change.operation != ChangeOperation.REMOVE:
                _set(value, change)
        removals = {change.path for change in changes if change.operation == ChangeOperation.REMOVE}
        for path in sorted(removals, key=lambda path: [(isinstance(part, int), part) for part in path], reverse=True):
            _remove(value, path)


def _is_record(operation: Addition) -> bool:
    """Whether an operation only adds the annotation that describes the webhook's own work."""
    at = ["metadata", "annotations", ANNOTATION]
    parts = [part.replace("~1", "/") for part in operation.path[1:].split("/")]
    return parts == at or (parts == at[:2] and operation.value.keys() == {ANNOTATION})


def _change(operation: Addition, pod: Part) -> Change:
    """The change of the object that contains the pod which an operation of a JSON patch on the pod stands for."""
    written = [part.replace("~1", "/").replace("~0", "~") for part in operation.path[1:].split("/")]
    parts = tuple(_with_indices(pod.value, written))
    if parts[-1] == "-":
        return append(pod.place_of(parts[:-1]), [operation.value])
    value = operation.value
    return set_to(pod.place_of(parts), dict(value) if isinstance(value, dict) else value)


def _with_indices(value: Any, written: Sequence[str]) -> Iterator[str | int]:
    """The parts of a JSON pointer, with numbers where the value has lists."""
    for part in written:
        is_index = isinstance(value, list) and part.isdigit()
        yield int(part) if is_index else part
        value = value[int(part)] if is_index else value.get(part) if isinstance(value, dict) else None


def _set(root: Any, change: Change) -> None:
    """Set the field, or append to the list; missing or null parents are created."""
    above, last = change.path[:-1], change.path[-1]
    target = root
    for part in above:
        if isinstance(target, list):
            target = target[int(part)]
        else:
            if target.get(part) is None:
                target[part] = {}
            target = target[part]
    if change.operation == ChangeOperation.SET:
        target[last] = change.value
    else:
        added = change.value if isinstance(change.value, list) else [change.value]
        target[last] = [*(target.get(last) or ()), *added]


def _remove(root: Any, path: Path) -> None:
    above, last = path[:-1], path[-1]
    target = root
    try:
        for part in above:
            target = target[part]
        del target[last]
    except (LookupError, TypeError):
        return  # another change has removed it already
