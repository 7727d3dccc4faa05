"""Pods by a seed: each takes its values from the tables in `fields`, as JSON text and without detours, for speed."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final, TypeVar

import msgspec

from sekisho.controls import LEVELS, NEWEST, Level
from tests.differential.fields import ANNOTATIONS, CONTAINER, CONTAINER_CONTEXT, POD_CONTEXT, SPEC, VOLUME, Field

VERSIONS: Final = ("latest", *(f"v1.{minor}" for minor in range(NEWEST + 1)))

_OFTEN = (*LEVELS, *LEVELS[1:] * 8)

_WILDNESS = (0.0, 0.02, 0.02, 0.1, 0.1, 0.3, 0.3, 0.8)
"""How likely a pod's field is one that may take any value: some pods pass, some break one rule, some break most."""

_NOTHING = ("", "null", "{}")
_NO_LIST = ("", "null", "[]")

_T = TypeVar("_T")
Chance = Callable[[], float]
Table = Sequence[str]


class Case(msgspec.Struct, frozen=True):
    """A pod as JSON, and the standard that it is held to; `old` is the pod before an update, empty for a creation."""

    level: Level
    version: str
    pod: str
    old: str = ""


def cases(seed: str, count: int) -> Iterator[Case]:
    """`count` cases, always the same for a seed."""
    chance = Random(seed).random  # noqa: S311 - no secret is made of it
    for _ in range(count):
        yield Case(_one_of(_OFTEN, chance), _one_of(VERSIONS, chance), _pod(chance))


def _pod(chance: Chance) -> str:
    wildness = _WILDNESS[int(chance() * len(_WILDNESS))]
    annotations = _object("annotations", _tables(ANNOTATIONS, wildness, chance), wildness, chance)
    spec = _fields(_tables(SPEC, wildness, chance), chance)
    spec.append(_object("securityContext", _tables(POD_CONTEXT, wildness, chance), wildness, chance))
    spec.append(_volumes(wildness, chance))
    of_container = _tables(CONTAINER, wildness, chance), _tables(CONTAINER_CONTEXT, wildness, chance)
    for key, least in (("containers", 1), ("initContainers", 0), ("ephemeralContainers", 0)):
        spec.append(_containers(key, least, *of_container, wildness, chance))
    return f'{{"metadata":{{{annotations}}},"spec":{{{",".join(filter(None, spec))}}}}}'


def _containers(
    key: str, least: int, fields: Sequence[Table], context: Sequence[Table], wildness: float, chance: Chance
) -> str:
    count = least + int(chance() * 3)
    if not count or chance() < wildness / 8:
        return _entry(key, _one_of(_NO_LIST, chance))
    containers = []
    for _ in range(count):
        container = _fields(fields, chance)
        container.append(_object("securityContext", context, wildness, chance))
        if key == "initContainers" and chance() < 0.5:
            container.append('"restartPolicy":"Always"')
        containers.append("{" + ",".join(filter(None, container)) + "}")
    return f'"{key}":[{",".join(containers)}]'


def _volumes(wildness: float, chance: Chance) -> str:
    [table] = _tables((VOLUME,), wildness, chance)
    count = int(chance() * 4)
    if not count:
        return _entry("volumes", _one_of(_NO_LIST, chance))
    return _entry("volumes", f"[{','.join([_one_of(table, chance) for _ in range(count)])}]")


def _object(key: str, tables: Sequence[Table], wildness: float, chance: Chance) -> str:
    if chance() < wildness / 4:
        return _entry(key, _one_of(_NOTHING, chance))
    return f'"{key}":{{{",".join(_fields(tables, chance))}}}'


def _tables(fields: Sequence[Field], wildness: float, chance: Chance) -> list[Table]:
    return [field.wild if chance() < wildness else field.tame for field in fields]


def _fields(tables: Sequence[Table], chance: Chance) -> list[str]:
    return [text for table in tables if (text := table[int(chance() * len(table))])]


def _entry(key: str, value: str) -> str:
    return f'"{key}":{value}' if value else ""


def _one_of(table: Sequence[_T], chance: Chance) -> _T:
    return table[int(chance() * len(table))]
