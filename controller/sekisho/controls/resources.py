"""resources: containers say what they need, and take no more than the policy allows.

Restricted fields: spec.{containers,initContainers}[*].resources.{requests,limits}
Allowed values: with `requiredRequests` and `requiredLimits`, those named are set; with `maxRequests` and `maxLimits`,
    those named are at most so much where they are set; quantities are compared exactly, 1 is 1000m
Ephemeral containers are left out: the API server rejects resources in them.
Level: none, a policy names it
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Annotated

from msgspec import Meta, Struct

from sekisho.controls.control import Check, Control, ParameterError, Parameters, of_container, opt_in, set_to
from sekisho.findings import Finding
from sekisho.pods import ContainerRef, Pod
from sekisho.quantities import PATTERN, QuantityError, parse_quantity

ResourceName = Annotated[
    str,
    Meta(pattern="^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=253),
]
Quantity = Annotated[str, Meta(pattern=PATTERN, max_length=64)]
Amounts = dict[str, str | int | float]


class MaxQuantity(Struct, frozen=True, forbid_unknown_fields=True):
    """The most that a container may have of a resource."""

    resource: Annotated[ResourceName, Meta(description="The resource, such as cpu, memory or nvidia.com/gpu.")]
    quantity: Annotated[Quantity, Meta(description="The most that is allowed, such as 500m or 4Gi.")]


Required = Annotated[tuple[ResourceName, ...], Meta(description="Resources that have to be set.", max_length=32)]
Most = Annotated[
    tuple[MaxQuantity, ...],
    Meta(
        description="The most that is allowed.",
        max_length=32,
        extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["resource"]},
    ),
]


class Resources(Parameters, frozen=True):
    """What containers must and may say of their resources."""

    required_requests: Annotated[Required, Meta(description="Resources whose request has to be set.")] | None = None
    required_limits: Annotated[Required, Meta(description="Resources whose limit has to be set.")] | None = None
    max_requests: Annotated[Most, Meta(description="The most that may be requested.")] | None = None
    max_limits: Annotated[Most, Meta(description="The highest limits.")] | None = None


class _Rules(Struct, frozen=True):
    key: str
    required: tuple[str, ...]
    most: tuple[tuple[str, str, Fraction], ...]


def _check(parameters: Parameters, _minor: int) -> Check:
    assert isinstance(parameters, Resources)  # noqa: S101
    rules = (
        _Rules(
            "requests", parameters.required_requests or (), tuple(_most("maxRequests", parameters.max_requests or ()))
        ),
        _Rules("limits", parameters.required_limits or (), tuple(_most("maxLimits", parameters.max_limits or ()))),
    )

    def judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        findings: list[Finding] = []
        for placed in containers:
            if placed.path[1] != "ephemeralContainers":
                own = placed.container.resources
                amounts = (own.requests, own.limits) if own is not None else (None, None)
                for rule, found in zip(rules, amounts, strict=True):
                    findings += _judge(placed, rule, found or {})
        return findings

    return judge


def _judge(placed: ContainerRef, rule: _Rules, amounts: Amounts) -> Iterator[Finding]:
    for name in rule.required:
        if amounts.get(name) is None:
            tail = ("resources", rule.key, name)
            fix = "set it to what the container needs"
            yield of_container("resources", placed, tail, None, "a quantity", fix)
    for name, written, most in rule.most:
        amount = amounts.get(name)
        if amount is not None and not _is_at_most(str(amount), most):
            tail = ("resources", rule.key, name)
            change = set_to(placed.path + tail, written)
            fix = f"lower it to {written}"
            yield of_container("resources", placed, tail, amount, f"at most {written}", fix, change)


def _is_at_most(amount: str, most: Fraction) -> bool:
    try:
        return parse_quantity(amount) <= most
    except QuantityError:
        return False


def _most(parameter: str, given: Sequence[MaxQuantity]) -> Iterator[tuple[str, str, Fraction]]:
    for index, each in enumerate(given):
        try:
            yield each.resource, each.quantity, parse_quantity(each.quantity)
        except QuantityError as error:
            raise ParameterError(f"{parameter}[{index}].quantity", str(error)) from None


def _verify(given: Parameters) -> None:
    assert isinstance(given, Resources)  # noqa: S101
    for parameter, most in (("maxRequests", given.max_requests), ("maxLimits", given.max_limits)):
        names = [each.resource for each in most or ()]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ParameterError(f"{parameter}[{index}].resource", f"{name!r} is there twice")


CONTROL = Control(
    "resources",
    "its resources",
    "Containers must say what they need, and take no more than the policy allows.",
    Resources,
    opt_in,
    _check,
    verify=_verify,
)
