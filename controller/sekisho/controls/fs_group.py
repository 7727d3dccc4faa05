"""fsGroup: volumes belong to a group that the policy allows.

Restricted fields: spec.securityContext.fsGroup
Allowed values: the ids in `ranges`; unset, unless `rule` is MustRunAs; without ranges, unset or any but 0
Level: none, a policy names it
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Parameters, opt_in, set_to
from sekisho.controls.id_ranges import IdRange, Ranges, Rule, allowance
from sekisho.findings import Finding, render_value
from sekisho.pods import ContainerRef, Pod

_FIELD = ("spec", "securityContext", "fsGroup")
_NOT_ROOT = (IdRange(1, 4294967295),)


class FsGroup(Parameters, frozen=True):
    """Which group volumes may belong to."""

    ranges: Ranges | None = None
    rule: Rule | None = None


def _check(parameters: Parameters, _minor: int) -> Check:
    assert isinstance(parameters, FsGroup)  # noqa: S101
    allowed = allowance(parameters.ranges or _NOT_ROOT, parameters.rule)
    assert allowed is not None  # noqa: S101

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        context = pod.spec.security_context
        group = None if context is None else context.fs_group
        if allowed.takes(group):
            return []
        fix = f"set it to an allowed id, such as {allowed.first}"
        change = set_to(_FIELD, allowed.first)
        return [Finding("fsGroup", _FIELD, render_value(group), allowed.allowed, fix, change=change)]

    return judge


CONTROL = Control(
    "fsGroup",
    "the group of its volumes",
    "Volumes must belong to a group that the policy allows; without ranges, any but 0.",
    FsGroup,
    opt_in,
    _check,
    of_pod_only=True,
)
