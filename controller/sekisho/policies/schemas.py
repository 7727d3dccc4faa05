"""Validation of Sekisho's own objects by the same schemas as the API server's, with messages for people."""

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import msgspec

from sekisho.documents import Path
from sekisho.policies.crd import RESOURCES, Resource, resource_schema
from sekisho.policies.types import GROUP, VERSION
from sekisho.spelling import MAX_HINTS, Suggestions, did_you_mean

if TYPE_CHECKING:
    import jsonschema
    from jsonschema.protocols import Validator


def violations(value: Any) -> Iterator[tuple[Path, str]]:
    """The schema violations of an object, each with its path and a message."""
    if not isinstance(value, dict):
        yield (), "is not an object with apiVersion, kind, metadata and spec"
        return
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in RESOURCES:
        yield ("kind",), f"must be {kinds()}, found {_shown(kind)}{did_you_mean(kind, RESOURCES)}"
        return
    suggestions = Suggestions(MAX_HINTS)
    for error in _validator(kind).iter_errors(value):
        path = tuple(error.absolute_path)
        yield from ((path + below, message) for below, message in _explain(error, suggestions))


def unknown_fields(value: dict[str, Any], kind: str) -> Iterator[tuple[Path, str]]:
    """The unknown fields of an object, outside of its metadata, each with its path and a suggestion.

    Takes time linear in the object, unlike `violations`: the webhook runs it on everything that it receives.
    """
    return _unknown(value, _schema(kind), (), Suggestions(MAX_HINTS))


@cache
def _schema(kind: str) -> dict[str, Any]:
    return resource_schema(RESOURCES[kind])


def _unknown(value: Any, schema: dict[str, Any], path: Path, suggestions: Suggestions) -> Iterator[tuple[Path, str]]:
    known = schema.get("properties")
    if known and isinstance(value, dict):
        for name, below in value.items():
            if name in known:
                yield from _unknown(below, known[name], (*path, name), suggestions)
            else:
                yield (*path, name), _unknown_field(name, known, suggestions)
    elif isinstance(value, list) and "properties" in schema.get("items", {}):
        for index, item in enumerate(value):
            yield from _unknown(item, schema["items"], (*path, index), suggestions)


def kinds() -> str:
    """The kinds, as `A, B or C`."""
    *head, last = RESOURCES
    return f"{', '.join(head)} or {last}"


def _is_moment(value: object) -> bool:
    try:
        return not isinstance(value, str) or msgspec.convert(value, datetime).tzinfo is not None
    except msgspec.ValidationError:
        return False


@cache
def _validator(kind: str) -> "Validator":
    """A validator of a kind. Its library takes as long to load as a small run of `check`, so it is loaded only here."""
    import jsonschema

    formats = jsonschema.FormatChecker(())
    formats.checks("date-time")(_is_moment)
    resource: Resource = RESOURCES[kind]
    schema = _closed(resource_schema(resource))
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    needed = ["name", "namespace"] if resource.scope == "Namespaced" else ["name"]
    name = {"type": "string", "minLength": 1}
    schema["properties"] |= {
        "apiVersion": {"enum": [f"{GROUP}/{VERSION}"]},
        "kind": {"enum": [kind]},
        "metadata": {"type": "object", "required": needed, "properties": dict.fromkeys(needed, name)},
        "status": {},
    }
    return jsonschema.Draft202012Validator(schema, format_checker=formats)


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with unknown fields forbidden; the API server's preserves them for the webhook to deny."""
    closed = {key: below for key, below in schema.items() if key != "type" or "enum" not in schema}
    if "properties" in schema:
        closed["properties"] = {name: _closed(below) for name, below in schema["properties"].items()}
        closed["additionalProperties"] = False
    if "items" in schema:
        closed["items"] = _closed(schema["items"])
        closed["uniqueItems"] = schema.get("x-kubernetes-list-type") == "set"
    return closed


def _unknown_field(name: str, known: dict[str, Any], suggestions: Suggestions) -> str:
    """The message about an unknown field, with a suggestion: a similar name, or the same name under spec."""
    below = known.get("spec", {}).get("properties", {})
    hint = f"; did you mean spec.{name}?" if name in below else suggestions.did_you_mean(name, known)
    return f"unknown field{hint}"


_TYPES = {
    "object": "an object",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "boolean": "true or false",
}


def _explain(error: "jsonschema.ValidationError", suggestions: Suggestions) -> list[tuple[tuple[str, ...], str]]:
    """A schema violation for people: messages, each with the path below the error's own."""
    required: Any = error.validator_value
    instance: Any = error.instance
    match error.validator:
        case "additionalProperties":
            known = cast("dict[str, Any]", error.schema)["properties"]
            unknown = (name for name in instance if name not in known)
            return [((name,), _unknown_field(name, known, suggestions)) for name in unknown]
        case "required":
            missing = [name for name in required if name not in instance]
            return [((), f"the field {name!r} must be set") for name in missing if f"'{name}'" in error.message]
        case "enum":
            names = [value for value in required if isinstance(value, str)]
            allowed = names or [str(value).lower() for value in required]
            hint = suggestions.did_you_mean(instance, allowed)
            return [((), f"must be {' or '.join(allowed)}, found {_shown(instance)}{hint}")]
    return [((), _explain_value(str(error.validator), required, instance) or error.message)]


def _explain_value(rule: str, required: Any, instance: Any) -> str:
    actual = f", found {_shown(instance)}"
    match rule:
        case "type":
            return f"must be {_TYPES[required]}{actual}"
        case "anyOf":
            hint = f'; write "{_shown(instance)}", in quotes' if isinstance(instance, float) else ""
            return f"must be a string or a whole number{actual}{hint}"
        case "pattern":
            return f"must match {required}{actual}"
        case "minItems" | "minLength":
            return "must not be empty"
        case "maxItems" | "maxLength" | "maxProperties":
            return f"must not be longer than {required}"
        case "uniqueItems":
            return "must not have duplicate items"
        case "format":
            return f"must be a time such as 2027-01-31T00:00:00Z{actual}"
        case "minimum" | "maximum":
            return f"must be at {'least' if rule == 'minimum' else 'most'} {required}{actual}"
    return ""


def _shown(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 80 else text[:79] + "…"
