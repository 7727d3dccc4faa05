"""What became of policies and waivers: the types of their status, which the controller writes."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

MAX_CONFLICTS: Final = 8
MAX_WAIVERS: Final = 16

_Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
_BY_TYPE: Final = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


class Condition(Struct, frozen=True, rename="camel"):
    """A condition, in the form that Kubernetes gives all of them."""

    type: Annotated[str, Meta(description="What the condition is about.", max_length=316)]
    status: Annotated[Literal["True", "False", "Unknown"], Meta(description="Whether the condition holds.")]
    reason: Annotated[str, Meta(description="Why, in one word.", min_length=1, max_length=1024)]
    message: Annotated[str, Meta(description="Why, for people.", max_length=32768)]
    last_transition_time: Annotated[_Moment, Meta(description="When the status last changed.")]
    observed_generation: (
        Annotated[int, Meta(description="The generation that the condition is about.", ge=0)] | None
    ) = None


class Conflict(Struct, frozen=True):
    """A default for which another policy, that may be about the same pods, has another value."""

    field: Annotated[str, Meta(description="The default, by its path in the policy.", max_length=253)]
    policy: Annotated[str, Meta(description="The other policy.", max_length=317)]
    message: Annotated[str, Meta(description="Which of the two values pods get.", max_length=1024)]


class WaiverInEffect(Struct, frozen=True):
    """A waiver that lifts something of the policy."""

    name: Annotated[str, Meta(description="The waiver's name.", max_length=253)]
    expires: Annotated[_Moment, Meta(description="When it ends.")]


class PolicyStatus(Struct, frozen=True, rename="camel"):
    """What became of the policy."""

    observed_generation: Annotated[int, Meta(description="The generation that this status is about.", ge=0)] | None = (
        None
    )
    enforced_by: (
        Annotated[
            str,
            Meta(description="How many of the webhook's replicas enforce this generation, such as 3/3.", max_length=32),
        ]
        | None
    ) = None
    conditions: (
        Annotated[
            tuple[Condition, ...],
            Meta(
                description="Accepted: the policy is valid. Enforced: every replica enforces this generation.",
                extra_json_schema=_BY_TYPE,
                max_length=16,
            ),
        ]
        | None
    ) = None
    denials: (
        Annotated[
            int,
            Meta(
                description="How many requests were denied for it in the last hour, dry runs not counted, by the "
                "replicas that run now. Brought up to date once a minute.",
                ge=0,
            ),
        ]
        | None
    ) = None
    warnings: (
        Annotated[
            int,
            Meta(description="How many requests were answered with a warning of it, counted in the same way.", ge=0),
        ]
        | None
    ) = None
    conflicts: (
        Annotated[
            tuple[Conflict, ...],
            Meta(
                description="Defaults for which another policy, that may be about the same pods, has another value; "
                f"the first {MAX_CONFLICTS}.",
                max_length=MAX_CONFLICTS,
            ),
        ]
        | None
    ) = None
    waivers: (
        Annotated[
            tuple[WaiverInEffect, ...],
            Meta(
                description=f"The waivers that name the policy and have not ended; the {MAX_WAIVERS} that end first.",
                max_length=MAX_WAIVERS,
            ),
        ]
        | None
    ) = None


class PolicyWaiverStatus(Struct, frozen=True, rename="camel"):
    """What became of the waiver."""

    observed_generation: Annotated[int, Meta(description="The generation that this status is about.", ge=0)] | None = (
        None
    )
    conditions: (
        Annotated[
            tuple[Condition, ...],
            Meta(
                description="Accepted: the waiver is valid. Active: it has not ended, one of its policies exists, and "
                "every replica of the webhook honours it.",
                extra_json_schema=_BY_TYPE,
                max_length=16,
            ),
        ]
        | None
    ) = None
    policies: (
        Annotated[tuple[str, ...], Meta(description="Those of spec.policies that exist.", max_length=64)] | None
    ) = None
    missing_policies: (
        Annotated[tuple[str, ...], Meta(description="Those of spec.policies that do not exist.", max_length=64)] | None
    ) = None
    expires_within_days: (
        Annotated[
            int,
            Meta(
                description="14, 3 or 1 when the waiver ends within so many days; an Event PolicyExpiring on it said "
                "so.",
                ge=0,
            ),
        ]
        | None
    ) = None
