"""The status of policies and waivers, which the controller writes: the types."""

from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Struct

from sekisho.policies.catalogs import MAX_ENTRIES

MAX_CONFLICTS: Final = 8
MAX_WAIVERS: Final = 16
MARK_LENGTH: Final = 8
"""Characters that stand for an entry of a catalog; a multiple of four."""
MAX_EXAMPLES: Final = 5
MAX_EXAMPLE_CONTROLS: Final = 8
MAX_WAIVER_OWNERS: Final = 5

_Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
_BY_TYPE: Final = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Struct, frozen=True, rename="camel"):
    """A condition in the usual form of Kubernetes."""

    type: Annotated[str, Meta(description="The type of the condition.", max_length=316)]
    status: Annotated[ConditionStatus, Meta(description="Whether the condition holds.")]
    reason: Annotated[str, Meta(description="The reason as one word.", min_length=1, max_length=1024)]
    message: Annotated[str, Meta(description="The reason as a sentence.", max_length=32768)]
    last_transition_time: Annotated[_Moment, Meta(description="When the status last changed.")]
    observed_generation: (
        Annotated[int, Meta(description="The generation that the condition describes.", ge=0)] | None
    ) = None


class Conflict(Struct, frozen=True):
    """A default for which another policy that may apply to the same pods has another value."""

    field: Annotated[str, Meta(description="The default, by its path in the policy.", max_length=253)]
    policy: Annotated[str, Meta(description="The other policy.", max_length=317)]
    message: Annotated[str, Meta(description="Which of the two values is applied.", max_length=1024)]


class WaiverInEffect(Struct, frozen=True):
    """A waiver that names the policy and has not expired."""

    name: Annotated[str, Meta(description="The waiver's name.", max_length=253)]
    expires: Annotated[_Moment, Meta(description="When it ends.")]


class ImpactExample(Struct, frozen=True):
    """An owner whose pods the policy would deny."""

    owner: Annotated[str, Meta(description="Its kind, namespace and name.", max_length=512)]
    pods: Annotated[int, Meta(description="How many of its pods the policy would deny; 0 if none runs now.", ge=0)]
    controls: Annotated[
        tuple[str, ...], Meta(description="The first controls that they violate.", max_length=MAX_EXAMPLE_CONTROLS)
    ]


class AuditedExample(Struct, frozen=True):
    """An owner whose pods the policy only audited."""

    owner: Annotated[str, Meta(description="Its kind, namespace and name.", max_length=512)]
    controls: Annotated[
        tuple[str, ...],
        Meta(description="The first controls that they violate.", max_length=MAX_EXAMPLE_CONTROLS),
    ]


class PolicyImpact(Struct, frozen=True, rename="camel"):
    """What the policy means for what runs."""

    observed_generation: Annotated[int, Meta(description="The generation that was audited.", ge=0)]
    pods: Annotated[int, Meta(description="How many running pods it applies to.", ge=0)]
    violating: Annotated[int, Meta(description="How many of them violate it as they run.", ge=0)]
    would_be_denied: Annotated[
        int,
        Meta(description="How many of them would be denied if they were created again and the policy denied.", ge=0),
    ]
    owners: Annotated[int, Meta(description="How many owners have such pods.", ge=0)]
    idle_templates: Annotated[
        int, Meta(description="How many owners without pods now have a template whose pods would be denied.", ge=0)
    ]
    examples: (
        Annotated[
            tuple[ImpactExample, ...],
            Meta(description=f"The {MAX_EXAMPLES} owners with most of such pods.", max_length=MAX_EXAMPLES),
        ]
        | None
    ) = None


class PolicyStatus(Struct, frozen=True, rename="camel"):
    """The status of the policy."""

    observed_generation: Annotated[int, Meta(description="The generation that this status describes.", ge=0)] | None = (
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
                description="Accepted: the policy is valid. Enforced: every replica enforces this generation. Proven: "
                "the API server sends pods to the webhook, as tried by dry runs.",
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
                description="How many requests the replicas that run now denied because of it in the last hour, "
                "without dry runs. Updated once a minute.",
                ge=0,
            ),
        ]
        | None
    ) = None
    warnings: (
        Annotated[
            int,
            Meta(description="How many requests it answered with a warning, counted in the same way.", ge=0),
        ]
        | None
    ) = None
    audited: (
        Annotated[
            int,
            Meta(
                description="How many requests it only audited, counted in the same way. Unset for none.",
                ge=0,
            ),
        ]
        | None
    ) = None
    audited_examples: (
        Annotated[
            tuple[AuditedExample, ...],
            Meta(
                description=f"Owners of what it only audited in the last hour, {MAX_EXAMPLES} at most. Unset for none.",
                max_length=MAX_EXAMPLES,
            ),
        ]
        | None
    ) = None
    without_event: (
        Annotated[
            int,
            Meta(
                description="How many of these denials and warnings no Event shows, because there were too many at a "
                "time or the API server rejected the Event. Unset for none.",
                ge=0,
            ),
        ]
        | None
    ) = None
    conflicts: (
        Annotated[
            tuple[Conflict, ...],
            Meta(
                description="Defaults for which another policy that may apply to the same pods has another value; "
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
                description=f"The waivers that name the policy and have not expired: the {MAX_WAIVERS} that "
                "expire first.",
                max_length=MAX_WAIVERS,
            ),
        ]
        | None
    ) = None
    impact: (
        Annotated[
            PolicyImpact, Meta(description="What it means for what runs, by the last audit; unset before the first.")
        ]
        | None
    ) = None


class ImageAuthorityStatus(Struct, frozen=True, rename="camel"):
    """The status of the authority."""

    observed_generation: Annotated[int, Meta(description="The generation that this status describes.", ge=0)] | None = (
        None
    )
    conditions: (
        Annotated[
            tuple[Condition, ...],
            Meta(
                description="Accepted: the authority is valid. Usable: signatures can be verified with it, as its "
                "Secrets or ConfigMap exist and some key or the root has not ended.",
                extra_json_schema=_BY_TYPE,
                max_length=16,
            ),
        ]
        | None
    ) = None
    expires: (
        Annotated[_Moment, Meta(description="When its last key or its trusted root ends; unset if that has no end.")]
        | None
    ) = None


class EndNotice(Struct, frozen=True):
    """A warning about entries that end, which an Event reported."""

    days: Annotated[int, Meta(description="14, 3 or 1: how long before the end.", ge=0)]
    until: Annotated[
        str, Meta(description="The last day, in UTC, whose ends were reported, such as 2027-03-31.", max_length=10)
    ]
    reported: (
        Annotated[
            str,
            Meta(
                description=f"The entries that were reported: {MARK_LENGTH} characters for each, made of its image and "
                "its end. An entry that is added later has its own Event.",
                max_length=MARK_LENGTH * MAX_ENTRIES,
            ),
        ]
        | None
    ) = None


class ImageCatalogStatus(Struct, frozen=True, rename="camel"):
    """The status of the catalog."""

    observed_generation: Annotated[int, Meta(description="The generation that this status describes.", ge=0)] | None = (
        None
    )
    conditions: (
        Annotated[
            tuple[Condition, ...],
            Meta(
                description="Accepted: the catalog is valid. Enforced: every replica of the webhook judges by this "
                "generation.",
                extra_json_schema=_BY_TYPE,
                max_length=16,
            ),
        ]
        | None
    ) = None
    entries: Annotated[int, Meta(description="The number of entries.", ge=0)] | None = None
    ended: Annotated[int, Meta(description="How many of them ended.", ge=0)] | None = None
    withdrawn: Annotated[int, Meta(description="How many of them were withdrawn.", ge=0)] | None = None
    next_end: Annotated[_Moment, Meta(description="When the next entry ends; unset if none will.")] | None = None
    notices: (
        Annotated[
            tuple[EndNotice, ...],
            Meta(description="The Events CatalogEntriesEnding that were written.", max_length=3),
        ]
        | None
    ) = None


class WaiverOwner(Struct, frozen=True, rename="camel"):
    """An owner whose pods the waiver exempted."""

    owner: Annotated[str, Meta(description="Its kind, namespace and name.", max_length=512)]
    last_used: Annotated[_Moment, Meta(description="When a pod of it was last exempted.")]


class PolicyWaiverStatus(Struct, frozen=True, rename="camel"):
    """The status of the waiver."""

    observed_generation: Annotated[int, Meta(description="The generation that this status describes.", ge=0)] | None = (
        None
    )
    conditions: (
        Annotated[
            tuple[Condition, ...],
            Meta(
                description="Accepted: the waiver is valid. Active: it has not expired, one of its policies exists, "
                "and every replica of the webhook applies it.",
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
                description="14, 3 or 1: the waiver expires within that many days, and has an Event PolicyExpiring "
                "that says so.",
                ge=0,
            ),
        ]
        | None
    ) = None
    exempts: (
        Annotated[
            str,
            Meta(
                description="In short, what it exempts pods from: the controls, and of which policies.", max_length=512
            ),
        ]
        | None
    ) = None
    days_left: (
        Annotated[
            int,
            Meta(description="The days until it expires, rounded up; 0 once it has expired. Updated daily.", ge=0),
        ]
        | None
    ) = None
    uses: (
        Annotated[
            int,
            Meta(
                description="How many pods it exempted since it was created, without dry runs. Updated once a minute; "
                "those while no controller led may be missing. Unset for none.",
                ge=0,
            ),
        ]
        | None
    ) = None
    uses_last_hour: (
        Annotated[int, Meta(description="How many of them in the last hour. Unset for none.", ge=0)] | None
    ) = None
    last_used: Annotated[_Moment, Meta(description="When it last exempted a pod. Unset for never.")] | None = None
    used_by: (
        Annotated[
            tuple[WaiverOwner, ...],
            Meta(
                description=f"The last {MAX_WAIVER_OWNERS} owners whose pods it exempted, the latest first. Unset for "
                "none.",
                max_length=MAX_WAIVER_OWNERS,
            ),
        ]
        | None
    ) = None
