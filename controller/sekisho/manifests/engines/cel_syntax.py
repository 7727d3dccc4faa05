"""The syntax of CEL expressions, as far as policies about pods use it.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct, structs

from sekisho.errors import SekishoError

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<text>'[^'\\]*'|"[^"\\]*")|(?P<number>\d+)|(?P<name>[A-Za-z_]\w*)"""
    r"|(?P<operator>&&|\|\||==|!=|<=|>=|\.\?|\[\?|[-+<>!()\[\].,?:]))"
)
_LEVELS: Final = (("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+",))
_NAMED: Final = {"true": True, "false": False}
MAX_DEPTH: Final = 100
MAX_NODES: Final = 2000
"""Parts of an expression after its variables were substituted."""


class CelError(SekishoError, ValueError):
    """An expression that cannot be read."""


class Node(Struct, frozen=True):
    """A part of an expression.

    kind: literal (value), name (value), select (value is the field), optional (the same with .?), index (two parts),
        call (value is the function, parts are target and arguments), not, if, list, or an operator with two parts.
    """

    kind: str
    value: Any = None
    parts: tuple["Node", ...] = ()


BOTH: Final = "both"
"""The kind of a conjunction that is read as a whole, as one predicate."""
NO_TARGET: Final = Node("none")
"""The target of a function that is not a method."""


def parse(text: str) -> Node:
    """The expression of a text. Raises CelError."""
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise CelError(f"{text[position : position + 20]!r} is not known here")
        tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
        position = match.end()
    reader = _Reader(tokens)
    node = reader.ternary(0)
    if reader.position < len(tokens):
        raise CelError(f"{reader.peek()!r} is not expected")
    return node


def substituted(node: Node, variables: Mapping[str, Node]) -> Node:
    """The expression with `variables.NAME` replaced by what it stands for.

    Raises CelError for an unknown one, and for an expression that becomes too large.
    """
    _require_small(node)
    result = _substituted(node, variables)
    _require_small(result)
    return result


def _require_small(node: Node) -> None:
    remaining, parts = MAX_NODES, [(node, 0)]
    while parts:
        part, depth = parts.pop()
        remaining -= 1
        if remaining < 0 or depth > MAX_DEPTH:
            raise CelError("it is too large")
        parts += [(below, depth + 1) for below in part.parts]


def _substituted(node: Node, variables: Mapping[str, Node]) -> Node:
    if node.kind == "select" and node.parts[0] == Node("name", "variables"):
        if node.value not in variables:
            raise CelError(f"the variable {node.value} is not defined above")
        return variables[node.value]
    return structs.replace(node, parts=tuple(_substituted(part, variables) for part in node.parts))


class _Reader:
    """Reads tokens from left to right."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.tokens = tokens
        self.position = 0

    def peek(self) -> str:
        """The next token; empty at the end. Texts are not operators."""
        kind, text = self.tokens[self.position] if self.position < len(self.tokens) else ("", "")
        return "" if kind == "text" else text

    def take(self, *expected: str) -> str | None:
        """The next token if it is one of the expected; it is consumed."""
        token = self.peek()
        if token not in expected:
            return None
        self.position += 1
        return token

    def require(self, expected: str) -> None:
        if self.take(expected) is None:
            raise CelError(f"{expected!r} is expected before {self.peek()!r}")

    def ternary(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise CelError("it is nested too deeply")
        node = self.binary(0, depth)
        if self.take("?"):
            yes = self.ternary(depth + 1)
            self.require(":")
            return Node("if", None, (node, yes, self.ternary(depth + 1)))
        return node

    def binary(self, level: int, depth: int) -> Node:
        if level == len(_LEVELS):
            return self.unary(depth)
        node = self.binary(level + 1, depth)
        while operator := self.take(*_LEVELS[level]):
            node = Node(operator, None, (node, self.binary(level + 1, depth)))
        return node

    def unary(self, depth: int) -> Node:
        if self.take("!"):
            if depth > MAX_DEPTH:
                raise CelError("it is nested too deeply")
            return Node("not", None, (self.unary(depth + 1),))
        return self.postfix(self.primary(depth), depth)

    def postfix(self, node: Node, depth: int) -> Node:
        while operator := self.take(".", ".?", "[", "[?"):
            if operator in ("[", "[?"):
                index = self.ternary(depth + 1)
                self.require("]")
                node = Node("optional index" if operator == "[?" else "index", None, (node, index))
                continue
            name = self.name()
            if operator == "." and self.take("("):
                node = Node("call", name, (node, *self.arguments(")", depth)))
            else:
                node = Node("select" if operator == "." else "optional", name, (node,))
        return node

    def primary(self, depth: int) -> Node:
        if self.take("("):
            node = self.ternary(depth + 1)
            self.require(")")
            return node
        if self.take("["):
            return Node("list", None, tuple(self.arguments("]", depth)))
        kind, text = self.tokens[self.position] if self.position < len(self.tokens) else ("", "the end")
        self.position += 1
        if kind == "text":
            return Node("literal", text[1:-1])
        if kind == "number":
            return Node("literal", int(text))
        if kind != "name":
            raise CelError(f"{text!r} is not expected")
        if text in _NAMED:
            return Node("literal", _NAMED[text])
        if self.take("("):
            return Node("call", text, (NO_TARGET, *self.arguments(")", depth)))
        return Node("name", text)

    def name(self) -> str:
        kind, text = self.tokens[self.position] if self.position < len(self.tokens) else ("", "the end")
        if kind != "name":
            raise CelError(f"a name is expected before {text!r}")
        self.position += 1
        return text

    def arguments(self, end: str, depth: int) -> list[Node]:
        arguments: list[Node] = []
        while not self.take(end):
            if arguments:
                self.require(",")
            arguments.append(self.ternary(depth + 1))
        return arguments
