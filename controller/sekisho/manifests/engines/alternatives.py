"""Rules with two alternatives: the pod sets a field and containers may override it, or each container sets it."""

from collections.abc import Iterable, Sequence

from sekisho.documents import Path
from sekisho.manifests.engines.requirements import (
    ALL_CONTAINERS,
    Presence,
    Requirement,
    Target,
    Test,
    Unreadable,
    merged,
)


def either(alternatives: Sequence[Iterable[Requirement | Unreadable]], path: Path) -> Requirement | Unreadable:
    """One requirement that does as much as two alternatives, or why there is none."""
    flattened = [list(one) for one in alternatives]
    readable = [merged(one for one in part if isinstance(one, Requirement)) for part in flattened]
    if len(readable) == 2 and not any(isinstance(one, Unreadable) for part in flattened for one in part):
        for first, second in (readable, readable[::-1]):
            inherited = _inherited(first, second, path)
            if inherited is not None:
                return inherited
    return Unreadable("alternatives, except the pod's own value or that of each container", path)


def _inherited(first: Sequence[Requirement], second: Sequence[Requirement], path: Path) -> Requirement | None:
    if len(second) != 1 or second[0].targets != ALL_CONTAINERS or second[0].presence is not Presence.REQUIRED:
        return None
    value = second[0]
    said = {(one.targets, one.presence) for one in first}
    expected = {(frozenset((Target.POD,)), Presence.REQUIRED), (ALL_CONTAINERS, Presence.OPTIONAL)}
    is_about_one_value = {(one.field, one.values, one.test) for one in (*first, value)} == {
        (value.field, value.values, Test.IN)
    }
    if said != expected or not is_about_one_value:
        return None
    targets = ALL_CONTAINERS | {Target.POD}
    return Requirement(value.field, Test.IN, value.values, (), Presence.REQUIRED, targets, inherits=True, path=path)
