"""Cutting a large list of objects, such as `kubectl get -A -o yaml` or `-o json` writes it, into its items.

The nodes of a document take about 300 bytes of memory per value, so a list of thousands of objects is not read as one
document. The pieces of a text that is cut are read from left to right, as the whole text would be. A piece that ends
inside a quoted text, a flow collection or an alias to another piece cannot be read, and is reported.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec
from msgspec import Struct

from sekisho.documents.reading import DocumentError, read_documents

_ITEMS: Final = re.compile(r"^items:[ \t]*\r?\n", re.MULTILINE)
_FIRST_ITEM: Final = re.compile(r"(?P<indent> *)-[ \t\r\n]")
_NAMED: Final = {mark: re.compile(rf"{re.escape(mark)}([^\s{re.escape(mark)},\[\]{{}}]+)") for mark in "&*"}
"""An anchor and an alias, with its name; some of them are text, such as &>file in a shell command."""
_BEFORE_NODE: Final = frozenset(" \t\r\n[{,")


class ListItems(Struct, frozen=True):
    """The items of a list.

    inherited: apiVersion and kind of items that have none; empty texts if each item must have them.
    pieces: the text of each item, a sequence of one, with the number of lines before it.
    """

    inherited: tuple[str, str]
    pieces: tuple[tuple[int, str], ...]


def split_list(text: str) -> ListItems | None:
    """The items of a document that is a list in JSON or in block style; None for any other document.

    A document that is not cut is read as a whole.
    """
    return _split_json(text) if text.lstrip().startswith("{") else _split_yaml(text)


def _split_yaml(text: str) -> ListItems | None:
    start = _ITEMS.search(text)
    first = _FIRST_ITEM.match(text, start.end()) if start is not None else None
    if start is None or first is None or not _names(text, "&").isdisjoint(_names(text, "*")):
        return None
    indent = len(first["indent"])
    item = re.compile(rf"^ {{{indent}}}-(?=[ \t\r\n])", re.MULTILINE)
    after = re.compile(rf"^(?! {{{indent}}}-[ \t\r\n]) {{0,{indent}}}(?=[^\s#])", re.MULTILINE).search(
        text, first.end()
    )
    end = after.start() if after is not None else len(text)
    head = _head(f"{text[: start.start()]}\n{text[end:]}", None)
    if head is None:
        return None
    starts = [first.start(), *(match.start() for match in item.finditer(text, first.end(), end)), end]
    return ListItems(head, tuple(_pieces(text, starts)))


class _JsonList(Struct, frozen=True):
    items: tuple[msgspec.Raw, ...]


def _split_json(text: str) -> ListItems | None:
    try:
        raw = text.encode()
        items = [bytes(item) for item in msgspec.json.decode(raw, type=_JsonList).items]
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    pieces: list[tuple[int, str]] = []
    line = end = 0
    first = raw.find(items[0]) if items else 0
    for item in items:
        start = raw.find(item, end)
        above, line_break, indent = raw[end:start].rpartition(b"\n")
        line += above.count(b"\n") + len(line_break)
        # A sequence of one, in which columns stay what they were where the item begins a line.
        opening = f"{indent[1:].decode()}[" if line_break and indent and not indent.strip() else "["
        pieces.append((line, f"{opening}{item.decode()}]"))
        line += item.count(b"\n")
        end = start + len(item)
    head = _head((raw[:first] + raw[end:]).decode(), []) if items else None
    return ListItems(head, tuple(pieces)) if head is not None else None


def _names(text: str, mark: str) -> frozenset[str]:
    """The names of what may be the anchors (mark &) or the aliases (mark *) of a text."""
    return frozenset(
        match[1]
        for match in _NAMED[mark].finditer(text)
        if match.start() == 0 or text[match.start() - 1] in _BEFORE_NODE
    )


def _pieces(text: str, starts: Sequence[int]) -> Iterator[tuple[int, str]]:
    line = before = 0
    for start, end in pairwise(starts):
        line += text.count("\n", before, start)
        before = start
        yield line, text[start:end]


def _head(text: str, items: list[Any] | None) -> tuple[str, str] | None:
    """apiVersion and kind that items without them have, from the text of a list without its items.

    items: what the text must have for `items`, None for nothing.

    Empty texts if each item must have them; None if the text is not that of a list.
    """
    try:
        documents: list[Any] = [document.value for document in read_documents(text, "")]
    except DocumentError:
        return None
    if len(documents) != 1 or not isinstance(documents[0], dict) or documents[0].pop("items", items) != items:
        return None
    api_version, kind = documents[0].get("apiVersion"), documents[0].get("kind")
    if not isinstance(kind, str) or not kind.endswith("List") or not isinstance(api_version, str) or not api_version:
        return None
    return ("", "") if kind == "List" else (api_version, kind.removesuffix("List"))
