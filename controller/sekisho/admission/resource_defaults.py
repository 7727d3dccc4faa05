"""Defaults for the requests and limits of a container."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from sekisho.pods import Resources
from sekisho.policies import Default
from sekisho.quantities import QuantityError, parse_quantity

Amounts = Mapping[str, str | int | float]


def resources_wanted(resources: Resources | None, defaults: Sequence[Default]) -> list[tuple[str, str, Default]]:
    """What defaults set in the resources of a container: `limits` or `requests`, the resource, and the default.

    resources: those that it sets itself; None for none.

    No limit is set below the container's request, and no request above its limit: the API server rejects both. As in
    the API server, an unset request becomes equal to the limit where that is set.
    """
    own_limits: Amounts = (resources.limits if resources is not None else None) or {}
    own_requests: Amounts = (resources.requests if resources is not None else None) or {}
    limits, requests = _by_resource(defaults, "limits."), _by_resource(defaults, "requests.")
    wanted: list[tuple[str, str, Default]] = []
    for name in sorted({*limits, *requests}):
        limit = limits.get(name)
        if name in own_limits or (limit is not None and _is_above(own_requests.get(name), limit.value)):
            limit = None
        request = requests.get(name)
        highest = limit.value if limit is not None else own_limits.get(name)
        if request is not None and highest is not None and _is_above(request.value, highest):
            request = limit
        if limit is not None:
            wanted.append(("limits", name, limit))
        request = request or limit
        if request is not None and name not in own_requests:
            wanted.append(("requests", name, request))
    return wanted


def _by_resource(defaults: Sequence[Default], prefix: str) -> dict[str, Default]:
    return {default.key.removeprefix(prefix): default for default in defaults if default.key.startswith(prefix)}


def _is_above(amount: str | float | None, limit: str | float) -> bool:
    """Whether an amount is above a limit, or cannot be compared with it."""
    if amount is None:
        return False
    try:
        return _exact(amount) > _exact(limit)
    except QuantityError:
        return True


def _exact(amount: str | float) -> Fraction:
    return parse_quantity(str(amount))
