"""supplementalGroups: a pod's processes may have only further groups that the policy allows.

Restricted fields: spec.securityContext.supplementalGroups[*]
Allowed values: the ids in `ranges`; without ranges, any but 0. With `rule` MustRunAs, at least one has to be set
Level: none, a policy names it
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Parameters, opt_in
from sekisho.controls.id_ranges import IdRange, Ranges, Rule, allowance
from sekisho.findings import Change, Finding, render_value
from sekisho.pods import ContainerRef, Pod

_FIELD = ("spec", "securityContext", "supplementalGroups")
_NOT_ROOT = (IdRange(1, 4294967295),)


class SupplementalGroups(Parameters, frozen=True):
    """Which further groups a pod's processes may have."""

    ranges: Ranges | None = None
    rule: Rule | None = None


def _check(parameters: Parameters, _minor: int) -> Check:
    assert isinstance(parameters, SupplementalGroups)  # noqa: S101
    allowed = allowance(parameters.ranges or _NOT_ROOT, parameters.rule)
    assert allowed is not None  # noqa: S101

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        context = pod.spec.security_context
        groups = (None if context is None else context.supplemental_groups) or ()
        if not groups and allowed.required:
            fix = f"set it to [{allowed.first}]"
            change = Change("set", _FIELD, [allowed.first])
            return [Finding("supplementalGroups", _FIELD, "unset", allowed.allowed, fix, change=change)]
        return [
            Finding(
                "supplementalGroups",
                (*_FIELD, index),
                render_value(group),
                allowed.allowed,
                "remove it from the list",
                change=Change("remove", (*_FIELD, index)),
            )
            for index, group in enumerate(groups)
            if not allowed.takes(group)
        ]

    return judge


CONTROL = Control(
    "supplementalGroups",
    "a supplemental group",
    "A pod's processes may have only supplemental groups that the policy allows; without ranges, any but 0.",
    SupplementalGroups,
    opt_in,
    _check,
    of_pod_only=True,
)
