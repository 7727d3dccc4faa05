"""shareProcessNamespace: the containers of a pod may not see each other's processes.

Restricted fields: spec.shareProcessNamespace
Allowed values: unset, false
Level: none, a policy names it
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Parameters, opt_in, set_to
from sekisho.findings import Finding
from sekisho.pods import ContainerRef, Pod

_FIELD = ("spec", "shareProcessNamespace")


class ShareProcessNamespace(Parameters, frozen=True):
    """The containers of a pod may not see each other's processes."""


def _check(_parameters: Parameters, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
    if not pod.spec.share_process_namespace:
        return []
    change = set_to(_FIELD, False)
    fix = "remove it or set it to false"
    return [Finding("shareProcessNamespace", _FIELD, "true", "unset or false", fix, change=change)]


CONTROL = Control(
    "shareProcessNamespace",
    "a shared process namespace",
    "The containers of a pod may not share one process namespace.",
    ShareProcessNamespace,
    opt_in,
    _check,
    of_pod_only=True,
)
