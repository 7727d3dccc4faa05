"""nodeName: the scheduler places pods, not the users who create them.

Restricted fields: spec.nodeName, when a pod is created
Allowed values: unset
Level: none; the control applies only where a policy names it. The scheduler sets the field
    through pods/binding, which is not judged.
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, remove
from sekisho.pods import ContainerRef, Pod

_FIELD = ("spec", "nodeName")


class NodeName(Parameters, frozen=True):
    """Pods may not name their node."""


def _check(_parameters: NodeName, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
    if not pod.spec.node_name:
        return []
    fix = "remove it, and use nodeSelector or affinity"
    return [Finding.of("nodeName", _FIELD, pod.spec.node_name, allowed="unset", fix=fix, change=remove(_FIELD))]


CONTROL = Control(
    name="nodeName",
    reason="its node",
    summary="Pods may not choose their node without the scheduler.",
    why="A pod that names its node skips the scheduler's taints, affinities and capacity, and can run beside workloads "
    "that taints keep apart.",
    example=Example(
        parameters="{}",
        denied="""\
nodeName: control-plane-1
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
nodeSelector: {kubernetes.io/os: linux}
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=NodeName,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
)
