"""Strict YAML: the values that the API server would read; duplicate keys are errors, every error has its location.

JSON is read as YAML too. Values are built from libyaml's nodes, which know the position of each field. Input that would
exhaust the process is rejected: too deep nesting, and aliases that multiply.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import yaml
from msgspec import Struct
from yaml._yaml import CParser

from sekisho.documents.origins import Origin
from sekisho.documents.problems import Problem
from sekisho.documents.scalars import resolve
from sekisho.documents.streams import split_stream
from sekisho.errors import SekishoError

Path = tuple[str | int, ...]

MAX_DEPTH: Final = 400
"""Levels of nesting. libyaml's composer recurses on the C stack; some thousands of levels would crash the process."""
MAX_VALUES: Final = 2_000_000
"""Values in one document, keys included: about 600 MB of nodes. Items of a large list count as documents."""
MAX_ALIASED: Final = 100_000
"""Values that aliases may add to a document beyond its number of characters."""
MAX_ALIASED_LETTERS: Final = 4 * 1024 * 1024
"""Characters of keys and values that aliases may add to a document: they are written out where it is changed."""


class DocumentError(SekishoError):
    """A document that is not YAML as Kubernetes reads it; `problem` has its file:line:column and a message."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Document(Struct, frozen=True):
    """One YAML document: its value, and its nodes, which know their positions.

    first_line: the number of lines before its text in the file.
    origin: where a rendered document was written; None for a document that was read as it is.
    """

    value: Any
    file: str
    node: yaml.Node
    first_line: int = 0
    origin: Origin | None = None

    def position(self, path: Path) -> tuple[int, int]:
        """Line and column, starting at 1, of the field at the path, or of the nearest field above it if it is unset."""
        node = self.node
        for part in path:
            below = _child(node, part)
            if below is None:
                break
            node = below
        if self.origin is not None:
            return self.origin.position(node.start_mark.line)
        return self.first_line + node.start_mark.line + 1, node.start_mark.column + 1

    def location(self, path: Path) -> str:
        """The position as `file:line:column`."""
        line, column = self.position(path)
        return f"{self.file}:{line}:{column}"


def read_documents(text: str, file: str, first_line: int = 0, origin: Origin | None = None) -> Iterator[Document]:
    """The documents of a text that are not empty, in order. Raises DocumentError at the first that cannot be read.

    file: its name in errors.
    first_line: the number of lines before the text in the file.
    origin: see Document.
    """
    loader = None
    try:
        loader = _Composer(text)
        while loader.check_node():
            loader.values = 0
            node = loader.get_node()
            value = _Builder(len(text)).value(node)
            if value is not None and node is not None:
                yield Document(value, file, node, first_line, origin)
    except yaml.YAMLError as error:
        raise DocumentError(_problem(error, file, text, first_line)) from None
    except RecursionError:
        raise DocumentError(Problem(file, "is nested too deeply")) from None
    except UnicodeEncodeError:
        raise DocumentError(Problem(file, "has a character that YAML does not allow")) from None
    finally:
        if loader is not None:
            loader.dispose()


_DOCUMENT_START: Final = re.compile(r"^\ufeff?---(?=\s|$)", re.MULTILINE)
_BYTE_ORDER_MARK: Final = "\ufeff"
"""Also at the start of a later document, where files are joined that begin with it."""
_DIRECTIVE: Final = re.compile(r"^%", re.MULTILINE)


def split_documents(text: str) -> Iterator[tuple[int, str]]:
    """The texts of a file's documents, each with the number of lines before it, as kubectl splits them.

    So a document that cannot be read does not hide the others. A file with directives is not split, because they belong
    to the document that follows. A document that is several JSON values, one after the other, becomes as many.
    """
    if "---" not in text or _DIRECTIVE.search(text):
        yield from split_stream(text)
        return
    starts = [match.start() for match in _DOCUMENT_START.finditer(text)]
    line = before = 0
    for start in [*starts, len(text)]:
        piece = text[before:start]
        if piece.strip():
            yield from ((line + above, one) for above, one in split_stream(piece.removeprefix(_BYTE_ORDER_MARK)))
        line += piece.count("\n")
        before = start


def parse_path(field: str) -> Path:
    """The path of a field that is written as `spec.match.namespaces[0]`."""
    parts: list[str | int] = []
    for part in field.replace("[", ".[").split("."):
        if part.startswith("["):
            index = part.strip("[]")
            parts.append(int(index) if index.isdigit() else index)
        elif part:
            parts.append(part)
    return tuple(parts)


_TEXT: Final = "text"
_PLAIN: Final = "plain"
_COLLECTION: Final = "collection"
_MERGE: Final = "<<"
_STANDARD_TAG: Final = "tag:yaml.org,2002:"
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "null": (type(None),),
}


class _Composer(CParser):
    """libyaml's nodes with their tags left to `_Builder`, and a bound on their depth.

    The composer calls these methods by their names: `resolve` for each node without a tag, the others around each node.
    """

    depth = values = 0

    def resolve(self, kind: type[yaml.Node], _value: str | None, implicit: Any) -> str:
        if kind is not yaml.ScalarNode:
            return _COLLECTION
        return _PLAIN if implicit[0] else _TEXT

    def descend_resolver(self, parent: yaml.Node | None, _index: Any) -> None:
        self.depth += 1
        self.values += 1
        if self.depth > MAX_DEPTH and parent is not None:
            raise _error(f"is nested too deeply: the maximum is {MAX_DEPTH} levels", parent)
        if self.values > MAX_VALUES and parent is not None:
            raise _error(f"has more than {MAX_VALUES} values; split it into several documents", parent)

    def ascend_resolver(self) -> None:
        self.depth -= 1


class _Builder:
    """Builds values from nodes of a text. Aliases are built again at each use, so that values share no parts.

    letters: the text's. Without aliases, a document has no more values, and no more letters in them.
    """

    def __init__(self, letters: int) -> None:
        self.remaining = letters + MAX_ALIASED
        self.remaining_letters = letters + MAX_ALIASED_LETTERS

    def value(self, node: Any) -> Any:
        if type(node) is yaml.ScalarNode:
            self.remaining_letters -= len(node.value)
            if self.remaining_letters < 0:
                raise _error("becomes too large by its aliases", node)
            return node.value if node.tag is _TEXT else _scalar(node)
        self.remaining -= len(node.value)
        if self.remaining < 0:
            raise _error("becomes too large by its aliases", node)
        if node.tag is not _COLLECTION and node.tag != f"{_STANDARD_TAG}{node.id[:3]}":
            raise _unknown_tag(node)
        if type(node) is yaml.SequenceNode:
            return [self.value(item) for item in node.value]
        return self._mapping(node)

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        merged: list[dict[str, Any]] = []
        for key_node, value_node in node.value:
            if key_node.tag is not _PLAIN:
                key = _key(key_node)
            elif key_node.value == _MERGE:
                merged += self._merged(value_node)
                continue
            else:
                key = _plain_key(key_node.value) or _key(key_node)
            self.remaining_letters -= len(key)
            if key in mapping:
                raise _error(f"duplicate key {key!r}", key_node)
            mapping[key] = self.value(value_node)
        for other in merged:
            for key, inherited in other.items():
                mapping.setdefault(key, inherited)
        return mapping

    def _merged(self, node: yaml.Node) -> list[dict[str, Any]]:
        """The mappings that `<<` merges; the mapping's own keys override theirs, and earlier ones later ones."""
        merged = self.value(node)
        mappings = merged if isinstance(merged, list) else [merged]
        if not all(isinstance(mapping, dict) for mapping in mappings):
            raise _error("<< requires a mapping or a list of mappings", node)
        return mappings


def _scalar(node: yaml.ScalarNode) -> Any:
    tag, text = node.tag, node.value
    if tag == f"{_STANDARD_TAG}str":
        return text
    try:
        value = resolve(text)
    except ValueError:
        raise _error("is a number with too many digits", node) from None
    if tag is _PLAIN:
        return value
    expected = tag.removeprefix(_STANDARD_TAG)
    if expected not in _TYPES:
        raise _unknown_tag(node)
    if type(value) not in _TYPES[expected]:
        raise _error(f"cannot be read as !!{expected}", node)
    return value


@lru_cache(maxsize=4096)
def _plain_key(text: str) -> str | None:
    """The key of an unquoted text if it is a string; None for any other, which `_key` converts or rejects."""
    try:
        return text if resolve(text) is text else None
    except ValueError:
        return None


def _key(node: yaml.Node) -> str:
    key = (node.value if node.tag is _TEXT else _scalar(node)) if isinstance(node, yaml.ScalarNode) else None
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, str | int | float):
        return str(key)
    raise _error("a key must be a string", node)


def _is_merge(key_node: yaml.Node) -> bool:
    return bool(key_node.value == _MERGE and key_node.tag is _PLAIN)


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _unknown_tag(node: yaml.Node) -> yaml.MarkedYAMLError:
    return _error(f"has the tag {node.tag.replace(_STANDARD_TAG, '!!')}, for which JSON has no type", node)


def _problem(error: yaml.YAMLError, file: str, text: str, first_line: int) -> Problem:
    mark = getattr(error, "problem_mark", None)
    message = str(getattr(error, "problem", None) or "is not YAML")
    if isinstance(error, yaml.reader.ReaderError):
        before = text.encode()[: error.position].decode(errors="replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return Problem(f"{file}:{first_line + line}:{column}", "has a character that YAML does not allow")
    if mark is not None and _is_tab(text, mark):
        message = "a tab cannot indent YAML; use spaces"
    return Problem(f"{file}:{first_line + mark.line + 1}:{mark.column + 1}" if mark is not None else file, message)


def _is_tab(text: str, mark: Any) -> bool:
    lines = text.split("\n")
    return bool(mark.line < len(lines) and lines[mark.line][mark.column : mark.column + 1] == "\t")


def _child(node: yaml.Node, part: str | int) -> yaml.Node | None:
    """The node below a node; for a field with a scalar value its key, where an editor should put the cursor."""
    if isinstance(node, yaml.SequenceNode):
        below: list[yaml.Node] = node.value
        return below[part] if isinstance(part, int) and part < len(below) else None
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in node.value:
        if key.value == str(part):
            child: yaml.Node | None = key if isinstance(value, yaml.ScalarNode) else value
            return child
    for key, value in node.value:
        if _is_merge(key):
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                inherited = _child(source, part)
                if inherited is not None:
                    return inherited
    return None
