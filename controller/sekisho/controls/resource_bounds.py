"""Bounds of a container's resources: their types, and the checks of minimums and of limits compared with requests."""

from collections.abc import Iterator, Sequence, Set
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Final, Protocol

from msgspec import Meta, Struct, structs

from sekisho.controls.control import ParameterError
from sekisho.findings import FieldPath, Finding
from sekisho.pods import ContainerRef
from sekisho.quantities import PATTERN, QuantityError, parse_quantity

ResourceName = Annotated[
    str,
    Meta(pattern="^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=253),
]
if TYPE_CHECKING:
    Quantity = str
else:
    Quantity = Annotated[str, Meta(pattern=PATTERN, max_length=64)] | Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""A quantity as a pod may have it: a text, or a whole number, which `as_texts` makes a text."""
Amounts = dict[str, str | int | float]
"""Requests or limits as they are written, by resource; a manifest may have numbers."""
UNLIMITED: Final = frozenset(("cpu", "memory", "ephemeral-storage"))
"""Resources of which a container without a limit, or with the limit 0, may take all that the node has."""


class AmountsField(StrEnum):
    """The field of `resources` that amounts are in."""

    REQUESTS = "requests"
    LIMITS = "limits"


def as_texts(written: Struct) -> None:
    """Make the whole numbers among the fields of a struct texts; called where it is created."""
    for name in written.__struct_fields__:
        value = getattr(written, name)
        if isinstance(value, int):
            structs.force_setattr(written, name, str(value))


class MinQuantity(Struct, frozen=True, forbid_unknown_fields=True):
    """The least that a container may have of a resource."""

    resource: Annotated[ResourceName, Meta(description="The resource, such as cpu, memory or nvidia.com/gpu.")]
    quantity: Annotated[Quantity, Meta(description="The least that is allowed, such as 10m or 32Mi.")]

    def __post_init__(self) -> None:
        as_texts(self)


class MaxRatio(Struct, frozen=True, forbid_unknown_fields=True):
    """How many times its request the limit of a resource may be."""

    resource: Annotated[ResourceName, Meta(description="The resource, such as cpu or memory.")]
    ratio: Annotated[
        Quantity, Meta(description='The highest limit divided by the request, such as 2 or "1.5" (in quotes).')
    ]

    def __post_init__(self) -> None:
        as_texts(self)


BY_RESOURCE: Final = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["resource"]}
Minima = Annotated[tuple[MinQuantity, ...], Meta(max_length=32, extra_json_schema=BY_RESOURCE)]
Ratios = Annotated[tuple[MaxRatio, ...], Meta(max_length=32, extra_json_schema=BY_RESOURCE)]


class _Quantities(Protocol):
    @property
    def resource(self) -> str: ...
    @property
    def quantity(self) -> str: ...


class Bound(Struct, frozen=True):
    """A bound of a resource, as it is written and exactly."""

    resource: str
    text: str
    quantity: Fraction


def bounds_of(parameter: str, written: Sequence[_Quantities] | None) -> tuple[Bound, ...]:
    """The bounds in a parameter, none if it is unset (None). Raises ParameterError for what is not a quantity."""
    texts = [(bound.resource, bound.quantity) for bound in written or ()]
    return tuple(_bound(f"{parameter}[{index}].quantity", *text) for index, text in enumerate(texts))


def ratios_of(parameter: str, written: Sequence[MaxRatio] | None) -> tuple[Bound, ...]:
    """The ratios in a parameter, none if it is unset (None). Raises ParameterError for one below 1."""
    ratios = [
        _bound(f"{parameter}[{index}].ratio", bound.resource, bound.ratio) for index, bound in enumerate(written or ())
    ]
    for index, ratio in enumerate(ratios):
        if ratio.quantity < 1:
            message = "must be at least 1: the API server rejects a limit below the request"
            raise ParameterError(f"{parameter}[{index}].ratio", message)
    return tuple(ratios)


def _bound(where: str, resource: str, text: str) -> Bound:
    try:
        return Bound(resource, text, parse_quantity(text))
    except QuantityError as error:
        raise ParameterError(where, str(error)) from None


def verify_resources(parameter: str, resources: Sequence[str]) -> None:
    """Raises ParameterError where a parameter has two bounds of a resource."""
    for index, name in enumerate(resources):
        if name in resources[:index]:
            raise ParameterError(f"{parameter}[{index}].resource", f"{name!r} is a duplicate")


def below_minimum(
    key: AmountsField,
    minima: Sequence[Bound],
    amounts: Amounts,
    above: FieldPath,
    unset: Set[str],
    about: ContainerRef | None,
) -> Iterator[Finding]:
    """The findings on amounts below their minimum.

    above: the path of the container, or of the pod's spec.
    unset: resources that must be set and are not; an unset one is less than any minimum.
    about: the container; None for the pod.
    """
    for minimum in minima:
        name = minimum.resource
        amount = amounts.get(name)
        if amount is None and name not in unset:
            continue
        exact = None if amount is None else _exact(amount)
        if exact is None or exact < minimum.quantity:
            allowed, fix = f"at least {minimum.text}", f"set it to at least {minimum.text}"
            path = (*above, "resources", key.value, name)
            yield Finding.of("resources", path, amount, allowed=allowed, fix=fix, about=about)


def above_ratio(
    ratios: Sequence[Bound],
    requests: Amounts,
    limits: Amounts,
    above: FieldPath,
    unset: Set[str],
    about: ContainerRef | None,
) -> Iterator[Finding]:
    """The findings on limits that are too high for their request; the arguments, and None, are as for `below_minimum`.

    A request that is unset is the limit, as the API server sets it.
    """
    for ratio in ratios:
        name = ratio.resource
        limit, request = limits.get(name), requests.get(name)
        field = (*above, "resources", "limits", name)
        if limit is None and name in unset:
            limit = _written_limit(about, name)
            fix = "set it" if limit is None else "set it to more than 0"
            allowed = f"at most {ratio.text} times the request"
        elif limit is None or request is None or _is_within(limit, request, ratio.quantity):
            continue
        else:
            allowed, fix = f"at most {ratio.text} times the request of {request}", "lower it, or raise the request"
        yield Finding.of("resources", field, limit, allowed=allowed, fix=fix, about=about)


def _written_limit(about: ContainerRef | None, name: str) -> str | int | float | None:
    """A limit as it is written: of cpu, memory and ephemeral-storage, 0 counts as unset."""
    resources = None if about is None else about.container.resources
    return None if resources is None else (resources.limits or {}).get(name)


def _is_within(limit: str | float, request: str | float, ratio: Fraction) -> bool:
    exact_limit, exact_request = _exact(limit), _exact(request)
    return exact_limit is not None and exact_request is not None and exact_limit <= exact_request * ratio


def _exact(amount: str | float) -> Fraction | None:
    try:
        return parse_quantity(str(amount))
    except QuantityError:
        return None
