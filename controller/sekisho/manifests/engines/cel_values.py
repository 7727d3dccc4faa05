"""Evaluating a CEL predicate about one field, to learn for which values it holds.

A predicate that compares a field only with constants holds for all values that it does not name, or for none of them.
So trying its constants and one other value shows what it says, however it is written.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sekisho.errors import SekishoError
from sekisho.manifests.engines.cel_syntax import BOTH, NO_TARGET, CelError, Node


class MissingError(SekishoError):
    """A field that is not set was read."""


class _Unset:
    """The value of an optional that has none."""


_UNSET: Final = _Unset()
_COMPARED: Final[Mapping[str, Any]] = {
    "==": lambda left, right: type(left) is type(right) and left == right,
    "!=": lambda left, right: not (type(left) is type(right) and left == right),
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "in": lambda left, right: left in right,
}


def evaluate(node: Node, names: Mapping[str, Any]) -> Any:
    """The value of an expression. Raises MissingError for unset fields, and CelError for what is not known here."""
    reader = _READERS.get(node.kind, _comparison)
    return reader(node, names)


def _name(node: Node, names: Mapping[str, Any]) -> Any:
    if node.value not in names:
        raise CelError(f"{node.value} is not known here")
    return names[node.value]


def _comparison(node: Node, names: Mapping[str, Any]) -> Any:
    compare = _COMPARED.get(node.kind)
    if compare is None:
        raise CelError(f"{node.kind} is not known here")
    left, right = (evaluate(part, names) for part in node.parts)
    try:
        return compare(left, right)
    except TypeError:
        raise CelError(f"{node.kind} of other types") from None


def _selected(node: Node, names: Mapping[str, Any]) -> Any:
    key = node.value if len(node.parts) == 1 else evaluate(node.parts[1], names)
    return _field(evaluate(node.parts[0], names), key, is_optional=node.kind.startswith("optional"))


def _logical(node: Node, names: Mapping[str, Any]) -> bool:
    """`&&` and `||`, which need only one side if that decides, also where the other one reads an unset field."""
    decides = node.kind == "||"
    missing: MissingError | None = None
    for part in node.parts:
        try:
            if bool(evaluate(part, names)) is decides:
                return decides
        except MissingError as error:
            missing = error
    if missing is not None:
        raise missing
    return not decides


def _field(value: Any, key: Any, *, is_optional: bool) -> Any:
    if value is _UNSET:
        return _UNSET
    if isinstance(value, Mapping) and key in value:
        return value[key]
    if is_optional:
        return _UNSET
    raise MissingError


def _call(node: Node, names: Mapping[str, Any]) -> Any:
    target, *arguments = node.parts
    if node.value == "has" and target == NO_TARGET and len(arguments) == 1 and arguments[0].kind == "select":
        above = evaluate(arguments[0].parts[0], names)
        return isinstance(above, Mapping) and arguments[0].value in above
    if target == NO_TARGET:
        raise CelError(f"the function {node.value} is not known here")
    if node.value == "orValue":
        value = evaluate(target, names)
        return evaluate(arguments[0], names) if value is _UNSET else value
    if node.value == "hasValue":
        return evaluate(target, names) is not _UNSET
    value = evaluate(target, names)
    if node.value in ("all", "exists") and isinstance(value, list) and arguments[0].kind == "name":
        results = [evaluate(arguments[1], {**names, arguments[0].value: item}) for item in value]
        return all(results) if node.value == "all" else any(results)
    if node.value == "upperAscii" and isinstance(value, str):
        return value.upper()
    raise CelError(f"the function {node.value} is not known here")


_READERS: Final[Mapping[str, Callable[[Node, Mapping[str, Any]], Any]]] = {
    "literal": lambda node, _names: node.value,
    "name": _name,
    "not": lambda node, names: not evaluate(node.parts[0], names),
    "if": lambda node, names: evaluate(node.parts[1 if evaluate(node.parts[0], names) else 2], names),
    "list": lambda node, names: [evaluate(part, names) for part in node.parts],
    "call": _call,
    **dict.fromkeys(("&&", "||", BOTH), _logical),
    **dict.fromkeys(("select", "optional", "index", "optional index"), _selected),
}
