"""Kyverno's deny conditions: keys in JMESPath, operators and values.

Read are paths of the pod's own fields, in the forms in which published policies write them. A rule that reads anything
else, such as another object, is not translated.

Source: https://kyverno.io/docs/policy-types/cluster-policy/preconditions/
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import structs

from sekisho.documents import Path
from sekisho.manifests.engines.kyverno_patterns import Flattened, container_requirements
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

_EXPRESSION: Final = re.compile(r"\{\{\s*(?P<path>[^|]+?)\s*(?:\|\|\s*(?P<default>[^|]+?))?\s*\}\}")
_UNSET: Final = ("", "''", '""', "`[]`", "`{}`", "[]")
_LISTS: Final = re.compile(
    r"request\.object\.spec\.(?:\[(?P<several>[\w, ]+)\]|(?P<one>containers|initContainers|ephemeralContainers))"
    r"(?:\[\])?(?:\.(?P<field>.+))?"
)
_OF_POD: Final = re.compile(r"request\.object\.(?P<field>(?:spec|metadata)\..+)")
_OF_ELEMENT: Final = re.compile(r"element\.(?P<field>.+)")
_KEYS: Final = re.compile(r"(?:(?P<field>.+)\.)?keys\(@\)")
_UPPER: Final = ".to_upper(@)"
_FIELD: Final = re.compile(r"[\w.\[\]]+")

_ALLOWED: Final = frozenset(("AnyNotIn", "NotIn", "NotEquals", "NotEqual"))
"""Operators that deny what is not among the values."""
_DENIED: Final = frozenset(("AnyIn", "In", "Equals", "Equal"))

Targets = frozenset[Target]


def deny_requirements(conditions: Any, path: Path, targets: Targets | None = None) -> Iterator[Flattened]:
    """What `deny.conditions` requires. `targets` are those of `element`; None outside of `foreach`."""
    if isinstance(conditions, list):
        yield from _together(conditions, path, targets)
        return
    if len([key for key in ("any", "all") if (conditions or {}).get(key)]) > 1:
        yield Unreadable("any and all together", path)
        return
    for key, below in (conditions or {}).items():
        if key == "any":
            for index, condition in enumerate(below):
                yield from _together([condition], (*path, key), targets, index)
        elif key == "all":
            yield from _together(below, (*path, key), targets)
    if not conditions:
        yield Unreadable("it denies everything that it matches", path)


def foreach_requirements(foreach: Sequence[Mapping[str, Any]], path: Path) -> Iterator[Flattened]:
    """What `validate.foreach` requires of the containers in its lists."""
    for index, one in enumerate(foreach):
        below = (*path, index)
        listed = _LISTS.fullmatch(str(one.get("list", "")).strip())
        unknown = sorted(set(one) - {"list", "pattern", "deny", "elementScope"})
        if listed is None or listed["field"]:
            yield Unreadable(f"foreach over {one.get('list')!r}, which are not containers", (*below, "list"))
        elif unknown:
            yield Unreadable(f"{unknown[0]} of foreach makes the rule depend on something else", (*below, unknown[0]))
        elif "pattern" in one:
            yield from container_requirements(one["pattern"], _targets(listed), (*below, "pattern"))
        else:
            conditions = (one.get("deny") or {}).get("conditions")
            yield from deny_requirements(conditions, (*below, "deny", "conditions"), _targets(listed))


def _targets(listed: re.Match[str]) -> Targets:
    names = [name.strip() for name in (listed["several"] or listed["one"]).split(",")]
    return frozenset(target for target in ALL_CONTAINERS if target.value in names)


def _together(conditions: Sequence[Any], path: Path, targets: Targets | None, first: int = 0) -> Iterator[Flattened]:
    """Conditions that deny together: a pod passes that fails one of them."""
    read = [_condition(one, (*path, first + index), targets) for index, one in enumerate(conditions)]
    requirements = [one for one in read if isinstance(one, Requirement)]
    if len(requirements) < len(read):
        yield from (one for one in read if isinstance(one, Unreadable))
    elif len(requirements) == 1:
        yield requirements[0]
    else:
        yield _either(requirements, path)


def _either(requirements: Sequence[Requirement], path: Path) -> Flattened:
    """One requirement that any of several meets; they must be about one field."""
    first = requirements[0]
    if first.test is Test.HAS and len({one.field for one in requirements}) == 1:
        values = tuple(value for one in requirements for value in one.values)
        return structs.replace(first, test=Test.HAS_ONE, values=values)
    kinds = {(one.field, one.targets) for one in requirements}
    numeric = [one.ranges or tuple((int(v), int(v)) for v in one.values if v.isdecimal()) for one in requirements]
    if len(kinds) == 1 and {one.test for one in requirements} <= {Test.IN, Test.RANGES} and all(numeric):
        ranges = tuple(item for ranges in numeric for item in ranges)
        return structs.replace(first, test=Test.RANGES, values=(), ranges=ranges, together=True)
    return Unreadable("several conditions that deny together are about different fields", path)


def _condition(condition: Any, path: Path, targets: Targets | None) -> Flattened:
    if not isinstance(condition, dict) or "operator" not in condition:
        return Unreadable("is not a condition", path)
    key, operator, value = str(condition.get("key")), str(condition["operator"]), condition.get("value")
    inverted = _EXPRESSION.fullmatch(value.strip()) if isinstance(value, str) else None
    if inverted is not None and "{{" not in key:
        return _has(key, operator, inverted, targets, path)
    expression = _EXPRESSION.fullmatch(key.strip())
    located = None if expression is None else _located(expression["path"], targets)
    if expression is None or located is None:
        return Unreadable(f"the key {key!r} is not a field of the pod in a form that is known here", path)
    field, places = located
    return _compared(field, places, operator, value, expression["default"], path)


def _has(key: str, operator: str, inverted: re.Match[str], targets: Targets | None, path: Path) -> Flattened:
    """A condition with a text as key, and a list of the pod as value: the list must have the text."""
    located = _located(inverted["path"], targets)
    if located is None or operator not in ("AnyNotIn", "NotIn", "AllNotIn"):
        return Unreadable(f"the operator {operator} with {inverted[0]!r} is not known here", path)
    field, places = located
    return Requirement(
        field.removesuffix("[]"), Test.HAS, (key,), presence=Presence.REQUIRED, targets=places, path=path
    )


def _compared(field: str, targets: Targets, operator: str, value: Any, default: str | None, path: Path) -> Flattened:
    test = _values(value)
    if isinstance(test, Unreadable) or operator not in _ALLOWED | _DENIED:
        reason = test.reason if isinstance(test, Unreadable) else f"the operator {operator} is not known here"
        return Unreadable(reason, path)
    if operator in _DENIED:
        if test.test is not Test.IN:
            return Unreadable(f"the operator {operator} with a range is not known here", path)
        return Requirement(field, Test.NOT_IN, test.values, targets=targets, path=path)
    unset = None if default is None else default.strip("'\"`")
    is_optional = "[]" in field or (default is not None and (default in _UNSET or unset in test.values))
    presence = Presence.OPTIONAL if is_optional else Presence.REQUIRED
    values = tuple(one for one in test.values if one)
    return structs.replace(test, field=field, values=values, presence=presence, targets=targets, path=path)


def _values(value: Any) -> Requirement | Unreadable:
    if isinstance(value, list):
        texts = tuple(str(one).lower() if isinstance(one, bool) else str(one) for one in value)
        if any("{{" in one or "?" in one for one in texts):
            return Unreadable("its values are computed, or have the wildcard ?")
        return Requirement("", Test.IN, texts)
    return value_test(value) if "{{" not in str(value) else Unreadable("its value is computed")


def _located(path: str, targets: Targets | None) -> tuple[str, Targets] | None:
    """The field of a path, and whose it is; None for a path that is not a field of a pod."""
    path = path.strip().replace(".[]", "[]").replace(_UPPER, "")
    keys = _KEYS.fullmatch(path.removesuffix("[]"))
    path = path if keys is None else f"{keys['field']}.keys"
    element, listed, pod = _OF_ELEMENT.fullmatch(path), _LISTS.fullmatch(path), _OF_POD.fullmatch(path)
    field, places = "", POD
    if element is not None and targets is not None:
        field, places = element["field"], targets
    elif listed is not None and listed["field"]:
        field, places = listed["field"], _targets(listed)
    elif pod is not None and listed is None:
        field = pod["field"].removeprefix("spec.")
    return (field, places) if _FIELD.fullmatch(field) else None
