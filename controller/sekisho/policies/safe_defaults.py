"""Which defaults are applied: none that its own pod would be denied for, and one for each field."""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec

from sekisho.controls import Check
from sekisho.pods import Pod, container_refs
from sekisho.policies.compiled_defaults import Default, DefaultLevel

_CHANGING: Final = (DefaultLevel.PULL, DefaultLevel.MIRRORS)
"""Levels whose defaults change a value that is always there."""
_CONTAINER: Final = {"name": "app", "image": "app"}
_SPECS: Final[tuple[dict[str, Any], ...]] = ({}, {"hostUsers": False}, {"os": {"name": "windows"}})
"""Pods that leave every field unset, of each kind that controls treat in a way of its own."""


def safe_defaults(defaults: Iterable[Default], denying: Iterable[tuple[str, Check]]) -> tuple[Default, ...]:
    """The defaults that no policy denies a pod for: a default must not turn an admitted pod into a denied one.

    denying: the checks that deny, with the names of their controls.
    """
    checks: dict[str, dict[int, Check]] = {}
    for control, check in denying:
        checks.setdefault(control, {})[id(check)] = check
    known: dict[tuple[str, DefaultLevel, str, bytes], bool] = {}

    def is_safe(default: Default) -> bool:
        level, key, value = default.level, default.key, msgspec.json.encode(default.value)
        field = (default.control, level, key, value)
        safe = known.get(field)
        if safe is None:  # hundreds of policies may have the same default
            denying = checks.get(default.control, {}).values()
            safe = known[field] = not any(_breaks(check, level, key, value) for check in denying)
        return safe

    return tuple(filter(is_safe, defaults))


def requires_a_value(check: Check) -> bool:
    """Whether a pod that leaves every field unset violates the check."""
    known = _trials_of(check)
    if None not in known:
        known[None] = _count(check, _pod({})) > 0
    return known[None]


def first_per_field(defaults: Sequence[Default]) -> tuple[Default, ...]:
    """The first default for each field; of a PodPolicy only where no ClusterPodPolicy has one for either level.

    A container's value overrides the pod's, so a PodPolicy's default for either could override a ClusterPodPolicy's.
    The user 0 is never set where runAsNonRoot is set.
    """
    by_field: dict[tuple[DefaultLevel, str], Default] = {}
    of_cluster = {default.key for default in defaults if default.of_cluster}
    for default in defaults:
        if default.of_cluster or default.key not in of_cluster:
            by_field.setdefault((default.level, default.key), default)
    first = by_field.values()
    # The kubelet does not start a container that must not run as root as the user 0.
    non_root = any(default.key == "runAsNonRoot" and default.value is True for default in first)
    return tuple(d for d in first if not (non_root and d.key == "runAsUser" and d.value == 0))


def _breaks(check: Check, level: DefaultLevel, key: str, value: bytes) -> bool:
    """Whether a pod in which only this field is set violates the check more often than one in which nothing is set."""
    known, field = _trials_of(check), (level, key, value)
    if field not in known:
        without = (level, key, value) if level in _CHANGING else (None,)
        known[field] = any(
            _count(check, _pod(base, level, key, value)) > _count(check, _pod(base, *without, unset=True))
            for base in _SPECS
        )
    return known[field]


_Field = tuple[DefaultLevel, str, bytes]
_MAX_TRIALS: Final = 256
_trials: WeakKeyDictionary[Check, dict[_Field | None, bool]] = WeakKeyDictionary()
"""By check, as long as some policy uses it: whether it is violated if a field is set, and with None if none is."""


def _trials_of(check: Check) -> dict[_Field | None, bool]:
    """What is known of a check, with room for one more entry."""
    known = _trials.setdefault(check, {})
    if len(known) >= _MAX_TRIALS:
        known.clear()
    return known


def _count(check: Check, pod: dict[str, Any]) -> int:
    judged = msgspec.convert(pod, Pod)
    return len(check(judged, container_refs(judged.spec)))


def _pod(
    base: dict[str, Any],
    level: DefaultLevel | None = None,
    key: str = "",
    value: bytes = b"null",
    *,
    unset: bool = False,
) -> dict[str, Any]:
    """A pod in which only one field is set.

    unset: the same pod without the default, where the default does not add a field but changes one.
    """
    pod: dict[str, Any] = {"spec": {**base, "containers": [_CONTAINER]}}
    decoded = msgspec.json.decode(value)
    name, _, entry = key.partition(".")
    match level:
        case DefaultLevel.SPEC:
            return {"spec": {**pod["spec"], key: decoded}}
        case DefaultLevel.POD:
            return {"spec": {**pod["spec"], "securityContext": {key: decoded}}}
        case DefaultLevel.METADATA:
            return {**pod, "metadata": {name: {entry: decoded}}}
        case DefaultLevel.CONTAINER:
            added: dict[str, Any] = {"securityContext": {key: decoded}}
        case DefaultLevel.PULL:
            added = {key: "IfNotPresent" if unset else decoded}
        case DefaultLevel.RESOURCES:
            added = {"resources": {name: {entry: decoded}}}
        case DefaultLevel.MIRRORS:
            added = {"image": f"{key if unset else decoded}/{_REPOSITORY}"}
        case None:
            added = {}
    return {"spec": {**pod["spec"], "containers": [{**_CONTAINER, **added}]}}


_REPOSITORY: Final = "library/app"
