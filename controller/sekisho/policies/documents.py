"""Strict YAML: what the API server would read, with duplicate keys refused and every error at its line and column.

JSON is YAML here too. Two things that YAML 1.1 reads and Kubernetes does not are switched off: timestamps (they stay
strings) and numbers to the base of sixty.
"""

import re
from collections.abc import Hashable, Iterator
from typing import Any, cast

import yaml
from msgspec import Struct

from sekisho.policies.problems import Problem

Path = tuple[str | int, ...]


class DocumentError(Exception):
    """A file that is not YAML as Kubernetes reads it; `problem` has file:line:column and what was expected."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Document(Struct, frozen=True):
    """One YAML document: its value, and the text to find places in."""

    value: Any
    file: str
    index: int
    text: str

    def place(self, path: Path) -> str:
        """`file:line:column` of the field at the path, or of the nearest field above it that is there."""
        node = _nodes(self.text)[self.index]
        for part in path:
            below = _child(node, part)
            if below is None:
                break
            node = below
        return _at(self.file, node.start_mark)


def read_documents(text: str, file: str) -> Iterator[Document]:
    """The documents of a file that are not empty, in order. Raises DocumentError at the first that cannot be read."""
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        raise DocumentError(_problem(error, file, text)) from None
    index = 0
    try:
        while loader.check_data():  # type: ignore[no-untyped-call]
            value = loader.get_data()
            if value is not None:
                yield Document(value, file, index, text)
            index += 1
    except yaml.YAMLError as error:
        raise DocumentError(_problem(error, file, text)) from None
    except (RecursionError, ValueError) as error:
        message = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DocumentError(Problem(file, message)) from None
    finally:
        loader.dispose()


def parse_path(field: str) -> Path:
    """The path of a field written as `spec.match.namespaces[0]`."""
    parts: list[str | int] = []
    for part in field.replace("[", ".[").split("."):
        if part.startswith("["):
            index = part.strip("[]")
            parts.append(int(index) if index.isdigit() else index)
        elif part:
            parts.append(part)
    return tuple(parts)


class _Loader(yaml.CSafeLoader):
    """The safe loader of libyaml, with Kubernetes' scalars and without duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        self.flatten_mapping(node)
        mapping: dict[Hashable, Any] = {}
        own: set[str] = set()
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key in own:
                problem = f"the key {key!r} is there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if not _is_merged(node, key_node):
                own.add(key)
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping

    def _key(self, node: yaml.Node) -> str:
        key = self.construct_object(node, deep=True)
        if isinstance(key, str):
            return key
        if isinstance(key, bool):
            return "true" if key else "false"
        if isinstance(key, int | float):
            return str(key)
        raise yaml.constructor.ConstructorError(None, None, "a key has to be a string", node.start_mark)


def _is_merged(node: yaml.MappingNode, key_node: yaml.Node) -> bool:
    """Whether the key came in by a merge (`<<`) from outside the mapping: the mapping's own keys outweigh it."""
    start, end = node.start_mark, node.end_mark
    place = key_node.start_mark
    return not (start.index <= place.index < end.index)


_SCALARS = (
    ("tag:yaml.org,2002:int", r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.[0-9]+(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
)
_REPLACED = {"tag:yaml.org,2002:timestamp", *(tag for tag, _, _ in _SCALARS)}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_first))


def _problem(error: yaml.YAMLError, file: str, text: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    message = str(getattr(error, "problem", None) or "is not YAML")
    if isinstance(error, yaml.reader.ReaderError):
        message = "has a character that YAML does not allow"
    elif mark is not None and _is_tab(text, mark):
        message = "a tab cannot indent YAML; use spaces"
    return Problem(_at(file, mark) if mark is not None else file, message)


def _is_tab(text: str, mark: Any) -> bool:
    lines = text.split("\n")
    return bool(mark.line < len(lines) and lines[mark.line][mark.column : mark.column + 1] == "\t")


def _at(file: str, mark: Any) -> str:
    return f"{file}:{mark.line + 1}:{mark.column + 1}"


def _nodes(text: str) -> list[yaml.Node]:
    return list(yaml.compose_all(text, Loader=yaml.CSafeLoader))


def _child(node: yaml.Node, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                found: yaml.Node = key if isinstance(value, yaml.ScalarNode) else value
                return found
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return cast("yaml.Node", node.value[part])
    return None
