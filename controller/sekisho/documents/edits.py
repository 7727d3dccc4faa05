"""The edits of a document's text that make its value another one, and leave everything else as it is."""

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import yaml
from msgspec import Struct

from sekisho.documents.reading import Document
from sekisho.documents.writing import write_document, write_flow
from sekisho.errors import SekishoError

INDENT: Final = 2
_ALIAS: Final = re.compile(r"\s*:\s*\*[^\s,\[\]{}]+")


class Edit(Struct, frozen=True):
    """A part of the text, from `start` until before `end`, and what replaces it."""

    start: int
    end: int
    text: str


class UnknownFormError(SekishoError):
    """The text has a form that is not changed here."""


class Editor:
    """Collects the edits that make one document's value another one."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._is_json = is_json(text)
        self._line_break = "\r\n" if "\r\n" in text else "\n"
        self._edits: list[Edit] = []
        self._changed: set[int] = set()
        self._list_indent = 0

    def edits(self, document: Document, expected: Any) -> list[Edit]:
        """The edits, in an order in which those at the same place follow each other."""
        self._list_indent = next(_list_indents(document.node), 0)
        self._change(document.node, document.value, expected)
        return self._edits

    def _change(self, node: yaml.Node, old: Any, new: Any, key: yaml.Node | None = None) -> None:
        """Make the value of a node another one. `key`: that of the node in a mapping in block style, else None."""
        if is_same(old, new) or id(node) in self._changed:  # changed through another alias, which the result shows
            return
        self._changed.add(id(node))
        is_new_block = key is not None and not self._is_json and _is_flow(node) and not node.value
        if isinstance(node, yaml.MappingNode) and isinstance(new, dict) and new and not is_new_block:
            self._change_mapping(node, old, new, key)
        elif isinstance(node, yaml.SequenceNode) and isinstance(new, list) and new and not is_new_block:
            self._change_list(node, old, new)
        else:
            self._replace(node, new, key)

    def _change_mapping(
        self, node: yaml.MappingNode, old: Mapping[str, Any], new: Mapping[str, Any], above: yaml.Node | None
    ) -> None:
        present = {key.value: (key, value) for key, value in node.value}
        removed = [name not in new and name in old for name in present]
        if removed and all(removed) and (_is_flow(node) or self._is_after_dash(node)):
            self._replace(node, new, above)
            return
        self._remove(
            [(key.start_mark.index, self._end_of_field(key, value)) for key, value in present.values()], removed, node
        )
        for name, (key, value) in present.items():
            if name in new and name in old:
                self._change(value, old[name], new[name], None if _is_flow(node) else key)
        added = {name: value for name, value in new.items() if name not in present and not _inherits(old, name, value)}
        if added:
            self._add(node, added)

    def _change_list(self, node: yaml.SequenceNode, old: Sequence[Any], new: Sequence[Any]) -> None:
        kept = list(new_indices(old, new))
        removed = [new_index is None for new_index in kept]
        starts = [item.start_mark.index if _is_flow(node) else self._dash(item) for item in node.value]
        self._remove(list(zip(starts, map(self._end, node.value), strict=True)), removed, node)
        for item, value, new_index in zip(node.value, old, kept, strict=True):
            if new_index is not None:
                self._change(item, value, new[new_index])
        if len(new) > len(old):
            self._add(node, new[len(old) :])

    def _dash(self, item: yaml.Node) -> int:
        return self._text.rfind("-", 0, item.start_mark.index)

    def _replace(self, node: yaml.Node, new: Any, key: yaml.Node | None) -> None:
        """Write another value in place of a scalar, of an empty collection, or of one that becomes empty."""
        start, end = node.start_mark.index, self._end(node)
        is_block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
        if isinstance(new, dict | list) and new and key is not None and not self._is_json:
            lines = self._lines(new, key.start_mark.column + self._indent_of(new)).removesuffix(self._line_break)
            start = len(self._text[:start].rstrip())
            self._edits.append(Edit(start, end, f"{self._line_break}{lines}{self._line_break if is_block else ''}"))
            return
        written = self._flow(new) if key is None else self._line_of(new)
        colon = self._text.find(":", key.end_mark.index) + 1 if key is not None else start
        if "\n" in self._text[colon:start]:  # a collection below its key
            self._edits += Edit(colon, colon, f" {written}"), Edit(self._line(start), self._next_line(end), "")
            return
        space = "" if self._text[start - 1 : start].isspace() or _is_flow(node) else " " if start == end else ""
        self._edits.append(Edit(start, end, f"{space}{written}{self._line_break if is_block else ''}"))

    def _is_after_dash(self, node: yaml.MappingNode) -> bool:
        start = node.value[0][0].start_mark.index
        return bool(self._text[self._line(start) : start].strip())

    def _remove(self, spans: Sequence[tuple[int, int]], removed: Sequence[bool], node: yaml.Node) -> None:
        """Remove entries of a collection of which at least one stays."""
        for is_removed, run in groupby(range(len(spans)), removed.__getitem__):
            if not is_removed:
                continue
            first, *_, last = [*run] * 2
            start, end = spans[first][0], spans[last][1]
            if _is_flow(node):
                is_end = last + 1 == len(spans)
                cut = (spans[first - 1][1], end) if is_end else (start, spans[last + 1][0])
            elif self._text[self._line(start) : start].strip():  # after the dash of a list
                rest = self._text[self._next_line(end) :]
                cut = start, len(self._text) - len(rest.lstrip(" "))
            else:
                cut = self._line(start), self._next_line(end)
            self._edits.append(Edit(*cut, ""))

    def _add(self, node: yaml.Node, added: Mapping[str, Any] | Sequence[Any]) -> None:
        """Add fields or items after those that are there."""
        if not _is_flow(node):
            first = (
                node.value[0][0].start_mark.index if isinstance(node, yaml.MappingNode) else self._dash(node.value[0])
            )
            column = first - self._line(first)
            # Comments that are indented further belong to what is above them.
            deeper = re.compile(rf"(?:[ \t]*\r?\n)*(?: {{{column + 1},}}#.*(?:\n|$))")
            at = self._next_line(self._end(node))
            while (comment := deeper.match(self._text, at)) is not None:
                at = comment.end()
            lines = self._lines(added, column)
            if self._text[:at].endswith("\n"):
                self._edits.append(Edit(at, at, lines))
            else:
                self._end_without_break(node)
                self._edits.append(Edit(at, at, self._line_break + lines.removesuffix(self._line_break)))
            return
        parts = [self._flow(value) for value in added]
        if isinstance(added, Mapping):
            parts = [f"{name}: {self._flow(value)}" for name, value in zip(parts, added.values(), strict=True)]
        if not node.value:
            at = node.start_mark.index + 1
            self._edits.append(Edit(at, at, ", ".join(parts)))
            return
        last = node.value[-1]
        at, start = self._end(node, inside=True), (last[0] if isinstance(last, tuple) else last).start_mark.index
        above = self._text[self._line(start) : start]
        space = " " if above.strip() else f"{self._line_break}{above}"
        self._edits.append(Edit(at, at, "".join(f",{space}{part}" for part in parts)))

    def _end_without_break(self, node: yaml.Node) -> None:
        """Mark a block text that ends the file without a line break: a line after it would give it one."""
        while isinstance(node, yaml.CollectionNode) and node.value:
            last = node.value[-1]
            node = last[1] if isinstance(last, tuple) else last
        if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">") and not node.value.endswith("\n"):
            header = node.start_mark.index + 1
            mark = Edit(header, header, "-")
            if self._text[header : header + 1] not in ("-", "+") and mark not in self._edits:
                self._edits.append(mark)

    def _lines(self, value: Any, indent: int) -> str:
        """A mapping or a list in block style, in lines of their own."""
        return "".join(f"{' ' * indent}{line}{self._line_break}" for line in self._block(value))

    def _block(self, value: Any) -> Iterator[str]:
        if isinstance(value, Mapping):
            for key, below in value.items():
                if isinstance(below, dict | list) and below:
                    yield f"{self._line_of(key)}:"
                    yield from (" " * self._indent_of(below) + line for line in self._block(below))
                else:
                    yield f"{self._line_of(key)}: {self._line_of(below)}"
        else:
            for item in value:
                lines = self._block(item) if isinstance(item, dict | list) and item else [self._line_of(item)]
                yield from (f"{'  ' if number else '- '}{line}" for number, line in enumerate(lines))

    def _indent_of(self, value: Any) -> int:
        return INDENT if isinstance(value, Mapping) else self._list_indent

    def _line_of(self, value: Any) -> str:
        """A scalar or an empty collection in block style, on one line."""
        is_long = self._is_json or (isinstance(value, str) and "\n" in value)
        return self._flow(value) if is_long else write_document(value).rstrip("\n")

    def _flow(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=False) if self._is_json else write_flow(value)

    def _end(self, node: yaml.Node, *, inside: bool = False) -> int:
        """Where a node's text ends, without what follows its last value; `inside` the brackets of one in flow style."""
        if isinstance(node, yaml.ScalarNode) or not node.value or (_is_flow(node) and not inside):
            return int(node.end_mark.index)
        last = node.value[-1]
        return self._end_of_field(*last) if isinstance(last, tuple) else self._end(last)

    def _end_of_field(self, key: yaml.Node, value: yaml.Node) -> int:
        if value.start_mark.index > key.start_mark.index:
            return self._end(value)
        alias = _ALIAS.match(self._text, key.end_mark.index)
        if alias is None:
            raise UnknownFormError
        return alias.end()

    def _line(self, index: int) -> int:
        """Where the line with an index begins."""
        return self._text.rfind("\n", 0, index) + 1

    def _next_line(self, index: int) -> int:
        """Where the next line begins, after the comment behind a value that ends at an index."""
        if self._text[:index].endswith("\n"):  # a text in block style
            return index
        return self._text.find("\n", index) + 1 or len(self._text)


def new_indices(old: Sequence[Any], new: Sequence[Any]) -> Iterator[int | None]:
    """The index of each item in the new list, None for one that is removed. What is added is at the end."""
    new_index = 0
    for index, item in enumerate(old):
        is_rest = len(new) - new_index >= len(old) - index
        if is_rest or (new_index < len(new) and _is_alike(item, new[new_index])):
            yield new_index
            new_index += 1
        else:
            yield None


def _is_alike(one: Any, other: Any) -> bool:
    has_name = isinstance(one, dict) and isinstance(other, dict) and "name" in one
    return is_same(one, other) or (has_name and one["name"] == other.get("name"))


def _inherits(old: Mapping[str, Any], name: str, value: Any) -> bool:
    """Whether a field that is not written in a mapping comes from another one, by `<<`, and stays."""
    return name in old and is_same(old[name], value)


def _list_indents(root: yaml.Node) -> Iterator[int]:
    """How far each list is indented below its key."""
    nodes = deque([root])
    while nodes:
        node = nodes.popleft()
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode) and not _is_flow(node):
            for key, value in node.value:
                if isinstance(value, yaml.SequenceNode) and not _is_flow(value):
                    yield INDENT if value.start_mark.column > key.start_mark.column else 0
                nodes.append(value)


def _is_flow(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and bool(node.flow_style)


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same types: True is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return type(one) is type(other) and bool(one == other)


def is_json(text: str) -> bool:
    return text.lstrip().startswith(("{", "["))
