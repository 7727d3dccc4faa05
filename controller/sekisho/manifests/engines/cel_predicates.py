"""What a CEL predicate says about one field, as a requirement."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sekisho.manifests.engines.cel_syntax import NO_TARGET, CelError, Node
from sekisho.manifests.engines.cel_values import MissingError, evaluate
from sekisho.manifests.engines.kyverno_values import MAX_ID
from sekisho.manifests.engines.requirements import Presence, Requirement, Test

_OTHER: Final = "\0 another value"
_GLOBS: Final = {"startsWith": "{}*", "endsWith": "*{}", "contains": "*{}*"}
_FIXED: Final[Mapping[str, tuple[str, ...]]] = {"object": ("spec",)}
"""What is always set below a subject."""

Chain = tuple[str, ...]


def predicate(node: Node, subject: str) -> Requirement | None:
    """What a predicate says about the one field that it reads; None if it reads several. Raises CelError."""
    chains = set(_chains(node, subject))
    leaf = max(chains, key=len, default=None)
    if leaf is None or any(leaf[: len(chain)] != chain for chain in chains):
        return None
    fixed = 1 if leaf[:1] in (("spec",), ("metadata",)) and subject == "object" else 0
    absent = {_holds(node, subject, _nested(leaf[:depth])) for depth in range(fixed, len(leaf))}
    presence = Presence.PARTLY if len(absent) > 1 else Presence.OPTIONAL if absent != {False} else Presence.REQUIRED
    constants = set(_constants(node))
    numbers = sorted(one for one in constants if type(one) is int)
    texts = sorted(one for one in constants if isinstance(one, str))

    kinds = {part.kind for part in _parts(node)}
    if (numbers and texts) or (texts and kinds & {"<", "<=", ">", ">="}):
        raise CelError("texts are compared with numbers, or by their order")
    is_upper = any(part.value == "upperAscii" for part in _parts(node))

    def holds(value: Any) -> bool:
        return _holds(node, subject, _nested(leaf, value))

    field = ".".join(leaf)
    if numbers:
        return Requirement(field, Test.RANGES, ranges=_ranges(numbers, holds), presence=presence)
    if texts:
        requirement = _text_requirement(field, presence, {text: holds(text) for text in (*texts, _OTHER)})
        # In other cases further values are allowed or denied than those that it names.
        return requirement if not is_upper or (requirement and requirement.test is Test.IN) else None
    if any(type(one) is bool for one in constants) or not _is_only_presence(node):
        return _boolean_requirement(field, presence, (holds(True), holds(False)))
    return _presence_requirement(field, presence, is_allowed=holds({}))


def _text_requirement(field: str, presence: Presence, results: Mapping[str, bool]) -> Requirement | None:
    denied = tuple(text for text, holds in results.items() if not holds)
    if not results[_OTHER]:
        allowed = tuple(text for text, holds in results.items() if holds and text)
        if not allowed:
            # An empty text is as good as none; where both fail, nothing passes.
            return Requirement(field, Test.UNSET, presence=presence) if presence is Presence.OPTIONAL else None
        return Requirement(field, Test.IN, allowed, presence=presence)
    if denied == ("",) and presence is Presence.REQUIRED:
        return Requirement(field, Test.SET, presence=presence)
    return Requirement(field, Test.NOT_IN, denied, presence=presence) if denied and "" not in denied else None


def _boolean_requirement(field: str, presence: Presence, results: tuple[bool, bool]) -> Requirement | None:
    if all(results):
        return Requirement(field, Test.SET, presence=presence) if presence is Presence.REQUIRED else None
    values = tuple(name for name, holds in zip(("true", "false"), results, strict=True) if holds)
    return Requirement(field, Test.IN, values, presence=presence) if values else None


def _presence_requirement(field: str, presence: Presence, *, is_allowed: bool) -> Requirement | None:
    if is_allowed and presence is Presence.REQUIRED:
        return Requirement(field, Test.SET, presence=presence)
    if not is_allowed and presence is not Presence.REQUIRED:
        return Requirement(field, Test.UNSET, presence=presence)
    return None


def _parts(node: Node) -> Iterator[Node]:
    yield node
    for part in node.parts:
        yield from _parts(part)


def _ranges(numbers: list[int], holds: Any) -> tuple[tuple[int, int], ...]:
    """The ranges in which a predicate holds: between its constants it is the same for all numbers."""
    points = sorted({0, MAX_ID, *(near for one in numbers for near in (one - 1, one, one + 1) if 0 <= near <= MAX_ID)})
    ranges: list[tuple[int, int]] = []
    previous = None
    for point in points:
        if holds(point):
            if ranges and previous == ranges[-1][1]:
                ranges[-1] = (ranges[-1][0], point)
            else:
                ranges.append((point, point))
        previous = point
    return tuple(ranges)


def _holds(node: Node, subject: str, value: Any) -> bool:
    """Whether a predicate holds; one that fails denies."""
    try:
        result = evaluate(node, {subject: value})
    except MissingError:
        return False
    if not isinstance(result, bool):
        raise CelError("it is neither true nor false")
    return result


def _nested(chain: Chain, value: Any = None) -> Any:
    """An object with the fields of a chain, and the value at its end; an empty object there for None."""
    nested: Any = {} if value is None else value
    for field in reversed(chain):
        nested = {field: nested}
    return nested


def _chain(node: Node, subject: str) -> Chain | None:
    """The fields from the subject to a part of the expression; None for other expressions."""
    if node == Node("name", subject):
        return ()
    if node.kind in ("select", "optional"):
        above = _chain(node.parts[0], subject)
        return None if above is None else (*above, str(node.value))
    if node.kind in ("index", "optional index") and node.parts[1].kind == "literal":
        above = _chain(node.parts[0], subject)
        return None if above is None else (*above, str(node.parts[1].value))
    return None


def presence_chain(node: Node, subject: str) -> Chain | None:
    """The field that `has(…)`, or `key in` a map, says is set; None for other expressions."""
    if node.kind == "call" and node.value == "has" and len(node.parts) == 2:
        return _chain(node.parts[1], subject)
    if node.kind == "in" and node.parts[0].kind == "literal":
        above = _chain(node.parts[1], subject)
        return None if above is None else (*above, str(node.parts[0].value))
    return None


def chains_of(node: Node, subject: str) -> frozenset[Chain]:
    """All fields that an expression reads, as paths from the subject."""
    return frozenset(_chains(node, subject))


def _chains(node: Node, subject: str) -> Iterator[Chain]:
    chain = _chain(node, subject)
    if chain is not None:
        yield chain
        return
    if node.kind == "in" and (of_map := presence_chain(node, subject)) is not None:
        yield of_map
        return
    for part in node.parts:
        yield from _chains(part, subject)


def _constants(node: Node) -> Iterator[Any]:
    """The values that fields are compared with."""
    if node.kind == "literal":
        yield node.value
    elif node.kind in ("index", "optional index"):
        yield from _constants(node.parts[0])
    elif node.kind == "in" and node.parts[0].kind == "literal" and node.parts[1].kind != "list":
        yield from _constants(node.parts[1])
    else:
        for part in node.parts:
            yield from _constants(part)


def _is_only_presence(node: Node) -> bool:
    """Whether it reads no value, only whether fields are set."""
    if node.kind == "call" and node.value == "has":
        return True
    if node.kind in ("select", "optional", "name"):
        return False
    if node.kind == "in" and node.parts[1].kind != "list":
        return True
    return all(map(_is_only_presence, node.parts))


def has_one(node: Node, subject: str) -> Requirement | None:
    """`has(x.a) || has(x.b)`: the item has one of some fields; None for other predicates, and for one field."""
    fields = []
    parts = [node]
    while parts:
        part = parts.pop(0)
        if part.kind == "||":
            parts = [*part.parts, *parts]
        elif part.kind == "call" and part.value == "has" and len(part.parts) == 2 and part.parts[0] == NO_TARGET:
            fields.append(_chain(part.parts[1], subject))
        else:
            return None
    if len(fields) < 2 or any(field is None or len(field) != 1 for field in fields):
        return None
    names = tuple(field[0] for field in fields if field)
    return Requirement("keys", Test.HAS_ONE, names, presence=Presence.REQUIRED)


def text_patterns(node: Node, subject: str) -> Requirement | None:
    """What startsWith, endsWith and contains say about a field that is always set; None for other predicates."""
    is_negated = node.kind == "not"
    patterns: list[str] = []
    chains: set[Chain | None] = set()
    parts = [node.parts[0] if is_negated else node]
    while parts:
        part = parts.pop(0)
        if part.kind == "||":
            parts = [*part.parts, *parts]
        elif part.kind == "call" and part.value in _GLOBS and len(part.parts) == 2 and part.parts[1].kind == "literal":
            text = str(part.parts[1].value)
            if "*" in text:
                return None
            patterns.append(_GLOBS[part.value].format(text))
            chains.add(_chain(part.parts[0], subject))
        else:
            return None
    if chains != {("image",)}:
        return None
    test = Test.NOT_IN if is_negated else Test.IN
    return Requirement("image", test, tuple(patterns), presence=Presence.REQUIRED)
