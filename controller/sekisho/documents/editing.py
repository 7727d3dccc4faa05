"""Changing values in the text of documents, so that comments, quotes, order and line breaks stay byte for byte."""

import json
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any

from msgspec import Struct

from sekisho.documents.edits import INDENT, Edit, Editor, UnknownFormError, is_json, is_same
from sekisho.documents.reading import Document, DocumentError, Path, read_documents
from sekisho.documents.writing import write_document


class Edited(Struct, frozen=True):
    """The text of documents with a change. `is_rewritten`: whether all of it was written again, without comments."""

    text: str
    is_rewritten: bool = False


def with_field(text: str, document: Document, path: Path, value: Any) -> Edited:
    """The text of a document with one field set; an index one past the end of a list appends to it.

    path: the field's parent must exist.

    As `with_values` otherwise.
    """
    expected = deepcopy(document.value)
    parent = expected
    for part in path[:-1]:
        parent = parent[part]
    if isinstance(parent, list) and path[-1] == len(parent):
        parent.append(value)
    else:
        parent[path[-1]] = value
    return with_values(text, [document], [expected])


def with_pieces(text: str, pieces: Iterable[tuple[str, str]]) -> str:
    """A text in which pieces, in their order, are replaced by others; what is between them stays.

    Raises ValueError if it does not have them all.
    """
    parts: list[str] = []
    position = 0
    for before, after in pieces:
        start = text.index(before, position)
        parts += text[position:start], after
        position = start + len(before)
    return "".join([*parts, text[position:]])


def with_values(text: str, documents: Sequence[Document], expected: Sequence[Any]) -> Edited:
    """The text with other values; what stays the same keeps its bytes.

    text: that of the documents alone.
    documents: as they were read from the text.
    expected: a value for each document, of plain values as YAML and JSON have them.

    The result is read again: where it has other values than expected, because of aliases for instance, the documents
    are written again as a whole.
    """
    try:
        edits = [edit for pair in zip(documents, expected, strict=True) for edit in Editor(text).edits(*pair)]
        edited = _applied(text, edits)
    except UnknownFormError:
        edited = None
    if edited is not None and _has_values(edited, expected):
        return Edited(edited)
    if is_json(text):
        return Edited(
            "\n".join(json.dumps(value, indent=INDENT, ensure_ascii=False) for value in expected) + "\n", True
        )
    return Edited("---\n".join(map(write_document, expected)), True)


def _applied(text: str, edits: Sequence[Edit]) -> str:
    pieces: list[str] = []
    position = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if edit.start < position:
            raise UnknownFormError
        pieces += text[position : edit.start], edit.text
        position = edit.end
    return "".join([*pieces, text[position:]])


def _has_values(text: str, expected: Sequence[Any]) -> bool:
    try:
        values = [document.value for document in read_documents(text, "")]
    except DocumentError:
        return False
    return len(values) == len(expected) and all(map(is_same, values, expected))
