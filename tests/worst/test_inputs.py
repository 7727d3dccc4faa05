"""The inputs of `make worst` leave out nothing that a client can make large."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from sekisho.policies import ClusterPodPolicy
from sekisho.policies.crd import RESOURCES, resource_schema
from tests.worst.inputs import pairs_of_policies, policies
from tests.worst.schema import ENTRY, KEY, Path, growable, struct_schema


def growing(schema: dict[str, Any], path: Path = ()) -> Iterator[Path]:
    """Every list, map and string in a schema of a CRD that is not one of a few values."""
    kind, entries = schema.get("type"), schema.get("additionalProperties")
    if "enum" in schema or kind in ("boolean", "integer", "number"):
        return
    if kind != "object" or entries is not None:
        yield path
    if kind == "array":
        yield from growing(schema["items"], (*path, ENTRY))
    if entries is not None:
        yield from growing(entries, (*path, KEY))
    for name, field in schema.get("properties", {}).items():
        yield from growing(field, (*path, name))


@pytest.mark.parametrize("kind", RESOURCES)
def test_every_list_map_and_string_of_a_policy_grows(kind: str) -> None:
    grown = {one.name.partition(", ")[0] for one in policies()}
    spec = resource_schema(RESOURCES[kind])["properties"]["spec"]
    labels = {".".join(path).replace(f".{ENTRY}", ENTRY).replace(f".{KEY}", KEY) for path in growing(spec, ("spec",))}
    assert labels
    assert {f"{kind}: {label}" for label in labels} <= grown


def test_all_pairs_of_lists_in_a_policy_are_tried_except_those_of_two_controls() -> None:
    limited = [
        ".".join(path)
        for path, schema in growable(struct_schema(ClusterPodPolicy))
        if schema.kind in ("list", "map") and schema.max_size
    ]
    names = {one.name for one in pairs_of_policies()}
    left_out = [pair for pair in combinations(limited, 2) if "ClusterPodPolicy: " + " and ".join(pair) not in names]
    controls = [[label.split(".")[:3] for label in pair] for pair in left_out]
    assert controls
    assert all(one[:2] == other[:2] == ["spec", "controls"] and one != other for one, other in controls)
