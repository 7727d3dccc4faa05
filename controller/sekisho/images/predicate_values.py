"""Values in what attestations say, at the paths that policies compare."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from sekisho.images.statements import NotASignatureError, decoded

PATH_PATTERN: Final = r"(\.[A-Za-z_][A-Za-z0-9_-]*|\[(0|[1-9][0-9]{0,4})\]|\['[^'\[\]]+'\])+"
MAX_PATH_LENGTH: Final = 128
MAX_VALUE_LENGTH: Final = 128
"""The length of a value as JSON; longer ones are equal to nothing."""
MAX_READ_BYTES: Final = 1 << 20
"""The size of a statement whose values are read."""
MAX_VALUES_BYTES: Final = 8 << 10
"""The size of all values of a statement, with their paths."""
_FORM: Final = "an attestation with a predicate"
_STEP: Final = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)|\[([0-9]+)\]|\['([^'\[\]]+)'\]")

Value = bool | int | str
_Tree = dict[str | int, "_Node"]


class _Node(Struct):
    """paths: those that end here, each in its own spelling."""

    paths: list[str] = []
    below: _Tree = {}


class _Statement(Struct, frozen=True):
    predicate: Raw


def needed_path(predicate_type: str, path: str) -> str:
    """How a path of a type is named among the types of attestations that policies need."""
    return f"{predicate_type} {path}"


def paths_of(predicate_type: str, needed: Iterable[str]) -> list[str]:
    """The paths of a type that are among what policies need."""
    prefix = f"{predicate_type} "
    return sorted(one.removeprefix(prefix) for one in needed if one.startswith(prefix))


def as_json(value: Value) -> str:
    """A value as it is kept and compared: JSON, so that the text "1" is not the integer 1."""
    return msgspec.json.encode(value).decode()


def read_values(statement: bytes, paths: Iterable[str]) -> Mapping[str, str]:
    """The values at paths of a statement's predicate, as JSON, by path; without those that are not a text, integer or
    boolean, or too long.

    The statement's JSON was read strictly before. Raises NotASignatureError where the bounds are exceeded.
    """
    tree = _tree(paths)
    if not tree:
        return {}
    if len(statement) > MAX_READ_BYTES:
        size = f"{len(statement):,} bytes; one whose values policies compare has at most {MAX_READ_BYTES:,}"
        raise NotASignatureError(f"its statement has {size}")
    values: dict[str, str] = {}
    _read(decoded(statement, _Statement, _FORM).predicate, _Node(below=tree), values)
    size_of_all = sum(len(path) + len(value) for path, value in values.items())
    if size_of_all > MAX_VALUES_BYTES:
        size = f"{size_of_all:,} bytes; the maximum is {MAX_VALUES_BYTES:,}"
        raise NotASignatureError(f"the values that policies compare in it have {size}")
    return values


def _tree(paths: Iterable[str]) -> _Tree:
    """The paths by their first step, so that each part of the predicate is read once."""
    root: _Tree = {}
    for path in paths:
        below, node = root, _Node()
        for name, index, quoted in _STEP.findall(path):
            node = below.setdefault(int(index) if index else name or quoted, _Node())
            below = node.below
        node.paths.append(path)
    return root


def _read(raw: Raw, node: _Node, values: dict[str, str]) -> None:
    value = _scalar(raw) if node.paths else None
    if value is not None and len(value) <= MAX_VALUE_LENGTH:
        values.update(dict.fromkeys(node.paths, value))
    if not node.below:
        return
    parts = _parts(raw)
    for step, below in node.below.items():
        if step in parts:
            _read(parts[step], below, values)


def _scalar(raw: Raw) -> str | None:
    if _first(raw) in b"{[":
        return None
    value: Any = decoded(raw, Any, _FORM)
    return as_json(value) if isinstance(value, bool | int | str) else None


def _parts(raw: Raw) -> Mapping[str | int, Raw]:
    """What a map or a list has, by name or index; nothing for a scalar."""
    first = _first(raw)
    if first == b"{":
        by_name: Mapping[str | int, Raw] = decoded(raw, dict[str, Raw], _FORM)
        return by_name
    if first == b"[":
        return dict(enumerate(decoded(raw, list[Raw], _FORM)))
    return {}


def _first(raw: Raw) -> bytes:
    return bytes(memoryview(raw)[:1])
