"""supplementalGroups: a pod may list only supplemental groups that the policy allows.

Restricted fields: spec.securityContext.supplementalGroups[*]
Allowed values: the ids in `ranges`; without ranges, any but 0. With `rule` MustRunAs, at least one must be set
Groups that the image gives a user are not visible in the pod: the control supplementalGroupsPolicy rules them out.
Level: none; the control applies only where a policy names it
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.controls.id_ranges import NOT_ROOT, Ranges, Rule, allowance
from sekisho.findings import Finding, remove, set_to
from sekisho.pods import ContainerRef, Pod

_FIELD = ("spec", "securityContext", "supplementalGroups")


class SupplementalGroups(Parameters, frozen=True):
    """Which supplemental groups a pod may list."""

    ranges: Ranges | None = None
    rule: Rule | None = None


def _check(parameters: SupplementalGroups, _minor: int) -> Check:
    allowed = allowance(parameters.ranges or NOT_ROOT, parameters.rule)
    required = Finding.of(
        "supplementalGroups",
        _FIELD,
        None,
        allowed=allowed.allowed,
        fix=f"set it to [{allowed.first}]",
        change=set_to(_FIELD, [allowed.first]),
    )

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        context = pod.spec.security_context
        groups = (None if context is None else context.supplemental_groups) or ()
        if not groups and allowed.required:
            return [required]
        return [
            Finding.of(
                "supplementalGroups",
                (*_FIELD, index),
                group,
                allowed=allowed.allowed,
                fix="remove it",
                change=remove((*_FIELD, index)),
            )
            for index, group in enumerate(groups)
            if not allowed.accepts(group)
        ]

    return judge


CONTROL = Control(
    name="supplementalGroups",
    reason="a supplemental group",
    summary="A pod may list only supplemental groups that the policy allows; without ranges, any but 0.",
    why="With the group of another application, a pod can read and write that application's files on shared storage.",
    example=Example(
        parameters="{ranges: [{min: 2000, max: 2999}]}",
        denied="""\
securityContext: {supplementalGroups: [2001, 27]}
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
securityContext: {supplementalGroups: [2001]}
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=SupplementalGroups,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
    unset={"ranges": "any but 0", "rule": '`"MayRunAs"`'},
)
