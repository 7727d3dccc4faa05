"""What a rule of another engine requires of one field: the form that all rules are brought into before translation."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from msgspec import Struct, structs

from sekisho.documents import Path


class Target(StrEnum):
    """The parts of a pod whose fields a requirement is about."""

    POD = "pod"
    CONTAINERS = "containers"
    INIT = "initContainers"
    EPHEMERAL = "ephemeralContainers"


ALL_CONTAINERS: Final = frozenset((Target.CONTAINERS, Target.INIT, Target.EPHEMERAL))
EVERYWHERE: Final = ALL_CONTAINERS | {Target.POD}
POD: Final = frozenset((Target.POD,))


class Presence(StrEnum):
    """Whether the field must be set; PARTLY: only where a field above it is set, or only that one."""

    OPTIONAL = "optional"
    REQUIRED = "required"
    PARTLY = "partly"


class Test(StrEnum):
    """What is compared.

    IN: the value, or each item of a list, matches one of the patterns; * matches any characters.
    NOT_IN: it matches none of them.
    RANGES: it is a number in one of the ranges.
    HAS: the list has all values; HAS_ONE: it has one of them, or one of the fields is set.
    UNSET: the field is not set. SET: it is, and not empty.
    AT_MOST, AT_LEAST: a quantity.
    """

    IN = "in"
    NOT_IN = "not in"
    RANGES = "ranges"
    HAS = "has"
    HAS_ONE = "has one"
    UNSET = "unset"
    SET = "set"
    AT_MOST = "at most"
    AT_LEAST = "at least"


class Requirement(Struct, frozen=True):
    """What a rule requires of one field.

    field: below a container or, for the pod, below `spec`, such as `securityContext.privileged`; below `metadata` with
        that as its first part. Lists are written with [], as in `ports[].hostPort`.
    inherits: whether the pod's value counts for containers that set none.
    together: whether all values of a list must be in one of the ranges.
    path: where the rule says so, in the original.
    """

    field: str
    test: Test
    values: tuple[str, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()
    presence: Presence = Presence.OPTIONAL
    targets: frozenset[Target] = POD
    inherits: bool = False
    together: bool = False
    path: Path = ()


class Unreadable(Struct, frozen=True):
    """A part of a rule that cannot be brought into this form: why, and where it is in the original.

    is_condition: whether the rest of the rule depends on it, and so cannot be read either.
    """

    reason: str
    path: Path = ()
    is_condition: bool = False


def merged(requirements: Iterable[Requirement]) -> list[Requirement]:
    """One requirement for all parts of the pod that it is the same for."""
    groups: dict[Requirement, Requirement] = {}
    for one in requirements:
        key = structs.replace(one, targets=frozenset(), path=())
        first = groups.get(key)
        groups[key] = one if first is None else structs.replace(first, targets=first.targets | one.targets)
    return list(groups.values())
