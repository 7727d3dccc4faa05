"""Ranges of user and group ids, as several controls take them."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from sekisho.controls.control import MIN_ABOVE_MAX, Check, ParameterError, cel, inherits_by_update, of_container, set_to
from sekisho.findings import Finding, render_value, words
from sekisho.pods import ContainerRef, Pod

Id = Annotated[int, Meta(ge=0, le=4294967295)]


class IdRange(Struct, frozen=True, forbid_unknown_fields=True):
    """Ids from `min` to `max`, both included."""

    min: Annotated[Id, Meta(description="The first id of the range.")]
    max: Annotated[Id, Meta(description="The last id of the range.")]


class IdRule(StrEnum):
    """Whether an id has to be set."""

    MUST_RUN_AS = "MustRunAs"
    MAY_RUN_AS = "MayRunAs"


Ranges = Annotated[
    tuple[Annotated[IdRange, Meta(extra_json_schema=cel("self.min <= self.max", MIN_ABOVE_MAX))], ...],
    Meta(description="Ids that are allowed.", max_length=64),
]
Rule = Annotated[
    IdRule, Meta(description="MustRunAs: an id within the ranges has to be set. MayRunAs: it may be left unset.")
]


class IdAllowance(Struct, frozen=True):
    """What ids are allowed: `allowed` says it in words."""

    ranges: tuple[IdRange, ...]
    required: bool
    allowed: str

    def takes(self, found: int | None) -> bool:
        """Whether the id, or its absence, is allowed."""
        if found is None:
            return not self.required
        return any(each.min <= found <= each.max for each in self.ranges)

    @property
    def first(self) -> int:
        """An id that is allowed."""
        return self.ranges[0].min


def allowance(ranges: Sequence[IdRange] | None, rule: IdRule | None) -> IdAllowance | None:
    """Compile ranges and rule; None where a policy gives no ranges. Raises ParameterError."""
    if not ranges:
        if rule is not None:
            raise ParameterError("ranges", f"the rule {rule} needs at least one range")
        return None
    for index, each in enumerate(ranges):
        if each.min > each.max:
            raise ParameterError(f"ranges[{index}]", f"min {each.min} is above max {each.max}")
    required = rule == IdRule.MUST_RUN_AS
    texts = [f"{each.min} to {each.max}" if each.min != each.max else str(each.min) for each in ranges]
    return IdAllowance(tuple(ranges), required, words([*(() if required else ("unset",)), *texts]))


def id_check(key: str, attribute: str, allowed: IdAllowance) -> Check:
    """The check of an id that the pod's securityContext sets for the containers that set none of their own."""
    field = ("securityContext", key)
    pod_field = ("spec", *field)
    fix = f"set it to an allowed id, such as {allowed.first}"

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        pod_context = pod.spec.security_context
        pod_id = None if pod_context is None else getattr(pod_context, attribute)
        pod_is_good = pod_id is None or allowed.takes(pod_id)
        findings = []
        if not pod_is_good:
            change = set_to(pod_field, allowed.first)
            findings.append(Finding(key, pod_field, render_value(pod_id), allowed.allowed, fix, change=change))
        for placed in containers:
            context = placed.container.security_context
            own = None if context is None else getattr(context, attribute)
            if own is None:
                denied = not allowed.takes(None) if pod_id is None else not pod_is_good and inherits_by_update(placed)
            else:
                denied = not allowed.takes(own)
            if denied:
                change = set_to(placed.path + field, allowed.first)
                findings.append(of_container(key, placed, field, own, allowed.allowed, fix, change))
        return findings

    return judge
