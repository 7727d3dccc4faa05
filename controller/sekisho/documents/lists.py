"""Cutting a large list of objects, such as `kubectl get -A -o yaml` writes it, into its items.

The nodes of a document take about 300 bytes of memory per value, so a list of thousands of objects is not read as one
document. A text that is cut is read in pieces from left to right as it would be read in one: a piece that ends inside a
quoted text, a flow collection or an alias to another piece cannot be read, and is reported.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from msgspec import Struct

from sekisho.documents.reading import DocumentError, read_documents

_ITEMS: Final = re.compile(r"^items:[ \t]*\r?\n", re.MULTILINE)
_FIRST_ITEM: Final = re.compile(r"(?P<indent> *)-[ \t\r\n]")
_ANCHOR: Final = re.compile(r"(?:^|[\s\[{,])&[^\s&]")


class ListItems(Struct, frozen=True):
    """The items of a list.

    inherited: apiVersion and kind of items that have none; empty texts if each item must have them.
    pieces: the text of each item, a sequence of one, with the number of lines before it.
    """

    inherited: tuple[str, str]
    pieces: tuple[tuple[int, str], ...]


def split_list(text: str) -> ListItems | None:
    """The items of a document that is a list in block style; None for any other document, which is read as a whole."""
    start = _ITEMS.search(text)
    first = _FIRST_ITEM.match(text, start.end()) if start is not None else None
    if start is None or first is None or _ANCHOR.search(text) is not None:
        return None
    indent = len(first["indent"])
    item = re.compile(rf"^ {{{indent}}}-(?=[ \t\r\n])", re.MULTILINE)
    after = re.compile(rf"^(?! {{{indent}}}-[ \t\r\n]) {{0,{indent}}}(?=[^\s#])", re.MULTILINE).search(
        text, first.end()
    )
    end = after.start() if after is not None else len(text)
    head = _head(f"{text[: start.start()]}\n{text[end:]}")
    if head is None:
        return None
    api_version, kind = head
    inherited = (api_version, kind.removesuffix("List")) if kind != "List" else ("", "")
    starts = [first.start(), *(match.start() for match in item.finditer(text, first.end(), end)), end]
    return ListItems(inherited, tuple(_pieces(text, starts)))


def _pieces(text: str, starts: Sequence[int]) -> Iterator[tuple[int, str]]:
    line = before = 0
    for start, end in pairwise(starts):
        line += text.count("\n", before, start)
        before = start
        yield line, text[start:end]


def _head(text: str) -> tuple[str, str] | None:
    """apiVersion and kind of a list from its text without the items; None if it is not that of a list."""
    try:
        documents: list[Any] = [document.value for document in read_documents(text, "")]
    except DocumentError:
        return None
    if len(documents) != 1 or not isinstance(documents[0], dict) or "items" in documents[0]:
        return None
    api_version, kind = documents[0].get("apiVersion"), documents[0].get("kind")
    is_list = isinstance(kind, str) and kind.endswith("List") and isinstance(api_version, str) and api_version
    return (str(api_version), str(kind)) if is_list else None
