"""Every object that a custom resource's schema admits, for property tests."""

from datetime import timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from sekisho.policies.crd import Resource, resource_schema

Json = Any

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
EDGES = ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z")
MOMENTS = st.sampled_from(EDGES) | st.datetimes(timezones=OFFSETS).map(lambda moment: moment.isoformat())
NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?)?", fullmatch=True)
ANY = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | NAMES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=3),
    max_leaves=4,
)
"""Values of a field whose schema has no type."""
LONG_NAMES = st.sampled_from(
    [f"{'a' * length}-{'b' * 9}" for length in range(215, 244)] + ["a" * 253, "a." * 126 + "a"]
)


def objects_of(resource: Resource) -> st.SearchStrategy[Json]:
    """Objects of a kind as the API server stores them, whatever CEL rules say: those are not always installed."""
    schema = resource_schema(resource)["properties"]
    spec, status = values(schema["spec"]), values(schema["status"])
    metadata = st.fixed_dictionaries(
        {
            "name": NAMES | LONG_NAMES,
            "uid": st.uuids().map(str),
            "generation": st.integers(1, 2**63 - 1),
            "resourceVersion": st.integers(1, 2**63 - 1).map(str),
        }
        | ({"namespace": st.from_regex(r"[a-z]{1,9}", fullmatch=True)} if resource.scope == "Namespaced" else {})
    )
    return st.fixed_dictionaries(
        {"kind": st.just(resource.name), "metadata": metadata, "spec": spec}, optional={"status": status}
    )


def values(schema: Json) -> st.SearchStrategy[Json]:
    """The values of a structural schema."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "type" not in schema:
        return ANY
    match schema["type"]:
        case "string":
            return _texts(schema)
        case "integer":
            min_length, max_length = schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1)
            return st.sampled_from((min_length, max_length)) | st.integers(min_length, max_length)
        case "boolean":
            return st.booleans()
        case "array":
            is_set = schema.get("x-kubernetes-list-type") == "set"
            min_length, max_length = (
                schema.get("minItems", 0),
                min(schema.get("maxItems", 3), max(schema.get("minItems", 0), 3)),
            )
            return st.lists(values(schema["items"]), min_size=min_length, max_size=max_length, unique=is_set)
    if "additionalProperties" in schema:
        return st.dictionaries(NAMES, values(schema["additionalProperties"]), max_size=3)
    required = schema.get("required", ())
    fields = {name: values(below) for name, below in schema.get("properties", {}).items()}
    return st.fixed_dictionaries(
        {name: fields[name] for name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )


def _texts(schema: Json) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return MOMENTS
    min_length, max_length = schema.get("minLength", 0), schema.get("maxLength", 2**16)
    if "pattern" in schema:
        # Go's $ is the end of the text, and so is \Z.
        pattern = schema["pattern"].replace("$", r"\Z")
        return st.from_regex(pattern).filter(lambda text: min_length <= len(text) <= max_length)
    return st.text(min_size=min_length, max_size=min(max_length, max(min_length, 40)))
