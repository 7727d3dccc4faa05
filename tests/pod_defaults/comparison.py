"""What the API server stores of a pod, compared with what `sekisho.admission.pod_defaults` says it does."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import msgspec

from sekisho.admission.nulls import with_volume_sources, without_nulls
from sekisho.admission.pod_defaults import TOKEN_VOLUME, NamespaceObjects, as_created
from sekisho.pods import Pod
from sekisho.quantities import parse_quantity
from tests.pod_defaults.corpus import Json

_QUANTITIES: Final = frozenset({"requests", "limits"})
_SAME_AS_UNSET: Final = frozenset(
    {"annotations", "capabilities", "labels", "limits", "metadata", "requests", "resources", "securityContext"}
)
"""Objects that mean the same to every control when they are empty as when they are unset."""
_ZERO_IS_UNSET: Final = frozenset({"hostIPC", "hostNetwork", "hostPID", "hostPort", "readOnly"})
"""Fields that the API server omits when they are false or 0."""
_LIMIT_RANGER: Final = "kubernetes.io/limit-ranger"


def differences(sent: Json, stored: Json, objects: NamespaceObjects) -> list[tuple[str, Any, Any]]:
    """The fields in which the module's pod differs from the stored one: path, the module's value, the stored one."""
    ours, theirs = fields(as_created(typed(sent), objects).pod), fields(typed(stored))
    return [
        (path, ours.get(path), theirs.get(path))
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path) != theirs.get(path)
    ]


def typed(pod: Json) -> Pod:
    """A pod as manifests are read."""
    return msgspec.convert(with_volume_sources(without_nulls(pod), ("spec",)), Pod)


def fields(pod: Pod) -> dict[str, Any]:
    """Every field that is set, by path; an empty text is the same as an unset one."""
    built = msgspec.to_builtins(pod)
    metadata = built["metadata"]
    annotations = {key: text for key, text in (metadata.get("annotations") or {}).items() if key != _LIMIT_RANGER}
    built["metadata"] = {"labels": metadata.get("labels"), "annotations": annotations}
    return dict(_leaves(built, ""))


def _leaves(value: Any, path: str, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        if key in _QUANTITIES:
            yield from ((f"{path}.{name}", _amount(amount)) for name, amount in value.items())
            return
        if key not in _SAME_AS_UNSET:
            yield path, "set"
        for name, child in value.items():
            if child is not None and (child or name not in _ZERO_IS_UNSET):
                yield from _leaves(child, f"{path}.{name}", name)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _leaves(child, f"{path}[{index}]")
    elif value is not None and value != "":
        yield path, TOKEN_VOLUME if isinstance(value, str) and value.startswith(TOKEN_VOLUME) else value


def _amount(amount: str | float) -> Fraction:
    return parse_quantity(str(amount))
