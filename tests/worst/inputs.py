"""Inputs as large as a client may make them: each list, map and string of a pod or policy, alone and in pairs."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

from msgspec import Struct

from sekisho.pods import Pod
from sekisho.policies import ClusterPodPolicy, ImageAuthority, ImageCatalog, PodPolicy, PolicyWaiver
from tests.worst.schema import ENTRY, KEY, Path, Schema, growable, pod_schema, struct_schema

Json = Any
Grown = Callable[[int], Json]
"""Makes a value of about this many bytes of JSON."""

_ALL_REQUESTS = ("validate", "mutate", "update", "template")
_MANY = 100_000
_SHARES = (0.5, 0.95, 0.05)
_LENGTHS = (200, 4000)
"""Of the strings in a list that grows with them; the engine bounds strings at 4,096 characters."""
_HOSTILE: dict[str, Json] = {
    "image": "evil.example/x",
    "type": "Unconfined",
    "procMount": "Unmasked",
    "restartPolicy": "Always",
    "runAsUser": 0,
    "runAsGroup": 0,
    "operator": "In",
}
_OTHER_CONTAINERS = {("spec", key, ENTRY) for key in ("initContainers", "ephemeralContainers")}
_DEFAULTED = "sekisho.dev/defaulted"
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/x"
_SECCOMP = "container.seccomp.security.alpha.kubernetes.io/x"


class Input(Struct, frozen=True):
    """An object that grows. `make` gives it with about a number of bytes of JSON; `name` says what in it grows.

    requests: the requests about it that are measured.
    is_swept: whether it is measured at smaller sizes too, because judging reads what grows.
    """

    name: str
    make: Grown
    requests: tuple[str, ...]
    is_swept: bool = True


def pods() -> Iterator[Input]:
    """Pods in which one list, map or string grows."""
    read = {path for path, _ in growable(struct_schema(Pod))}
    for path, schema in growable(pod_schema()):
        for label, grown in _ways(path, schema):
            requests = _ALL_REQUESTS if path in read else ("validate",)
            yield Input(label, _pod_of(((path, grown),)), requests, path in read)


def pairs_of_pods() -> Iterator[Input]:
    """Pods in which two lists or maps grow that judging reads, both alike or one far more than the other.

    Init and ephemeral containers are judged by the code of the others, so what is in them is left out here.
    """
    for (one, grown, label), (other, also, label_too) in combinations(_lists_and_maps(), 2):
        if one != other:
            for share in _SHARES:
                parts = _pod_of(((one, grown), (other, also)), (share, 1 - share))
                yield Input(f"{label} and {label_too}", parts, ("validate", "mutate"))


def strings_of_pods() -> Iterator[Input]:
    """Pods in which a list or map grows whose entries each have a long string that judging reads."""
    schemas = dict(growable(struct_schema(Pod)))
    for path, schema in schemas.items():
        around, inner = _around(path)
        if schema.kind == "string" and around and path[:3] not in _OTHER_CONTAINERS:
            for length in _LENGTHS:
                grown = _long_entries(schemas[around], inner, length)
                label = f"{_label(around)} and {_label(path)} of {length:,} characters"
                yield Input(label, _pod_of(((around, grown),)), ("validate", "mutate"))


def strings_of_policies() -> Iterator[Input]:
    """Policies and waivers in which a list is as long as its schema allows, and so is a string in each entry."""
    for kind, (declared, _) in _POLICY_KINDS.items():
        schemas = dict(growable(struct_schema(declared)))
        for path, schema in schemas.items():
            around, inner = _around(path)
            if schema.kind == "string" and schema.max_size and around and schemas[around].max_size:
                grown = _long_to_the_limit(schemas[around], inner, schema.max_size)
                label = f"{kind}: {_label(around)} and {_label(path)} of {schema.max_size:,} characters"
                yield Input(label, _policy_of(kind, ((around, grown),)), (kind,), is_swept=False)


def policies() -> Iterator[Input]:
    """Policies and waivers in which one list, map or string grows past its limit."""
    for kind, (declared, _) in _POLICY_KINDS.items():
        for path, schema in growable(struct_schema(declared)):
            for label, grown in _ways(path, schema):
                yield Input(f"{kind}: {label}", _policy_of(kind, ((path, grown),)), (kind,))


def pairs_of_policies() -> Iterator[Input]:
    """Policies and waivers in which two lists or maps are as long as their schema allows, and something reads both."""
    for kind, (declared, _) in _POLICY_KINDS.items():
        limited = [
            (path, _to_the_limit(schema), ".".join(path))
            for path, schema in growable(struct_schema(declared))
            if schema.kind in ("list", "map") and schema.max_size
        ]
        for (one, grown, label), (other, also, label_too) in combinations(limited, 2):
            if _may_meet(one, other):
                parts = ((one, grown), (other, also))
                yield Input(f"{kind}: {label} and {label_too}", _policy_of(kind, parts), (kind,), is_swept=False)


def _may_meet(one: Path, other: Path) -> bool:
    """Whether anything may compare what is at two paths of a policy.

    What is compiled of a control's parameters comes from these alone: together, lists of two controls cost what they
    cost alone, and each is tried alone too.
    """
    below = ("spec", "controls")
    return not one[:2] == other[:2] == below or one[2:3] == other[2:3]


_NAMED: dict[str, Json] = {"name": "p"}
_EXPIRES = {"policies": ["p"], "controls": ["privileged"], "reason": "x", "expires": "2027-01-01T00:00:00Z"}
_POLICY_KINDS: dict[str, tuple[type, Json]] = {
    "ClusterPodPolicy": (ClusterPodPolicy, {}),
    "PodPolicy": (PodPolicy, {}),
    "PolicyWaiver": (PolicyWaiver, _EXPIRES),
    "ImageAuthority": (ImageAuthority, {}),
    "ImageCatalog": (ImageCatalog, {"owner": "x"}),
}


def _pod_of(parts: tuple[tuple[Path, Grown], ...], shares: Sequence[float] = (1.0,)) -> Grown:
    base = {"metadata": {"name": "pod"}, "spec": {"containers": [{"name": "x0", "image": "evil.example/x"}]}}
    return _object_of(base, parts, shares)


def _policy_of(kind: str, parts: tuple[tuple[Path, Grown], ...]) -> Grown:
    head = {"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": _NAMED}
    return _object_of(head | {"spec": _POLICY_KINDS[kind][1]}, parts, [1 / len(parts)] * len(parts))


def _object_of(base: Json, parts: tuple[tuple[Path, Grown], ...], shares: Sequence[float]) -> Grown:
    text = json.dumps(base)

    def make(size: int) -> Json:
        whole = json.loads(text)
        for (path, grown), share in zip(parts, shares, strict=True):
            place(whole, path, grown(int(size * share)))
        return whole

    return make


def place(at: Json, path: Path, value: Json) -> None:
    """Set what is at `path`; lists and maps on the way get an entry, unless they have one."""
    for step, after in zip(path, (*path[1:], None), strict=True):
        key: Json = {ENTRY: 0, KEY: "x"}.get(step, step)
        if after is None:
            inner: Json = value
        elif after == ENTRY:
            inner = [None]
        else:
            inner = {}
        if isinstance(at, list):
            at[0] = inner if after is None or not at[0] else at[0]
        elif after is None or not at.get(key):
            at[key] = inner
        at = at[key]


def _lists_and_maps() -> Iterator[tuple[Path, Grown, str]]:
    for path, schema in growable(struct_schema(Pod)):
        if schema.kind != "string" and path[:3] not in _OTHER_CONTAINERS:
            yield from ((path, grown, label) for label, grown in _ways(path, schema))
    yield ("metadata", "annotations", _DEFAULTED), _defaulted, f"metadata.annotations.{_DEFAULTED}"


def _ways(path: Path, schema: Schema) -> Iterator[tuple[str, Grown]]:
    """How a value grows, each with a name for it."""
    name = _label(path)
    if schema.kind == "string":
        yield name, lambda size: "x" * size
        if path[-1] == "image":
            yield f"{name} of many parts", lambda size: "a/" * (size // 2)
    elif schema.kind == "map":
        yield name, _entries(lambda index: (f"x{index}", "1"), dict)
        if path == ("metadata", "annotations"):
            yield f"{name} of AppArmor", _entries(lambda index: (f"{_APPARMOR}{index}", "unconfined"), dict)
            yield f"{name} of seccomp", _entries(lambda index: (f"{_SECCOMP}{index}", "unconfined"), dict)
            yield f"{name}.{_DEFAULTED}", lambda size: {_DEFAULTED: _defaulted(size)}
    else:
        entry = schema.entry or Schema("string")
        yield f"{name}, bare", _entries(lambda index: _bare(entry, index), list)
        if entry.kind == "object":
            yield f"{name}, full", _entries(lambda index: _full(entry, index), list)


def _label(path: Path) -> str:
    return ".".join(path).replace(f".{ENTRY}", ENTRY).replace(f".{KEY}", KEY)


def _defaulted(size: int) -> str:
    fields = [f"/spec/x{index}" for index in range(size // 16)]
    return json.dumps({"everything": fields}, separators=(",", ":"))


def _entries(entry: Callable[[int], Json], of: type[list[Json]] | type[dict[str, Json]]) -> Grown:
    def grown(size: int) -> Json:
        one = len(json.dumps(of([entry(_MANY)]), separators=(",", ":"))) - 1
        count = max(1, size // one)
        if of is list and (same := entry(1)) == entry(2):  # such as a million of {}; the first may get more
            return [entry(0)] + [same] * (count - 1)
        return of(entry(index) for index in range(count))

    return grown


def _to_the_limit(schema: Schema) -> Grown:
    """As many entries as the schema allows, whatever the size; paths with a long prefix in common where they may be."""

    def grown(size: int) -> Json:
        if schema.kind == "map":
            return {f"x{index}": "y" * 60 for index in range(schema.max_size or 0)}
        entry = schema.entry or Schema("string")
        if entry.kind == "string":
            # Registries must begin with a host; then all that each list has in common must be compared.
            prefix = (
                "x.io/" + "x/" * (min(entry.max_size or 60, 500) // 2 - 8) + "x" if (entry.max_size or 0) > 100 else "x"
            )
            return [f"{prefix}{index}" for index in range(schema.max_size or 0)]
        return [_full(entry, index) for index in range(schema.max_size or 0)]

    return grown


def _around(path: Path) -> tuple[Path, Path]:
    """The path of the innermost list or map around a path (empty where there is none), and the rest of the path."""
    for length in range(len(path), 0, -1):
        if path[length - 1] in (ENTRY, KEY):
            return path[: length - 1], path[length:]
    return (), path


def _long_entries(schema: Schema, inner: Path, length: int) -> Grown:
    """Entries of a list or map in each of which the string at `inner` has `length` characters."""

    def entry(index: int) -> Json:
        return _with_string(schema.entry or Schema("string"), inner, index, length)

    if schema.kind == "map":
        return _entries(lambda index: (f"x{index}", entry(index)), dict)
    return _entries(entry, list)


def _long_to_the_limit(schema: Schema, inner: Path, length: int) -> Grown:
    """As many such entries as the schema allows, whatever the size."""
    grown = _long_entries(schema, inner, length)
    return lambda _: _first_of(grown((schema.max_size or 0) * (length + 1000)), schema.max_size or 0)


def _first_of(entries: Json, number: int) -> Json:
    return dict(list(entries.items())[:number]) if isinstance(entries, dict) else entries[:number]


def _with_string(schema: Schema, inner: Path, index: int, length: int) -> Json:
    """The smallest entry with a string at `inner`; strings of different entries differ at their ends only."""
    text = f"{'x' * (length - len(str(index)))}{index}"
    if not inner:
        return text
    entry = _bare(schema, index)
    place(entry, inner, text)
    return entry


def _bare(schema: Schema, index: int) -> Json:
    """The smallest entry of a list: an object of a name, if its type has one."""
    if schema.kind == "object":
        return {"name": f"x{index}"} if "name" in schema.fields else {}
    return _scalar(schema, f"x{index}", index)


def _full(schema: Schema, index: int, name: str = "") -> Json:
    """A value with every field set, as a violation where a field's name is known for it."""
    if schema.kind == "object":
        return {key: _full(field, index, key) for key, field in schema.fields.items()}
    if schema.kind == "list":
        return [_full(schema.entry or Schema("string"), index, name)]
    if schema.kind == "map":
        return {"cpu": "1"}
    return _scalar(schema, _HOSTILE.get(name, f"x{index}"), _HOSTILE.get(name, index % 60_000 + 1))


def _scalar(schema: Schema, text: Json, number: Json) -> Json:
    return {"string": text, "number": number, "boolean": True}[schema.kind]
