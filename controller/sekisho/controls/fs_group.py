"""fsGroup: volumes must belong to a group that the policy allows.

Restricted fields: spec.securityContext.fsGroup
Allowed values: the ids in `ranges`; unset, unless `rule` is MustRunAs; without ranges, unset or any but 0
Level: none; the control applies only where a policy names it
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.controls.id_ranges import NOT_ROOT, Ranges, Rule, allowance, id_finding
from sekisho.findings import Finding
from sekisho.pods import ContainerRef, Pod

_FIELD = ("spec", "securityContext", "fsGroup")


class FsGroup(Parameters, frozen=True):
    """Which group volumes may belong to."""

    ranges: Ranges | None = None
    rule: Rule | None = None


def _check(parameters: FsGroup, _minor: int) -> Check:
    allowed = allowance(parameters.ranges or NOT_ROOT, parameters.rule)

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        context = pod.spec.security_context
        group = None if context is None else context.fs_group
        return [] if allowed.accepts(group) else [id_finding("fsGroup", _FIELD, group, allowed, None)]

    return judge


CONTROL = Control(
    name="fsGroup",
    reason="the group of its volumes",
    summary="Volumes must belong to a group that the policy allows; without ranges, any but 0.",
    why="Every process of the pod is in this group, and the kubelet makes it the group of the files in the pod's "
    "volumes. With the group of another application, a pod can read that application's files on shared storage.",
    example=Example(
        parameters="{ranges: [{min: 2000, max: 2999}]}",
        denied="""\
securityContext: {fsGroup: 0}
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
securityContext: {fsGroup: 2000}
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=FsGroup,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
    unset={"ranges": "any but 0", "rule": '`"MayRunAs"`'},
)
