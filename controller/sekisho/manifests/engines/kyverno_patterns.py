"""Kyverno's patterns: trees like a pod, with anchors around keys and operators in values.

`=(key)`: checked if the key is set. `X(key)`: must not be set. A key without anchor must be set. Other anchors make
a condition of a field, which no control of ours has.

Source: https://kyverno.io/docs/policy-types/cluster-policy/validate/#anchors
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct, structs

from sekisho.documents import Path
from sekisho.manifests.engines.kyverno_values import value_test
from sekisho.manifests.engines.requirements import (
    ALL_CONTAINERS,
    POD,
    Presence,
    Requirement,
    Target,
    Test,
    Unreadable,
)

Flattened = Requirement | Unreadable

_ANCHOR: Final = re.compile(r"(?P<anchor>[=X+<^]?)\((?P<key>.+)\)")
_CONTAINER_LISTS: Final = {target.value: target for target in ALL_CONTAINERS}
_OPTIONAL, _PLAIN, _NEGATED = "=", "", "X"


class _Step(Struct, frozen=True):
    """Where the walk is: the field below the container or the pod, and the anchors of its parts."""

    field: tuple[str, ...]
    anchors: tuple[str, ...]
    targets: frozenset[Target]
    path: Path

    def below(self, key: str, anchor: str, path: Path) -> "_Step":
        return _Step((*self.field, key), (*self.anchors, anchor), self.targets, path)

    def in_list(self) -> "_Step":
        last = f"{self.field[-1]}[]"
        return structs.replace(self, field=(*self.field[:-1], last))


def pattern_requirements(pattern: Any, path: Path) -> Iterator[Flattened]:
    """What a pattern of a pod requires, field by field. `path` is the pattern's in its document."""
    yield from _walk(pattern, _Step((), (), POD, path))


def container_requirements(pattern: Any, targets: frozenset[Target], path: Path) -> Iterator[Flattened]:
    """What a pattern of a container requires, as `foreach` has one."""
    yield from _walk(pattern, _Step(("spec",), (), targets, path))


def _walk(pattern: Any, step: _Step) -> Iterator[Flattened]:
    if isinstance(pattern, dict):
        for key, value in pattern.items():
            yield from _field(str(key), value, step)
    elif isinstance(pattern, list) and pattern and step.field:
        yield from _items(pattern, step)
    elif isinstance(pattern, list):
        yield Unreadable("an empty list is compared with nothing", step.path)
    else:
        yield _leaf(pattern, step)


def _items(pattern: list[Any], step: _Step) -> Iterator[Flattened]:
    if len(pattern) > 1:
        yield Unreadable("a list with several items is compared by position", step.path)
        return
    yield from _walk(pattern[0], structs.replace(step.in_list(), path=(*step.path, 0)))


def _field(key: str, value: Any, step: _Step) -> Iterator[Flattened]:
    path = (*step.path, key)
    anchored = _ANCHOR.fullmatch(key)
    anchor, name = (anchored["anchor"], anchored["key"]) if anchored else (_PLAIN, key)
    if anchored and anchor not in (_OPTIONAL, _NEGATED):
        yield Unreadable(f"the anchor of {key!r} makes the rule depend on another field", path, is_condition=True)
    elif step.field == ("spec",) and step.targets == POD and name in _CONTAINER_LISTS:
        yield from _container_list(name, anchor, value, structs.replace(step, path=path))
    elif anchor == _NEGATED:
        below = step.below(name, _PLAIN, path)
        presence = Presence.PARTLY if _requires_a_field_above(step) else Presence.OPTIONAL
        yield Requirement(_name(below), Test.UNSET, presence=presence, targets=below.targets, path=path)
    elif isinstance(value, dict) and not value:
        below = step.below(name, anchor, path)
        yield Requirement(_name(below), Test.SET, presence=_presence(below), targets=below.targets, path=path)
    else:
        yield from _walk(value, step.below(name, anchor, path))


def _container_list(name: str, anchor: str, value: Any, step: _Step) -> Iterator[Flattened]:
    target = _CONTAINER_LISTS[name]
    if anchor == _NEGATED:
        yield Requirement(name, Test.UNSET, targets=POD, path=step.path)
    elif anchor == _PLAIN and target is not Target.CONTAINERS:
        yield Unreadable(f"{name} without =() requires every pod to have some", step.path)
    elif not isinstance(value, list) or len(value) != 1:
        yield Unreadable("a list with several items is compared by position", step.path)
    else:
        below = _Step(("spec",), (), frozenset((target,)), (*step.path, 0))
        yield from _walk(value[0], below)


def _leaf(value: Any, step: _Step) -> Flattened:
    test = value_test(value)
    if isinstance(test, Unreadable):
        return structs.replace(test, path=step.path)
    presence = _presence(step)
    if test.test is Test.UNSET:
        above = structs.replace(step, field=step.field[:-1], anchors=step.anchors[:-1])
        presence = Presence.PARTLY if _requires_a_field_above(above) else Presence.OPTIONAL
    return structs.replace(test, field=_name(step), presence=presence, targets=step.targets, path=step.path)


def _name(step: _Step) -> str:
    """The field without `spec`, which all but metadata is below."""
    return ".".join(step.field[1:] if step.field[0] == "spec" else step.field)


def _requires_a_field_above(step: _Step) -> bool:
    """Whether one of the fields down to this one has no anchor, and so must be set."""
    pairs = zip(reversed(step.field), reversed(step.anchors), strict=False)
    return any(anchor == _PLAIN for part, anchor in pairs if part not in ("spec", "metadata"))


def _presence(step: _Step) -> Presence:
    """Whether the field must be set, by the anchors of what is below the list or `spec`."""
    anchors = dict(zip(reversed(step.field), reversed(step.anchors), strict=False))
    parts = [part for part in step.field if part in anchors and part not in ("spec", "metadata")]
    lists = [part for part in parts if part.endswith("[]")]
    own = [anchors[part] for part in (parts[parts.index(lists[-1]) + 1 :] if lists else parts)]
    if any(anchors[part] != _OPTIONAL for part in lists):
        return Presence.PARTLY
    if all(anchor == _PLAIN for anchor in own):
        return Presence.OPTIONAL if lists and not own else Presence.REQUIRED
    return Presence.OPTIONAL if all(anchor == _OPTIONAL for anchor in own) else Presence.PARTLY
