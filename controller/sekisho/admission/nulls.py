"""What a manifest leaves empty, as the API server reads it: null is absence, a volume without a source an emptyDir."""

from collections.abc import Sequence
from typing import Any, Final

_TEXTS: Final = frozenset({"labels", "annotations"})
_QUANTITIES: Final = frozenset(
    {"requests", "limits", "max", "min", "default", "defaultRequest", "maxLimitRequestRatio"}
)
_TEXT_LISTS: Final = frozenset(
    {
        "accessModes",
        "add",
        "args",
        "command",
        "drop",
        "finalizers",
        "hostnames",
        "matchLabelKeys",
        "mismatchLabelKeys",
        "monitors",
        "nameservers",
        "namespaces",
        "portals",
        "searches",
        "targetWWNs",
        "values",
        "wwids",
    }
)
"""Lists of texts in a pod spec; other lists hold objects, or numbers."""
_NUMBER_LISTS: Final = frozenset({"supplementalGroups"})


def without_nulls(value: Any, key: str = "") -> Any:
    """The value without null fields; a null in a map or list is an empty text, 0 or an empty object, by the field.

    key: the name of the field that has the value.
    """
    if isinstance(value, dict):
        if key in _TEXTS or key in _QUANTITIES:
            empty = "" if key in _TEXTS else "0"
            return {name: empty if below is None else below for name, below in value.items()}
        return {name: without_nulls(below, name) for name, below in value.items() if below is not None}
    if isinstance(value, list):
        zero: Any = "" if key in _TEXT_LISTS else 0 if key in _NUMBER_LISTS else {}
        return [zero if item is None else without_nulls(item) for item in value]
    return value


def with_volume_sources(value: dict[str, Any], spec_path: Sequence[str]) -> dict[str, Any]:
    """The object with an emptyDir for each volume of the pod spec at the path that has no source at all.

    The same object where every volume has a source. A field that is not known here may be one, and stays as it is, so
    that it is denied where only known sources are allowed.
    """
    key, *rest = spec_path if spec_path else ("volumes",)
    inner = value.get(key)
    if spec_path:
        changed: Any = with_volume_sources(inner, rest) if isinstance(inner, dict) else inner
    elif isinstance(inner, list) and any(map(_has_no_source, inner)):
        changed = [{**volume, "emptyDir": {}} if _has_no_source(volume) else volume for volume in inner]
    else:
        return value
    return value if changed is inner else {**value, key: changed}


def _has_no_source(volume: Any) -> bool:
    return isinstance(volume, dict) and all(source is None for key, source in volume.items() if key != "name")
