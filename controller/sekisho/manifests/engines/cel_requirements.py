"""What CEL expressions about pods require, field by field.

Read are conjunctions of predicates about one field each, of the pod or of all items of a list. What a predicate says is
learnt by evaluating it, see cel_values.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct, structs

from sekisho.documents import Path
from sekisho.manifests.engines.alternatives import either
from sekisho.manifests.engines.cel_predicates import chains_of, has_one, predicate, presence_chain, text_patterns
from sekisho.manifests.engines.cel_syntax import BOTH, NO_TARGET, CelError, Node, parse, substituted
from sekisho.manifests.engines.requirements import ALL_CONTAINERS, POD, Presence, Requirement, Target, Test, Unreadable

Flattened = Requirement | Unreadable

_OBJECT: Final = Node("name", "object")
_SPEC: Final = Node("select", "spec", (_OBJECT,))
_CONTAINER_LISTS: Final = {target.value: target for target in ALL_CONTAINERS}
_EMPTY: Final = Node("list")


class _Subject(Struct, frozen=True):
    """What a predicate is about: a name in the expression, and the field and the parts of the pod that it means."""

    name: str
    field: tuple[str, ...]
    targets: frozenset[Target]
    path: Path


def cel_requirements(block: Mapping[str, Any], key: str, path: Path) -> Iterator[Flattened]:
    """What the expressions in `block[key]` require, with the variables in it. `path`: the block's."""
    variables: dict[str, Node] = {}
    problems: dict[str, str] = {}
    for one in block.get("variables") or ():
        try:
            variables[one["name"]] = substituted(parse(str(one["expression"])), variables)
        except CelError as error:
            problems[one["name"]] = str(error)
    for index, one in enumerate(block.get(key) or ()):
        below = (*path, key, index, "expression")
        try:
            yield from _expression(substituted(parse(str(one["expression"])), variables), below)
        except CelError as error:
            yield Unreadable(f"the expression cannot be read: {next(iter(problems.values()), str(error))}", below)


def _expression(node: Node, path: Path) -> Iterator[Flattened]:
    """What an expression about the object requires. Raises CelError."""
    if node.kind == "not" and node.parts[0].kind == "||":
        negated = [Node("not", None, (part,)) for part in node.parts[0].parts]
        node = Node("&&", None, tuple(negated))
    if node.kind == "&&":
        for part in _conjuncts(node, "object"):
            yield from _expression(part, path)
        return
    subject = _Subject("object", (), POD, path)
    guarded = _unguarded(node)
    if guarded.kind == "call" and guarded.value == "all":
        target, name, body = _quantifier(guarded)
        targets = _targets(target, is_guarded=guarded is not node)
        of_containers = None if targets is None else _Subject(name, ("spec",), targets, path)
        yield from _body(node, subject) if of_containers is None else _body(body, of_containers)
        return
    if node.kind == "||" and any(_has_all(part) for part in node.parts):
        yield either([_expression(part, path) for part in node.parts], path)
        return
    yield from _body(node, subject)


def _body(node: Node, subject: _Subject) -> Iterator[Flattened]:
    """What a predicate about a subject requires. Raises CelError."""
    if node.kind == "&&":
        for part in _conjuncts(node, subject.name):
            yield from _body(part, subject)
        return
    inner = _unguarded(node)
    if inner.kind == "call" and inner.value in ("all", "exists") and inner.parts[0].kind != "list":
        target, name, body = _quantifier(inner)
        field = _list_field(target, subject)
        if inner.value == "all" and inner is node and target == _without_default(target):
            raise CelError("a list that must be set")
        below = _Subject(name, (*subject.field, *field[:-1], f"{field[-1]}[]"), subject.targets, subject.path)
        if inner.value == "all":
            yield from _body(body, below)
        else:
            yield _some(body, below)
        return
    yield _one(node, subject)


def _conjuncts(node: Node, subject: str) -> list[Node]:
    """The parts that must all hold. One that says that a field is set goes with the one that reads that field."""
    parts = _flat(node, "&&")
    for index, part in enumerate(parts):
        field = presence_chain(part, subject)
        others = parts[:index] + parts[index + 1 :]
        readers = [one for one in others if field is not None and _reads(one, field, subject)]
        if readers:
            reader = min(readers, key=lambda one: presence_chain(one, subject) is not None)
            both = reader if _is_some(reader) else Node(BOTH, None, (part, reader))
            return _conjuncts(Node("&&", None, tuple(both if one is reader else one for one in others)), subject)
    return parts


def _reads(node: Node, field: tuple[str, ...], subject: str) -> bool:
    """Whether a predicate reads a field or one below it; not one about all items of a list, which may be unset."""
    is_about_all = node.kind == "call" and node.value == "all"
    return not is_about_all and any(chain[: len(field)] == field for chain in chains_of(node, subject))


def _is_some(node: Node) -> bool:
    """Whether it requires an item of a list, and so that the list is set."""
    return node.kind == "call" and node.value == "exists" and node.parts[0].kind != "list"


def _one(node: Node, subject: _Subject) -> Flattened:
    of_namespace = predicate(node, "namespaceObject") if subject.name == "object" else None
    if of_namespace is not None and of_namespace.field == "metadata.name":
        return structs.replace(of_namespace, field="metadata.namespace", path=subject.path)
    for read in (text_patterns, has_one, predicate):
        requirement = read(node, subject.name)
        if requirement is not None:
            field = ".".join(part for part in (*subject.field, requirement.field) if part)
            if subject.name == "object":
                is_of_spec = field.startswith("spec.")
                field = (
                    field.removeprefix("spec.") if is_of_spec or field.startswith("metadata.") else f"object.{field}"
                )
            else:
                field = field.removeprefix("spec.")
            return structs.replace(requirement, field=field, targets=subject.targets, path=subject.path)
    raise CelError("it is not about one field of the pod")


def _some(body: Node, subject: _Subject) -> Flattened:
    """A list that must have a value."""
    item = _one(body, subject)
    if isinstance(item, Requirement) and item.test is Test.IN and item.values:
        test = Test.HAS if len(item.values) == 1 else Test.HAS_ONE
        field = item.field.removesuffix("[]")
        return structs.replace(item, field=field, test=test, presence=Presence.REQUIRED)
    raise CelError("exists is read only with values that one item must have")


def _quantifier(node: Node) -> tuple[Node, str, Node]:
    """The list, the name of an item and the predicate; that of a filter before it is its condition."""
    if len(node.parts) != 3 or node.parts[1].kind != "name":
        raise CelError(f"{node.value} has other arguments")
    return node.parts[0], str(node.parts[1].value), node.parts[2]


def _unguarded(node: Node) -> Node:
    """`LIST.all(…)` without `!has(LIST) ||` before it."""
    if node.kind != "||":
        return node
    last = node.parts[1]
    guards = _flat(node.parts[0], "||")
    is_list = last.kind == "call" and last.value in ("all", "exists")
    is_guarded = is_list and all(_is_guard_of(guard, last.parts[0]) for guard in guards)
    # A guard of a field above the list is not enough: then an unset list is an error, which denies.
    whole = Node("not", None, (Node("call", "has", (NO_TARGET, last.parts[0])),)) if last.parts else None
    return last if is_guarded and whole in guards else node


def _flat(node: Node, operator: str) -> list[Node]:
    """The parts that an operator joins."""
    return [part for one in node.parts for part in _flat(one, operator)] if node.kind == operator else [node]


def _is_guard_of(guard: Node, target: Node) -> bool:
    """Whether it is `!has(…)` of a list or of a field above it."""
    if guard.kind != "not" or guard.parts[0].kind != "call" or guard.parts[0].value != "has":
        return False
    above = guard.parts[0].parts[1]
    node = target
    while node.kind in ("select", "optional"):
        if node == above:
            return True
        node = node.parts[0]
    return False


def _has_all(node: Node) -> bool:
    return (node.kind == "call" and node.value == "all") or any(map(_has_all, node.parts))


def _targets(node: Node, *, is_guarded: bool = False) -> frozenset[Target] | None:
    """The lists of containers that are joined, each of which may be unset; None for anything else."""
    if node.kind == "+":
        left, right = (_targets(part) for part in node.parts)
        return None if left is None or right is None else left | right
    if node.kind == "if" and node.parts[2] == _EMPTY:
        condition, listed, _ = node.parts
        is_guard = condition == Node("call", "has", (NO_TARGET, listed))
        return _targets(listed, is_guarded=True) if is_guard else None
    listed = _without_default(node)
    if listed.kind in ("select", "optional") and listed.parts[0] == _SPEC and listed.value in _CONTAINER_LISTS:
        target = _CONTAINER_LISTS[listed.value]
        may_be_unset = is_guarded or listed is not node or target is Target.CONTAINERS
        return frozenset((target,)) if may_be_unset else None
    return None


def _without_default(node: Node) -> Node:
    return node.parts[0] if node.kind == "call" and node.value == "orValue" and node.parts[1:] == (_EMPTY,) else node


def _list_field(node: Node, subject: _Subject) -> tuple[str, ...]:
    """The path of a list below the subject. Raises CelError."""
    node, field = _without_default(node), []
    while node.kind in ("select", "optional"):
        field.append(str(node.value))
        node = node.parts[0]
    if node != Node("name", subject.name) or not field:
        raise CelError("a list that is not a field of the pod")
    return tuple(reversed(field))
