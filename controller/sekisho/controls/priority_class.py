"""priorityClass: pods may only have a priority class that the policy allows.

Restricted fields: spec.priorityClassName
Allowed values: unset, or with `allowed` a name in it, and with `denied` no name in that; unset where the policy has
    neither list
The API server sets an unset field to the cluster's default class, if it has one, before Sekisho judges the pod; that
class must then be allowed too.
Level: none; the control applies only where a policy names it
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sekisho.controls.control import Check, Control, Example, Parameters, opt_in
from sekisho.findings import Finding, set_to, words
from sekisho.pods import ContainerRef, Pod

_FIELD = ("spec", "priorityClassName")


ClassName = Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]


class PriorityClass(Parameters, frozen=True):
    """Which priority classes pods may have."""

    allowed: (
        Annotated[
            tuple[ClassName, ...],
            Meta(description="Names of priority classes that are allowed.", max_length=64),
        ]
        | None
    ) = None
    denied: (
        Annotated[
            tuple[ClassName, ...],
            Meta(description="Names of priority classes that no pod may have.", min_length=1, max_length=64),
        ]
        | None
    ) = None


def _check(parameters: PriorityClass, _minor: int) -> Check:
    denied = parameters.denied or ()
    classes = tuple(name for name in parameters.allowed or () if name not in denied)
    may_be_other = parameters.allowed is None and bool(denied)
    allowed = f"any but {words(denied, 'and')}" if may_be_other else words(("unset", *classes))
    fix = f"remove it or set it to {words(classes)}" if classes else "remove it"

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        name = pod.spec.priority_class_name
        if not name or name in classes or (may_be_other and name not in denied):
            return []
        change = set_to(_FIELD, classes[0]) if classes else None
        return [Finding.of("priorityClass", _FIELD, name, allowed=allowed, fix=fix, change=change)]

    return judge


CONTROL = Control(
    name="priorityClass",
    reason="its priority",
    summary="Pods may only have a priority class that the policy allows; without a list, none.",
    why="A pod of a high priority evicts others when the nodes are full, and everyone who may create pods may name any "
    "class.",
    example=Example(
        parameters="{allowed: [batch]}",
        denied="""\
priorityClassName: system-node-critical
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
priorityClassName: batch
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=PriorityClass,
    standard=opt_in,
    check=_check,
    of_pod_only=True,
    unset={"allowed": "none; any if `denied` is set", "denied": "none"},
)
