"""resources: containers must say what they need, and take no more than the policy allows.

Restricted fields: spec.{containers,initContainers}[*].resources.{requests,limits}
Allowed values: with `requiredRequests` and `requiredLimits`, the listed resources are set; with `maxRequests` and
    `maxLimits`, the listed resources are at most that much where they are set; quantities are compared exactly, 1 is
    1000m
Ephemeral containers are exempt, because the API server rejects resources in them.
Level: none, a policy names it
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Annotated

from msgspec import Meta, Struct

from sekisho.controls.control import Check, Control, Example, ParameterError, Parameters, opt_in
from sekisho.findings import Finding, set_to
from sekisho.pods import ContainerKind, ContainerRef, Pod
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


Required = Annotated[tuple[ResourceName, ...], Meta(description="Resources that must be set.", max_length=32)]
Maxima = Annotated[
    tuple[MaxQuantity, ...],
    Meta(
        description="The most that is allowed.",
        max_length=32,
        extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["resource"]},
    ),
]


class Resources(Parameters, frozen=True):
    """Which resources containers must set, and how much they may take."""

    required_requests: Annotated[Required, Meta(description="Resources whose request must be set.")] | None = None
    required_limits: Annotated[Required, Meta(description="Resources whose limit must be set.")] | None = None
    max_requests: Annotated[Maxima, Meta(description="The most that may be requested.")] | None = None
    max_limits: Annotated[Maxima, Meta(description="The highest limits.")] | None = None


class _Maximum(Struct, frozen=True):
    resource: str
    text: str
    quantity: Fraction


class _Rules(Struct, frozen=True):
    """What is required of requests or limits; `key` says of which."""

    key: str
    required: tuple[str, ...]
    maxima: tuple[_Maximum, ...]


def _check(parameters: Resources, _minor: int) -> Check:
    requests = _Rules(
        "requests", parameters.required_requests or (), tuple(_maxima("maxRequests", parameters.max_requests or ()))
    )
    limits = _Rules(
        "limits", parameters.required_limits or (), tuple(_maxima("maxLimits", parameters.max_limits or ()))
    )

    def judge(_pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        findings: list[Finding] = []
        for ref in containers:
            if ref.kind is not ContainerKind.EPHEMERAL:
                own = ref.container.resources
                findings += _judge(ref, requests, own.requests if own is not None else None)
                findings += _judge(ref, limits, own.limits if own is not None else None)
        return findings

    return judge


def _judge(ref: ContainerRef, rules: _Rules, amounts: Amounts | None) -> Iterator[Finding]:
    amounts = amounts or {}
    for name in rules.required:
        if amounts.get(name) is None:
            yield Finding.of(
                "resources",
                (*ref.path, "resources", rules.key, name),
                None,
                allowed="a quantity",
                fix="set it to what the container needs",
                about=ref,
            )
    for maximum in rules.maxima:
        amount = amounts.get(maximum.resource)
        if amount is not None and not _is_at_most(str(amount), maximum.quantity):
            field = (*ref.path, "resources", rules.key, maximum.resource)
            yield Finding.of(
                "resources",
                field,
                amount,
                allowed=f"at most {maximum.text}",
                fix=f"lower it to {maximum.text}",
                change=set_to(field, maximum.text),
                about=ref,
            )


def _is_at_most(amount: str, most: Fraction) -> bool:
    try:
        return parse_quantity(amount) <= most
    except QuantityError:
        return False


def _maxima(parameter: str, given: Sequence[MaxQuantity]) -> Iterator[_Maximum]:
    for index, maximum in enumerate(given):
        try:
            yield _Maximum(maximum.resource, maximum.quantity, parse_quantity(maximum.quantity))
        except QuantityError as error:
            raise ParameterError(f"{parameter}[{index}].quantity", str(error)) from None


def _verify(given: Resources) -> None:
    for parameter, maxima in (("maxRequests", given.max_requests), ("maxLimits", given.max_limits)):
        names = [maximum.resource for maximum in maxima or ()]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ParameterError(f"{parameter}[{index}].resource", f"{name!r} is a duplicate")


CONTROL = Control(
    name="resources",
    reason="its resources",
    summary="Containers must say what they need, and take no more than the policy allows.",
    why="A container without requests is placed where there is no room, and one without limits can take the memory and "
    "CPU of every pod on its node.",
    example=Example(
        parameters="{requiredRequests: [cpu, memory], maxLimits: [{resource: memory, quantity: 4Gi}]}",
        denied="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  resources:
    requests: {cpu: 100m, memory: 1Gi}
    limits: {memory: 8Gi}
""",
        allowed="""\
containers:
- name: app
  image: registry.example.com/app:1.4
  resources:
    requests: {cpu: 100m, memory: 1Gi}
    limits: {memory: 4Gi}
""",
    ),
    parameters=Resources,
    standard=opt_in,
    check=_check,
    verify=_verify,
)
