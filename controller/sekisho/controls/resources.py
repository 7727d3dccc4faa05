"""resources: containers must say what they need, and take no more than the policy allows.

Restricted fields: spec.{containers,initContainers}[*].resources.{requests,limits}, spec.resources.{requests,limits}
Allowed values: With `requiredRequests` and `requiredLimits`, the listed resources are set, for the container or for the
    pod. With `maxRequests` and `maxLimits`, the listed resources are at most that much, for each container and for the
    pod. With `minRequests` and `minLimits`, they are at least that much. With `maxLimitRequestRatios`, a limit is at
    most that many times the request. Quantities are compared exactly, 1 is 1000m.
A request of 0 does not meet `requiredRequests`: it reserves nothing.
A limit of cpu, memory or ephemeral-storage that is 0 counts as unset, as it does to the kubelet. Where neither the
container nor the pod has a limit, `maxLimits` denies the container, as a LimitRange does: it may take more than any
maximum; so does `maxLimitRequestRatios`. An unset request reserves nothing, so `maxRequests` allows it, and
`minRequests` denies it. An unset limit is not below any minimum.
Ephemeral containers are exempt, because the API server rejects resources in them.
Level: none; the control applies only where a policy names it
"""

from collections.abc import Iterator, Sequence, Set
from typing import Annotated, Final

from msgspec import Meta, Struct, structs

from sekisho.controls.control import Check, Control, Example, ParameterError, Parameters, opt_in
from sekisho.controls.resource_bounds import (
    BY_RESOURCE,
    UNLIMITED,
    Amounts,
    AmountsField,
    Bound,
    MaxRatio,
    Minima,
    MinQuantity,
    Quantity,
    Ratios,
    ResourceName,
    above_ratio,
    as_texts,
    below_minimum,
    bounds_of,
    ratios_of,
    verify_resources,
)
from sekisho.controls.resource_requests import (
    Requested,
    has_room_for,
    is_at_most,
    is_requested_above,
    is_zero,
    requested_of,
)
from sekisho.findings import FieldPath, Finding, set_to
from sekisho.pods import ContainerKind, ContainerRef, Pod
from sekisho.pods import Resources as PodResources


class MaxQuantity(Struct, frozen=True, forbid_unknown_fields=True):
    """The most that a container may have of a resource."""

    resource: Annotated[ResourceName, Meta(description="The resource, such as cpu, memory or nvidia.com/gpu.")]
    quantity: Annotated[Quantity, Meta(description="The most that is allowed, such as 500m or 4Gi.")]

    def __post_init__(self) -> None:
        as_texts(self)


Required = Annotated[tuple[ResourceName, ...], Meta(description="Resources that must be set.", max_length=32)]
Maxima = Annotated[
    tuple[MaxQuantity, ...],
    Meta(description="The most that is allowed.", max_length=32, extra_json_schema=BY_RESOURCE),
]


class Resources(Parameters, frozen=True):
    """Which resources containers must set, and how much they may take."""

    required_requests: Annotated[Required, Meta(description="Resources whose request must be set.")] | None = None
    required_limits: Annotated[Required, Meta(description="Resources whose limit must be set.")] | None = None
    max_requests: (
        Annotated[Maxima, Meta(description="The most that each container, and the pod as a whole, may request.")] | None
    ) = None
    max_limits: (
        Annotated[
            Maxima,
            Meta(
                description="The highest limit of each container, and of the pod as a whole. A container without a "
                "limit of cpu, memory or ephemeral-storage is denied."
            ),
        ]
        | None
    ) = None
    min_requests: (
        Annotated[
            Minima,
            Meta(
                description="The least that each container must request, unless the pod does, and the pod as a whole."
            ),
        ]
        | None
    ) = None
    min_limits: (
        Annotated[Minima, Meta(description="The lowest limit of each container, and of the pod as a whole.")] | None
    ) = None
    max_limit_request_ratios: (
        Annotated[
            Ratios,
            Meta(
                description="How many times the request a limit may be, in each container and in the pod as a whole. A "
                "container without a limit of cpu, memory or ephemeral-storage is denied."
            ),
        ]
        | None
    ) = None


class _Rules(Struct, frozen=True):
    """What is required of requests or limits; `key` says of which."""

    key: AmountsField
    required: tuple[str, ...]
    maxima: tuple[Bound, ...]
    minima: tuple[Bound, ...]

    def amounts(self, resources: PodResources | None) -> Amounts:
        """The requests, or the limits without those that mean no limit."""
        amounts: Amounts | None = None if resources is None else getattr(resources, self.key)
        if amounts and self.key is AmountsField.LIMITS:
            return {name: amount for name, amount in amounts.items() if name not in UNLIMITED or not is_zero(amount)}
        return amounts or {}


def _check(parameters: Resources, _minor: int) -> Check:
    requests = _Rules(
        AmountsField.REQUESTS,
        parameters.required_requests or (),
        bounds_of("maxRequests", parameters.max_requests),
        bounds_of("minRequests", parameters.min_requests),
    )
    limits = _Rules(
        AmountsField.LIMITS,
        parameters.required_limits or (),
        bounds_of("maxLimits", parameters.max_limits),
        bounds_of("minLimits", parameters.min_limits),
    )
    ratios = ratios_of("maxLimitRequestRatios", parameters.max_limit_request_ratios)

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        resources = pod.spec.resources
        pod_requests, pod_limits = requests.amounts(resources), limits.amounts(resources)
        of_pod = [(requests, pod_requests), (limits, pod_limits)]
        findings: list[Finding] = []
        requested: dict[str, Requested | None] = {}
        for rules, pod_amounts in of_pod:
            findings += _pod_above_maximum(rules, pod_amounts, resources, containers, requested)
            findings += below_minimum(rules.key, rules.minima, pod_amounts, ("spec",), frozenset(), None)
        findings += above_ratio(ratios, pod_requests, pod_limits, ("spec",), frozenset(), None)
        for ref in containers:
            if ref.kind is not ContainerKind.EPHEMERAL:
                for rules, pod_amounts in of_pod:
                    findings += _container_findings(rules, pod_amounts, ref)
                findings += _ratios_of_container(ratios, requests, limits, pod_limits, ref)
        return findings

    return judge


def _container_findings(rules: _Rules, pod_amounts: Amounts, ref: ContainerRef) -> Iterator[Finding]:
    own = rules.amounts(ref.container.resources)
    names = own.keys() | pod_amounts.keys()
    missing = [name for name in rules.required if not _is_set(rules, name, own, pod_amounts)]
    yield from _unset(rules, ref, names, missing)
    yield from _above_maximum(rules, own, ref)
    if rules.minima:
        # A limit that is unset allows more than any minimum.
        must_be_set = rules.minima if rules.key is AmountsField.REQUESTS else ()
        unset = {bound.resource for bound in must_be_set} - names
        others = {name: amount for name, amount in own.items() if name not in missing}
        yield from below_minimum(rules.key, rules.minima, others, ref.path, unset - set(rules.required), ref)


def _is_set(rules: _Rules, name: str, own: Amounts, pod_amounts: Amounts) -> bool:
    """Whether the container or the pod sets an amount; a request of 0 reserves nothing, so it sets none."""
    amounts = [of[name] for of in (own, pod_amounts) if name in of]
    return any(rules.key is AmountsField.LIMITS or not is_zero(amount) for amount in amounts)


def _ratios_of_container(
    ratios: Sequence[Bound], requests: _Rules, limits: _Rules, pod_limits: Amounts, ref: ContainerRef
) -> Iterator[Finding]:
    if ratios:
        own, own_limits = requests.amounts(ref.container.resources), limits.amounts(ref.container.resources)
        known = {*limits.required, *(bound.resource for bound in limits.maxima), *pod_limits, *own_limits}
        unset = {ratio.resource for ratio in ratios if ratio.resource in UNLIMITED} - known
        yield from above_ratio(ratios, own, own_limits, ref.path, unset, ref)


def _unset(rules: _Rules, ref: ContainerRef, names: Set[str], missing: Sequence[str]) -> Iterator[Finding]:
    """The findings on resources that must be set and are not: on the missing ones, and on limits below a maximum.

    names: what the container or the pod sets, whatever the amount is.
    """
    for name in missing:
        allowed = "more than 0" if name in names else "a quantity"
        yield _not_set(rules, ref, name, allowed, "set it to what the container needs", None)
    for maximum in rules.maxima if rules.key is AmountsField.LIMITS else ():
        name = maximum.resource
        if name in UNLIMITED and name not in names and name not in rules.required:
            allowed, fix = f"at most {maximum.text}", f"set it to at most {maximum.text}"
            if is_requested_above(maximum, ref.container.resources):
                yield _not_set(rules, ref, name, allowed, f"{fix}, and lower the request to it", None)
            else:
                yield _not_set(rules, ref, name, allowed, fix, maximum.text)


def _not_set(rules: _Rules, ref: ContainerRef, name: str, allowed: str, fix: str, suggestion: str | None) -> Finding:
    field = (*ref.path, "resources", rules.key.value, name)
    written = None if ref.container.resources is None else getattr(ref.container.resources, rules.key)
    return Finding.of(
        "resources",
        field,
        (written or {}).get(name),
        allowed=allowed,
        fix=fix,
        change=None if suggestion is None else set_to(field, suggestion),
        about=ref,
    )


def _above_maximum(rules: _Rules, amounts: Amounts, ref: ContainerRef) -> Iterator[Finding]:
    resources = ref.container.resources
    for maximum in _exceeded(rules, amounts):
        too_low = rules.key is AmountsField.LIMITS and is_requested_above(maximum, resources)
        yield _too_high(rules, amounts, maximum, ref.path, "the request" if too_low else "", ref)


def _pod_above_maximum(
    rules: _Rules,
    amounts: Amounts,
    resources: PodResources | None,
    containers: Sequence[ContainerRef],
    known: dict[str, Requested | None],
) -> Iterator[Finding]:
    """The findings on the pod's own amounts. `known` gets what the containers request, by resource."""
    for maximum in _exceeded(rules, amounts):
        name = maximum.resource
        if name not in known:
            known[name] = requested_of(containers, name)
        with_it = ""
        if rules.key is AmountsField.LIMITS and is_requested_above(maximum, resources):
            has_room = has_room_for(known[name], maximum, AmountsField.REQUESTS)
            with_it = "the request" if has_room else "the request and the containers' requests"
        elif not has_room_for(known[name], maximum, rules.key):
            with_it = "the containers' requests"
        yield _too_high(rules, amounts, maximum, ("spec",), with_it)


def _exceeded(rules: _Rules, amounts: Amounts) -> Iterator[Bound]:
    for maximum in rules.maxima:
        amount = amounts.get(maximum.resource)
        if amount is not None and not is_at_most(str(amount), maximum.quantity):
            yield maximum


def _too_high(
    rules: _Rules,
    amounts: Amounts,
    maximum: Bound,
    above: FieldPath,
    with_it: str,
    about: ContainerRef | None = None,
) -> Finding:
    """The finding on an amount above the maximum. with_it: what must be lowered too, empty for nothing."""
    field = (*above, "resources", rules.key.value, maximum.resource)
    fix = f"lower it to {maximum.text}"
    return Finding.of(
        "resources",
        field,
        amounts[maximum.resource],
        allowed=f"at most {maximum.text}",
        fix=f"{fix}, and {with_it} with it" if with_it else fix,
        change=None if with_it else set_to(field, maximum.text),
        about=about,
    )


def _verify(parameters: Resources) -> None:
    bounds: dict[str, Sequence[MaxQuantity | MinQuantity | MaxRatio]] = {
        "maxRequests": parameters.max_requests or (),
        "maxLimits": parameters.max_limits or (),
        "minRequests": parameters.min_requests or (),
        "minLimits": parameters.min_limits or (),
        "maxLimitRequestRatios": parameters.max_limit_request_ratios or (),
    }
    for parameter, listed in bounds.items():
        verify_resources(parameter, [bound.resource for bound in listed])
    for upper, lower in (("maxRequests", "minRequests"), ("maxLimits", "minLimits")):
        maxima = {bound.resource: bound for bound in bounds_of(upper, getattr(parameters, _ATTRIBUTES[upper]))}
        for index, minimum in enumerate(bounds_of(lower, getattr(parameters, _ATTRIBUTES[lower]))):
            maximum = maxima.get(minimum.resource)
            if maximum is not None and minimum.quantity > maximum.quantity:
                message = f"{minimum.text} is above the {maximum.text} of {upper}"
                raise ParameterError(f"{lower}[{index}].quantity", message)


_ATTRIBUTES: Final = {field.encode_name: field.name for field in structs.fields(Resources)}


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
    needs_parameters=True,
    unset={
        "requiredRequests": "none",
        "requiredLimits": "none",
        "maxRequests": "no maximum",
        "maxLimits": "no maximum",
        "minRequests": "no minimum",
        "minLimits": "no minimum",
        "maxLimitRequestRatios": "no maximum",
    },
)
