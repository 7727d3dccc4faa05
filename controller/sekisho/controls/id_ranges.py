"""Ranges of user and group ids, which several controls take as parameters."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Struct

from sekisho.controls.control import MIN_ABOVE_MAX, Check, ParameterError, cel, inherits_by_update
from sekisho.findings import FieldPath, Finding, set_to, words
from sekisho.pods import ContainerRef, Pod

Id = Annotated[int, Meta(ge=0, le=4294967295)]


class IdRange(Struct, frozen=True, forbid_unknown_fields=True):
    """Ids from `min` to `max`, both included."""

    min: Annotated[Id, Meta(description="The first id of the range.")]
    max: Annotated[Id, Meta(description="The last id of the range.")]


NOT_ROOT: Final = (IdRange(1, 4294967295),)


class IdRule(StrEnum):
    """Whether an id must be set."""

    MUST_RUN_AS = "MustRunAs"
    MAY_RUN_AS = "MayRunAs"


Ranges = Annotated[
    tuple[Annotated[IdRange, Meta(extra_json_schema=cel("self.min <= self.max", MIN_ABOVE_MAX))], ...],
    Meta(description="Ids that are allowed.", min_length=1, max_length=64),
]
Rule = Annotated[IdRule, Meta(description="MustRunAs: an id in the ranges must be set. MayRunAs: it may be unset.")]


class IdAllowance(Struct, frozen=True):
    """Which ids are allowed, and whether one must be set; `allowed` says it in words."""

    ranges: tuple[IdRange, ...]
    required: bool
    allowed: str

    def accepts(self, value: int | None) -> bool:
        """Whether the id is allowed; None asks whether it may be unset."""
        if value is None:
            return not self.required
        return any(ids.min <= value <= ids.max for ids in self.ranges)

    @property
    def first(self) -> int:
        """An id that is allowed."""
        return self.ranges[0].min


def allowance(ranges: Sequence[IdRange], rule: IdRule | None) -> IdAllowance:
    """Compile ranges and rule; a rule of None means MayRunAs. Raises ParameterError."""
    for index, ids in enumerate(ranges):
        if ids.min > ids.max:
            raise ParameterError(f"ranges[{index}]", f"min {ids.min} is above max {ids.max}")
    required = rule == IdRule.MUST_RUN_AS
    texts = [f"{ids.min} to {ids.max}" if ids.min != ids.max else str(ids.min) for ids in ranges]
    return IdAllowance(tuple(ranges), required, words([*(() if required else ("unset",)), *texts]))


def id_finding(
    control: str, path: FieldPath, value: int | None, allowed: IdAllowance, about: ContainerRef | None
) -> Finding:
    """A finding on an id that is not allowed, or that must be set.

    value: the id; None where it is unset.
    about: the container that it is about; None for the pod as a whole.
    """
    return Finding.of(
        control,
        path,
        value,
        allowed=allowed.allowed,
        fix=f"use an allowed id such as {allowed.first}",
        change=set_to(path, allowed.first),
        about=about,
    )


def id_check(key: str, attribute: str, allowed: IdAllowance) -> Check:
    """The check of an id in securityContext, where the pod's value applies to containers that set none.

    key: the field's name, which is also the control's; attribute: its name in the typed view.
    """
    field = ("securityContext", key)
    pod_field = ("spec", *field)

    def judge(pod: Pod, containers: Sequence[ContainerRef]) -> list[Finding]:
        pod_context = pod.spec.security_context
        pod_id = None if pod_context is None else getattr(pod_context, attribute)
        is_pod_denied = pod_id is not None and not allowed.accepts(pod_id)
        findings = [id_finding(key, pod_field, pod_id, allowed, None)] if is_pod_denied else []
        for ref in containers:
            context = ref.container.security_context
            own = None if context is None else getattr(context, attribute)
            if own is not None:
                is_denied = not allowed.accepts(own)
            elif pod_id is not None:
                is_denied = is_pod_denied and inherits_by_update(ref)
            else:
                is_denied = not allowed.accepts(None)
            if is_denied:
                findings.append(id_finding(key, ref.path + field, own, allowed, ref))
        return findings

    return judge
