"""Setting one field in the text of a document, so that its comments and its form stay as they are."""

import json
from copy import deepcopy
from typing import Any, Final

import yaml
from msgspec import Struct

from sekisho.documents.reading import Document, DocumentError, Path, read_documents
from sekisho.documents.writing import write_document, write_flow

_INDENT: Final = 2


class Edited(Struct, frozen=True):
    """The text of a document with a change. `is_rewritten`: whether all of it was written again, without comments."""

    text: str
    is_rewritten: bool = False


def with_field(text: str, document: Document, path: Path, value: Any) -> Edited:
    """The text of a document with one field set; an index one past the end of a list appends to it.

    text: that of the document alone.
    path: the field's parent must exist.
    value: plain values, as YAML and JSON have them.

    The result is read again: where the field cannot be set in the text as it is, the whole document is written
    again.
    """
    expected = deepcopy(document.value)
    parent = expected
    for part in path[:-1]:
        parent = parent[part]
    if isinstance(parent, list) and path[-1] == len(parent):
        parent.append(value)
    else:
        parent[path[-1]] = value
    edited = _edited(text, document.node, path, value)
    if edited is not None and _value_of(edited) == expected:
        return Edited(edited)
    return Edited(write_document(expected), True)


def _value_of(text: str) -> Any:
    """The value of the one document in a text; None if it cannot be read."""
    try:
        documents = [*read_documents(text, "")]
    except DocumentError:
        return None
    return documents[0].value if len(documents) == 1 else None


def _edited(text: str, root: yaml.Node, path: Path, value: Any) -> str | None:
    """The text with the field set; None where it has a form that is not changed here."""
    parent, name = _node_at(root, path[:-1]), path[-1]
    if parent is None:
        return None
    is_json = text.lstrip().startswith("{")
    before = _node_at(parent, (name,))
    if before is not None:
        if not isinstance(before, yaml.ScalarNode) or _is_block(before):
            return None
        return _replaced(text, before.start_mark.index, before.end_mark.index, _flow(value, is_json))
    is_list = isinstance(parent, yaml.SequenceNode)
    if not _is_flow(parent):
        lines = write_document([value] if is_list else {name: value})
        return _with_lines(text, _last_line(parent) + 1, lines, parent.start_mark.column)
    if is_list and not parent.value and not is_json:  # such as `entries: []`
        above = _node_at(root, path[:-2])
        if above is None or _is_flow(above):
            return None
        lines = _indented(write_document([value]), above.start_mark.column + _INDENT).rstrip("\n")
        start = len(text[: parent.start_mark.index].rstrip(" "))
        return _replaced(text, start, parent.end_mark.index, _broken(text, f"\n{lines}"))
    added = _flow(value, is_json) if is_list else f"{_flow(name, is_json)}: {_flow(value, is_json)}"
    end = len(text[: parent.end_mark.index - 1].rstrip())
    return _replaced(text, end, end, f"{', ' if parent.value else ''}{added}")


def _node_at(node: yaml.Node | None, path: Path) -> yaml.Node | None:
    """The node of the value at a path; None if there is none."""
    for part in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part] if part < len(node.value) else None
        elif isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == str(part)), None)
        else:
            return None
    return node


def _replaced(text: str, start: int, end: int, by: str) -> str:
    return text[:start] + by + text[end:]


def _with_lines(text: str, line: int, added: str, indent: int) -> str:
    """The text with more lines before a line, counted from 0."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += _broken(text, "\n")
    lines.insert(line, _broken(text, _indented(added, indent)))
    return "".join(lines)


def _indented(text: str, indent: int) -> str:
    return "".join(f"{' ' * indent}{line}" if line.strip() else line for line in text.splitlines(keepends=True))


def _broken(text: str, added: str) -> str:
    """The added text with the line breaks of the other one."""
    return added.replace("\n", "\r\n") if "\r\n" in text else added


def _flow(value: Any, is_json: bool) -> str:
    return json.dumps(value, ensure_ascii=False) if is_json else write_flow(value)


def _is_block(node: yaml.ScalarNode) -> bool:
    return node.style in ("|", ">")


def _is_flow(node: yaml.Node) -> bool:
    return bool(getattr(node, "flow_style", False))


def _last_line(node: yaml.Node) -> int:
    """The last line of a node's text, counted from 0, without the comments that follow."""
    if isinstance(node, yaml.ScalarNode) or _is_flow(node) or not node.value:
        end = node.end_mark
        return int(end.line - 1 if end.column == 0 and end.line > node.start_mark.line else end.line)
    last = node.value[-1]
    return _last_line(last[1] if isinstance(node, yaml.MappingNode) else last)
