"""The shape of an API type: which lists, maps and strings it has, in any library.

Pods come from the types of the kubernetes package, which has every field of the API; what judging reads comes from
`sekisho.pods`, policies and waivers from `sekisho.policies`.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

import kubernetes.client
from msgspec import Struct, inspect

Kind = Literal["object", "list", "map", "string", "boolean", "number"]
Path = tuple[str, ...]

ENTRY = "[]"
"""Stands in a path for an entry of a list."""
KEY = "{}"
"""Stands in a path for a value of a map."""


class Schema(Struct, frozen=True):
    """A type. `fields` are those of an object, `entry` is the type of a list's or map's entries.

    `max_size` is how many entries or characters it may have, None where the schema has no limit.
    """

    kind: Kind
    fields: dict[str, "Schema"] = {}
    entry: "Schema | None" = None
    max_size: int | None = None


STRING = Schema("string")
_SCALARS: dict[str, Kind] = {
    "str": "string",
    "datetime": "string",
    "object": "string",
    "bool": "boolean",
    "int": "number",
    "float": "number",
}


def kubernetes_schema(name: str) -> Schema:
    """A type of the kubernetes package, such as V1PodSpec, list[V1Volume] or dict(str, str)."""
    if listed := re.fullmatch(r"[Ll]ist\[(.+)\]", name):
        return Schema("list", entry=kubernetes_schema(listed[1]))
    if mapped := re.fullmatch(r"[Dd]ict[\[(]str, (.+)[\])]", name):
        return Schema("map", entry=kubernetes_schema(mapped[1]))
    if name in _SCALARS:
        return Schema(_SCALARS[name])
    model: Any = getattr(kubernetes.client, name)
    fields = {model.attribute_map[field]: kubernetes_schema(type_) for field, type_ in model.openapi_types.items()}
    return Schema("object", fields)


def struct_schema(declared: Any) -> Schema:
    """A msgspec type, with the limits that it has."""
    return _type_schema(inspect.type_info(declared), None)


def _type_schema(type_: inspect.Type, max_size: int | None) -> Schema:
    match type_:
        case inspect.Metadata(type=inner):
            return _type_schema(inner, max_size)
        case inspect.UnionType(types=types):
            schemas = [_type_schema(one, max_size) for one in types if not isinstance(one, inspect.NoneType)]
            return max(schemas, key=lambda schema: _PREFERRED.index(schema.kind))
        case inspect.StructType(fields=fields):
            return Schema("object", {field.encode_name: _type_schema(field.type, None) for field in fields})
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return Schema("list", entry=_type_schema(item, None), max_size=type_.max_length)
        case inspect.DictType(value_type=value):
            return Schema("map", entry=_type_schema(value, None), max_size=type_.max_length)
        case inspect.StrType():
            return Schema("string", max_size=type_.max_length)
        case inspect.BoolType():
            return Schema("boolean")
        case inspect.IntType() | inspect.FloatType():
            return Schema("number")
        case _:
            return STRING


_PREFERRED: tuple[Kind, ...] = ("boolean", "number", "string", "map", "list", "object")


def growable(schema: Schema, path: Path = ()) -> Iterator[tuple[Path, Schema]]:
    """Every list, map and string in a type, by its path, the outer ones first."""
    if schema.kind in ("list", "map", "string"):
        yield path, schema
    if schema.entry is not None:
        yield from growable(schema.entry, (*path, ENTRY if schema.kind == "list" else KEY))
    for name, field in schema.fields.items():
        yield from growable(field, (*path, name))


def pod_schema() -> Schema:
    """A pod, as the API declares it."""
    fields = {"metadata": kubernetes_schema("V1ObjectMeta"), "spec": kubernetes_schema("V1PodSpec")}
    return Schema("object", fields)
