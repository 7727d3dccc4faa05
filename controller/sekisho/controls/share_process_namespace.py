"""shareProcessNamespace: the containers of a pod may not see each other's processes.

Restricted fields: spec.shareProcessNamespace
Allowed values: unset, false
Level: none; the control applies only where a policy names it
"""

from collections.abc import Sequence

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, set_to
from sekisho.pods import ContainerRef, Pod

_FIELD = ("spec", "shareProcessNamespace")


class ShareProcessNamespace(Parameters, frozen=True):
    """The containers of a pod may not see each other's processes."""


def _check(_parameters: ShareProcessNamespace, _minor: int) -> Check:
    return _judge


def _judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
    if not pod.spec.share_process_namespace:
        return []
    finding = Finding.of(
        "shareProcessNamespace",
        _FIELD,
        True,
        allowed="unset or false",
        fix="remove it or set it to false",
        change=set_to(_FIELD, False),
    )
    return [finding]


CONTROL = Control(
    name="shareProcessNamespace",
    reason="a shared process namespace",
    summary="The containers of a pod may not share one process namespace.",
    why="A container that sees another's processes reads its environment and its files through /proc.",
    example=Example(
        parameters="{}",
        denied="""\
shareProcessNamespace: true
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
shareProcessNamespace: false
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=ShareProcessNamespace,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
)
