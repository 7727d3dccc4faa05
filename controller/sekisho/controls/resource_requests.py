"""What the containers of a pod request of a resource, and whether a maximum leaves room for it."""

from collections.abc import Sequence
from fractions import Fraction

from msgspec import Struct

from sekisho.controls.resource_bounds import AmountsField, Bound
from sekisho.pods import ContainerKind, ContainerRef, Resources
from sekisho.quantities import QuantityError, parse_quantity


class Requested(Struct, frozen=True):
    """What the containers of a pod request of a resource: together, and the most of one; None if none requests it."""

    total: Fraction
    highest: Fraction | None


def has_room_for(requested: Requested | None, maximum: Bound, key: AmountsField) -> bool:
    """Whether the API server accepts the maximum for the pod as a whole beside the requests of its containers.

    It rejects a container's limit above the pod's, and requests of containers above the pod's together. Limits can be
    lowered to the maximum, but not below a request.
    """
    if requested is None:
        return False
    largest = requested.highest if key is AmountsField.LIMITS else requested.total
    return largest is None or largest <= maximum.quantity


def requested_of(containers: Sequence[ContainerRef], resource: str) -> Requested | None:
    """What the containers request of a resource; None where an amount is not a quantity.

    Init containers count like the others: that is too much at most.
    """
    numerators: dict[int, list[int]] = {}  # by denominator: to add fractions one by one is slow
    for ref in containers:
        resources = ref.container.resources
        if resources is not None and ref.kind is not ContainerKind.EPHEMERAL:
            amount = (resources.requests or {}).get(resource)
            if amount is not None:
                try:
                    exact = parse_quantity(str(amount))
                except QuantityError:
                    return None
                numerators.setdefault(exact.denominator, []).append(exact.numerator)
    sums = (Fraction(sum(values), denominator) for denominator, values in numerators.items())
    largest = [Fraction(max(values), denominator) for denominator, values in numerators.items()]
    return Requested(sum(sums, Fraction()), max(largest, default=None))


def is_requested_above(maximum: Bound, resources: Resources | None) -> bool:
    """Whether the request is above the maximum; the API server rejects a limit that is below the request."""
    requested = (resources.requests or {}).get(maximum.resource) if resources is not None else None
    return requested is not None and not is_at_most(str(requested), maximum.quantity)


def is_zero(amount: str | int | float) -> bool:
    """Whether an amount is 0; not where it cannot be read."""
    try:
        return parse_quantity(str(amount)) == 0
    except QuantityError:
        return False


def is_at_most(amount: str, maximum: Fraction) -> bool:
    """Whether an amount is at most the maximum; not where it cannot be read."""
    try:
        return parse_quantity(amount) <= maximum
    except QuantityError:
        return False
