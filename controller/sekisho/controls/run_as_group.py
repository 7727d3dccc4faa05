"""runAsGroup: containers must run with a primary group that the policy allows.

Restricted fields: spec.securityContext.runAsGroup,
    spec.{containers,initContainers,ephemeralContainers}[*].securityContext.runAsGroup
Allowed values: the ids in `ranges`; unset, unless `rule` is MustRunAs; without ranges, unset or any but 0
Level: none; the control applies only where a policy names it
"""

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.controls.id_ranges import NOT_ROOT, Ranges, Rule, allowance, id_check


class RunAsGroup(Parameters, frozen=True):
    """Which primary group containers may have."""

    ranges: Ranges | None = None
    rule: Rule | None = None


def _check(parameters: RunAsGroup, _minor: int) -> Check:
    return id_check("runAsGroup", "run_as_group", allowance(parameters.ranges or NOT_ROOT, parameters.rule))


CONTROL = Control(
    name="runAsGroup",
    reason="its primary group",
    summary="Containers must run with a primary group that the policy allows; without ranges, any but 0.",
    why="Files of the group root are often writable for the group, on volumes and in the image.",
    example=Example(
        parameters="{ranges: [{min: 1000, max: 1999}], rule: MustRunAs}",
        denied="""\
securityContext: {runAsUser: 1000, runAsGroup: 0}
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
securityContext: {runAsUser: 1000, runAsGroup: 1000}
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=RunAsGroup,
    standard=opt_in,
    check=_check,
    unset={"ranges": "any but 0", "rule": '`"MayRunAs"`'},
)
