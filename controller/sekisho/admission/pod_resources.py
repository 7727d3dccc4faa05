"""The requests and limits that the API server sets in a new pod: from limits, from LimitRanges, and from containers.

Sources: Kubernetes 1.37, pkg/apis/core/v1/defaults.go (SetDefaults_Pod, SetDefaults_ResourceList,
SetDefaults_LimitRangeItem), plugin/pkg/admission/limitranger, pkg/api/pod/util.go (DefaultPodLevelResources)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from math import ceil
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sekisho.admission.origins import Origin, Origins
from sekisho.findings import FieldPath
from sekisho.pods import Container, PodSpec, Resources
from sekisho.quantities import QuantityError, parse_quantity

Quantity = str | int | float
Amounts = dict[str, Quantity]
Exact = dict[str, Fraction]

_UNSET: Final = Resources()
_HUGE_PAGES: Final = "hugepages-"
_POD_LEVEL: Final = frozenset({"cpu", "memory"})
"""Resources that a pod may have as a whole, beside huge pages."""


class LimitRangeItem(Struct, frozen=True, rename="camel"):
    """One entry of a LimitRange's spec.limits. Only those of the type Container change pods; None is unset."""

    type: str = ""
    default: Amounts | None = None
    default_request: Amounts | None = None
    min: Amounts | None = None
    max: Amounts | None = None


class LimitRange(Struct, frozen=True):
    """The limits and requests that a LimitRange sets in each container and init container that leaves them unset."""

    name: str
    limits: Mapping[str, Quantity] = {}
    requests: Mapping[str, Quantity] = {}


def limit_range(name: str, items: Iterable[LimitRangeItem]) -> LimitRange:
    """A LimitRange by its spec.limits. Of several items the last that sets a resource counts.

    The API server defaults an item before it stores it: default is max where it is unset; defaultRequest is default,
    else min.
    """
    limits: Amounts = {}
    requests: Amounts = {}
    for item in items:
        if item.type == "Container":
            default = {**(item.max or {}), **(item.default or {})}
            limits |= default
            requests |= {**(item.min or {}), **default, **(item.default_request or {})}
    return LimitRange(name, limits, requests)


def container_resources(
    resources: Resources | None, path: FieldPath, limit_ranges: Sequence[LimitRange], origins: Origins
) -> Resources | None:
    """The resources of the container or init container at `path`; the same object where nothing is set.

    resources: as written; None for a container that sets none.

    Requests are copied from limits, then each LimitRange sets what is still unset.
    """
    if resources is None and not limit_ranges:
        return None
    own = resources or _UNSET
    at_limits, at_requests = (*path, "resources", "limits"), (*path, "resources", "requests")
    limits, requests = _rounded(own.limits, at_limits, origins), _rounded(own.requests, at_requests, origins)
    requests = _filled(requests, limits, at_requests, "copied from limits", origins)
    for defaults in limit_ranges:
        cause = f"set by LimitRange {defaults.name}"
        limits = _filled(limits, defaults.limits, at_limits, cause, origins)
        requests = _filled(requests, defaults.requests, at_requests, cause, origins)
    if limits is own.limits and requests is own.requests:
        return resources
    return replace(own, limits=limits, requests=requests)


def pod_resources(spec: PodSpec, origins: Origins) -> Resources | None:
    """The pod's own resources, None if it has none; the same object where nothing is added.

    Requests come from the containers' requests, else from the pod's limits; limits from the containers' limits where
    all of them have one, but not below the request. Limits of huge pages come first, from the containers' limits.
    """
    own = spec.resources
    if own is None or not (own.requests or own.limits):
        return own
    at_limits, at_requests = ("spec", "resources", "limits"), ("spec", "resources", "requests")
    limits = _rounded(own.limits, at_limits, origins) or {}
    requests = _rounded(own.requests, at_requests, origins) or {}
    container_limits = _total(spec, lambda resources: resources.limits)
    from_limits, from_requests = "the sum of the containers' limits", "the sum of the containers' requests"

    pages = {
        name: _render(amount, spec, name)
        for name, amount in container_limits.items()
        if name.startswith(_HUGE_PAGES) and name not in requests
    }
    limits = _filled(limits, pages, at_limits, from_limits, origins) or limits
    sums = _total(spec, lambda resources: resources.requests)
    wanted = {name: _render(amount, spec, name) for name, amount in sums.items() if name in _POD_LEVEL}
    requests = _filled(requests, wanted, at_requests, from_requests, origins) or requests
    of_pod = {name: amount for name, amount in limits.items() if _is_pod_level(name)}
    requests = _filled(requests, of_pod, at_requests, "copied from limits", origins) or requests
    highest = {}
    every = _limits_of_all(spec)
    for name in requests:
        is_open = _is_pod_level(name) and name not in limits and name in container_limits
        if is_open and all(name in container for container in every):
            request = _exact(requests[name])
            above = request is not None and request > container_limits[name]
            highest[name] = requests[name] if above else _render(container_limits[name], spec, name)
    limits = _filled(limits, highest, at_limits, from_limits, origins) or limits
    if limits == (own.limits or {}) and requests == (own.requests or {}):
        return own
    return replace(own, limits=limits, requests=requests)


def _is_pod_level(name: str) -> bool:
    return name in _POD_LEVEL or name.startswith(_HUGE_PAGES)


def _filled(
    amounts: Amounts | None, source: Mapping[str, Quantity] | None, path: FieldPath, cause: str, origins: Origins
) -> Amounts | None:
    """`amounts` with what only `source` has; the same object where that is nothing."""
    added = {name: amount for name, amount in (source or {}).items() if amounts is None or name not in amounts}
    if not added:
        return amounts
    for name in added:
        origins[(*path, name)] = Origin(cause)
    return {**(amounts or {}), **added}


def _rounded(amounts: Amounts | None, path: FieldPath, origins: Origins) -> Amounts | None:
    """The amounts rounded up to thousandths, which is the finest that the API server stores."""
    if not amounts:
        return amounts
    changed = {name: rounded for name, amount in amounts.items() if (rounded := _round_up(amount)) != amount}
    for name in changed:
        origins[(*path, name)] = Origin(f"rounded up from {amounts[name]}")
    return {**amounts, **changed} if changed else amounts


def _round_up(amount: Quantity) -> Quantity:
    text = str(amount)
    if text.isdigit() or (text[:-1].isdigit() and text[-1] not in "nu") or (text[-1:] == "i" and "." not in text):
        return amount
    exact = _exact(amount)
    if exact is None or (exact * 1000).denominator == 1:
        return amount
    return f"{ceil(exact * 1000)}m"


def _exact(amount: Quantity) -> Fraction | None:
    """The amount as a number; None for what is not a quantity, which the API server rejects."""
    try:
        return parse_quantity(str(amount))
    except QuantityError:
        return None


def _total(spec: PodSpec, amounts_of: Callable[[Resources], Amounts | None]) -> Exact:
    """What the containers use together at the most: the regular ones and sidecars, or an init container before them."""
    total: Exact = {}
    for container in spec.containers or ():
        _add(total, _amounts(container, amounts_of))
    sidecars: Exact = {}
    highest: Exact = {}
    for container in spec.init_containers or ():
        own = _amounts(container, amounts_of)
        for name, amount in own.items():  # of other names, no more is used than when the last sidecar with them came
            use = sidecars.get(name, Fraction(0)) + amount
            highest[name] = max(use, highest.get(name, use))
        if container.restart_policy == "Always":
            _add(total, own)
            _add(sidecars, own)
    for name, amount in highest.items():
        total[name] = max(amount, total.get(name, amount))
    return total


def _amounts(container: Container, amounts_of: Callable[[Resources], Amounts | None]) -> Exact:
    amounts = amounts_of(container.resources) if container.resources is not None else None
    exact = {name: _exact(amount) for name, amount in (amounts or {}).items() if _is_pod_level(name)}
    return {name: amount for name, amount in exact.items() if amount is not None}


def _add(total: Exact, more: Exact) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, Fraction(0)) + amount


def _limits_of_all(spec: PodSpec) -> list[Amounts]:
    """The limits of each container of any kind."""
    containers = (*(spec.init_containers or ()), *(spec.containers or ()), *(spec.ephemeral_containers or ()))
    return [(container.resources.limits if container.resources is not None else None) or {} for container in containers]


def _render(amount: Fraction, spec: PodSpec, name: str) -> str:
    """A sum as a quantity: whole units, or thousandths of a CPU; memory in the largest unit without a remainder."""
    if amount.denominator != 1:
        return f"{ceil(amount * 1000)}m"
    whole = int(amount)
    if name != "cpu":
        for power, suffix in enumerate(("Ei", "Pi", "Ti", "Gi", "Mi", "Ki")):
            unit = 1024 ** (6 - power)
            if whole and whole % unit == 0:
                return f"{whole // unit}{suffix}"
    return str(whole)
