"""nodeName: a pod is placed by the scheduler, not by whoever creates it.

Restricted fields: spec.nodeName, when a pod is created
Allowed values: unset
Level: none, a policy names it. The scheduler sets the field by pods/binding, which is not judged.
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Parameters, opt_in, remove
from sekisho.findings import Finding, render_value
from sekisho.pods import ContainerRef, Pod

_FIELD = ("spec", "nodeName")


class NodeName(Parameters, frozen=True):
    """Pods may not name their node."""


def _check(_parameters: Parameters, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
    if not pod.spec.node_name:
        return []
    fix = "remove it, and use nodeSelector or affinity"
    return [Finding("nodeName", _FIELD, render_value(pod.spec.node_name), "unset", fix, change=remove(_FIELD))]


CONTROL = Control(
    "nodeName",
    "a chosen node",
    "Pods may not choose their node past the scheduler.",
    NodeName,
    opt_in,
    _check,
    of_pod_only=True,
)
