"""Comments that ignore findings: `# sekisho: ignore[hostPorts] the exporter is scraped at the node's address`."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

import yaml
from msgspec import Struct

from sekisho.controls import CONTROLS
from sekisho.documents import Document, Problem
from sekisho.manifests.objects import documents_of
from sekisho.manifests.texts import Source
from sekisho.spelling import MAX_HINTS, Suggestions

_FORM: Final = "write # sekisho: ignore[CONTROL] REASON"
_MARK: Final = "sekisho:"
_COMMENT: Final = re.compile(
    r"(?:^|(?<=\s))#[ \t]*sekisho:[ \t]*ignore\b(?P<controls>\[[^\]\n]*\])?(?P<reason>.*)$", re.MULTILINE
)
_WITHOUT_VALUE: Final = re.compile(r"[\s-]*(?:#.*)?")
"""A line that has no value, so that a comment in it is about the next line that has one."""


class IgnoreComment(Struct, frozen=True):
    """One comment.

    location: its own file:line:column.
    line: that of the findings that it is about, from 1; if this is the first line of an object, it is about the whole
        object.
    """

    location: str
    line: int
    controls: frozenset[str]
    reason: str


def ignore_comments(source: Source) -> tuple[list[IgnoreComment], list[Problem]]:
    """The comments in a text that ignore findings, and problems with those that cannot be used."""
    comments: list[IgnoreComment] = []
    problems: list[Problem] = []
    if _MARK in source.text and _COMMENT.search(source.text) is not None:
        for item in _comments(source):
            (comments if isinstance(item, IgnoreComment) else problems).append(item)  # type: ignore[arg-type]
    return comments, problems


def _comments(source: Source) -> Iterator[IgnoreComment | Problem]:
    documents = [*documents_of(source)]
    if any(isinstance(document, Problem) for document in documents):
        return  # the text cannot be read, which is reported anyway
    texts = sorted(span for document in documents if isinstance(document, Document) for span in _texts(document.node))
    values = _lines_with_a_value(source.text)
    suggestions = Suggestions(MAX_HINTS)
    line = line_start = 0
    for match in _COMMENT.finditer(source.text):
        at = bisect_left(texts, (match.start(),))  # no text is within another one
        if at and match.start() < texts[at - 1][1]:
            continue
        line += source.text.count("\n", line_start, match.start())
        line_start = source.text.rfind("\n", line_start, match.start()) + 1 or line_start
        column = match.start() - line_start + 1
        location = f"{source.file}:{_line_in_file(source, line)}:{column}"
        problem = _problem(match, suggestions)
        if problem:
            yield Problem(location, problem)
            continue
        about = values[bisect_left(values, line)] if values and values[-1] >= line else line
        yield IgnoreComment(location, _line_in_file(source, about), frozenset(_names(match)), match["reason"].strip())


def _lines_with_a_value(text: str) -> list[int]:
    return [number for number, line in enumerate(text.split("\n")) if not _WITHOUT_VALUE.fullmatch(line)]


def _line_in_file(source: Source, line: int) -> int:
    """The line in the file, from 1, of a line of the text, from 0; 0 if it is not clear for a rendered document."""
    if source.origin is None:
        return source.first_line + line + 1
    position = source.origin.exact_position(line)
    return position[0] if position is not None else 0


def _names(match: re.Match[str]) -> list[str]:
    return [name.strip() for name in (match["controls"] or "[]")[1:-1].split(",")]


def _problem(match: re.Match[str], suggestions: Suggestions) -> str:
    """Why a comment ignores nothing; empty if it can be used."""
    names = [name for name in _names(match) if name]
    if not names:
        return f"the comment names no control; {_FORM}"
    unknown = next((name for name in names if name not in CONTROLS), None)
    if unknown is not None:
        return f"there is no control {unknown}{suggestions.did_you_mean(unknown, CONTROLS)}"
    return "" if match["reason"].strip() else f"the comment gives no reason; {_FORM}"


def _texts(root: yaml.Node) -> Iterator[tuple[int, int]]:
    """Where the quoted and block texts of a document begin and end: what looks like a comment in them is not one."""
    nodes = [root]
    seen: set[int] = set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            if node.style:
                yield node.start_mark.index, node.end_mark.index
        elif isinstance(node, yaml.MappingNode):
            nodes += (part for pair in node.value for part in pair)
        else:
            nodes += node.value
