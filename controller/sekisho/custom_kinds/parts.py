"""Values that are put together from several places of an object, with where each of their fields is written."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from sekisho.errors import SekishoError
from sekisho.findings import FieldPath

POD_TEMPLATE: Final = "podTemplate"
"""Begins the path of a field that a TaskRun has, and not the Task that is judged."""
POD_SPEC_PATCH: Final = "podSpecPatch"
"""The field of Argo's workflows that has fields of pods in a text."""
_KEYS: Final = {
    **dict.fromkeys(("containers", "initContainers", "volumes", "env", "imagePullSecrets"), "name"),
    **dict.fromkeys(("sidecars", "steps"), "name"),
    "hostAliases": "ip",
    "ports": "containerPort",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
}
"""Fields with lists whose entries are merged, and the field that the same entry has in both lists.

https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.37/#podspec-v1-core names them as patch merge keys.
"""


class PartError(SekishoError):
    """A value is of another type than its field must have.

    path: from the object's root.
    expected: such as `array`.
    """

    def __init__(self, path: FieldPath, expected: str) -> None:
        """The error about one field."""
        super().__init__(f"Expected `{expected}`")
        self.path = path


def can_be_changed(path: FieldPath) -> bool:
    """Whether a field is one of the object itself, and not in a text of it or in another object."""
    return path[:1] != (POD_TEMPLATE,) and POD_SPEC_PATCH not in path


class Places(Struct, frozen=True):
    """Where a JSON value and its fields are written.

    path: in the object; fields that `below` does not have are below it.
    below: the places of fields and entries that are elsewhere, by key or index.
    """

    path: FieldPath
    below: Mapping[str | int, "Places"] = {}


class Part(Struct, frozen=True):
    """A JSON value, and where it is written."""

    value: Any
    places: Places

    def place_of(self, path: FieldPath) -> FieldPath:
        """The path in the object where a field of the value is written, or would be if it is unset."""
        places = self.places
        for index, key in enumerate(path):
            if key not in places.below:
                return (*places.path, *path[index:])
            places = places.below[key]
        return places.path

    @property
    def place(self) -> FieldPath:
        """The path of the value in the object."""
        return self.places.path

    @property
    def is_in_one_place(self) -> bool:
        """Whether all fields are written where the value is."""
        return not self.places.below


def below(part: Part | None, *path: str) -> Part | None:
    """What a part has at a path of fields; None if it, or a field on the way, is unset or null. Raises PartError."""
    value = None if part is None else part.value
    for index, key in enumerate(path):
        if part is None or value is None:
            return None
        if not isinstance(value, dict):
            raise PartError(part.place_of(path[:index]), "object")
        value = value.get(key)
    return None if part is None or value is None else _cut(part, path, value)


def entries(part: Part | None) -> list[Part]:
    """The entries of a list; none of an unset one. Raises PartError for another value."""
    if part is None:
        return []
    if not isinstance(part.value, list):
        raise PartError(part.place, "array")
    return [_cut(part, (index,), value) for index, value in enumerate(part.value)]


def _cut(part: Part, path: FieldPath, value: Any) -> Part:
    places = part.places
    for index, key in enumerate(path):
        if key not in places.below:
            return Part(value, Places((*places.path, *path[index:])))
        places = places.below[key]
    return Part(value, places)


def text_at(part: Part | None, key: str) -> str:
    """The text that a part has in a field; empty for none and for any other value. Raises PartError."""
    field = below(part, key)
    return field.value if field is not None and isinstance(field.value, str) else ""


def written_at(place: FieldPath, fields: Mapping[str, Part | None]) -> Part:
    """An object of these fields without those that are None; a field that it does not have would be at `place`."""
    present = {key: part for key, part in fields.items() if part is not None}
    places: dict[str | int, Places] = {key: part.places for key, part in present.items()}
    return Part({key: part.value for key, part in present.items()}, Places(place, places))


def listed(place: FieldPath, parts: Iterable[Part]) -> Part | None:
    """A list of these entries; None for no entries."""
    parts = list(parts)
    places: dict[str | int, Places] = {index: part.places for index, part in enumerate(parts)}
    return Part([part.value for part in parts], Places(place, places)) if parts else None


def either(base: Part | None, over: Part | None, name: str = "") -> Part | None:
    """One value over another, as `merged` has it, or the one that is set; None where both are unset."""
    return base if over is None else merged(base, over, name)


def merged(base: Part | None, over: Part, name: str = "") -> Part:
    """One value over another, as a strategic merge patch of a pod has it: null removes what the base has.

    base: None for an unset one. A field that both leave unset would be set in `over` if it can be, else in the base.
    name: the field that both are in, which decides about lists.
    """
    if base is None:
        return over
    if isinstance(base.value, dict) and isinstance(over.value, dict):
        kept = [key for key in {**base.value, **over.value} if over.value.get(key, base) is not None]
        place = over.place if can_be_changed(over.place) else base.place
        return written_at(place, {key: either(below(base, key), below(over, key), key) for key in kept})
    key = _KEYS.get(name)
    if key is None or not _have_key(base, key) or not _have_key(over, key):
        return over
    by_key = {part.value[key]: part for part in entries(base)}
    for part in entries(over):
        by_key[part.value[key]] = merged(by_key.get(part.value[key]), part)
    return listed(over.place, by_key.values()) or over


def _have_key(part: Part, key: str) -> bool:
    values = part.value if isinstance(part.value, list) else [None]
    return all(isinstance(value, dict) and isinstance(value.get(key), str | int) for value in values)
