"""runAsGroup: containers run with a primary group that the policy allows.

Restricted fields: spec.securityContext.runAsGroup,
    spec.{containers,initContainers,ephemeralContainers}[*].securityContext.runAsGroup
Allowed values: the ids in `ranges`; unset, unless `rule` is MustRunAs; without ranges, unset or any but 0
Level: none, a policy names it
"""

from sekisho.controls.control import Check, Control, Parameters, opt_in
from sekisho.controls.id_ranges import IdRange, Ranges, Rule, allowance, id_check

_NOT_ROOT = (IdRange(1, 4294967295),)


class RunAsGroup(Parameters, frozen=True):
    """Which primary group containers may have."""

    ranges: Ranges | None = None
    rule: Rule | None = None


def _check(parameters: Parameters, _minor: int) -> Check:
    assert isinstance(parameters, RunAsGroup)  # noqa: S101
    allowed = allowance(parameters.ranges or _NOT_ROOT, parameters.rule)
    assert allowed is not None  # noqa: S101
    return id_check("runAsGroup", "run_as_group", allowed)


CONTROL = Control(
    "runAsGroup",
    "its primary group",
    "Containers must run with a primary group that the policy allows; without ranges, any but 0.",
    RunAsGroup,
    opt_in,
    _check,
)
