"""What a manifest leaves empty, as the API server reads it: null is absence, a volume without a source an emptyDir."""

from collections.abc import Sequence
from typing import Any, Final

_TEXTS: Final = frozenset({"labels", "annotations"})
_QUANTITIES: Final = frozenset({"requests", "limits"})


def without_nulls(value: Any, key: str = "") -> Any:
    """The value without null fields; a null in a map of texts is empty, in a map of quantities 0, in a list an object.

    `key` is the name of the field that holds the value.
    """
    if isinstance(value, dict):
        if key in _TEXTS or key in _QUANTITIES:
            empty = "" if key in _TEXTS else "0"
            return {name: empty if each is None else each for name, each in value.items()}
        return {name: without_nulls(each, name) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [{} if each is None else without_nulls(each) for each in value]
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
        changed = [{**each, "emptyDir": {}} if _has_no_source(each) else each for each in inner]
    else:
        return value
    return value if changed is inner else {**value, key: changed}


def _has_no_source(volume: Any) -> bool:
    return isinstance(volume, dict) and all(each is None for key, each in volume.items() if key != "name")
