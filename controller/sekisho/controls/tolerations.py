"""tolerations: pods may only tolerate the taints that the policy allows.

Restricted fields: spec.tolerations[*].{key,operator,value}
Allowed values: With `allowed`, a key in it, with one of its values where it lists any. With `denied`, no key in it.
    Where the policy has neither list, any key but node-role.kubernetes.io/control-plane and
    node-role.kubernetes.io/master.
A toleration without a key tolerates every taint, and one with the operator Exists every value of its key. Only the
operator Equal, or an unset one, names one value: any other, such as Gt, is denied where `allowed` lists values. Keys
that begin with node.kubernetes.io/ are always allowed: Kubernetes itself adds them to pods.
Level: none; the control applies only where a policy names it
Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct

from sekisho.controls.control import Check, Control, Example, ParameterError, Parameters, opt_in
from sekisho.controls.metadata_rules import Key
from sekisho.findings import Finding, compact, remove, words
from sekisho.pods import ContainerRef, Pod, Toleration

CONTROL_PLANE: Final = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
"""Keys of the taints and the labels of the nodes of the control plane."""
_OF_KUBERNETES: Final = "node.kubernetes.io/"
_EXISTS: Final = "Exists"
_EQUAL: Final = frozenset((None, "", "Equal"))
"""Operators with which a toleration is for its own value alone; Gt and Lt are for others."""


class AllowedToleration(Struct, frozen=True, forbid_unknown_fields=True):
    """A taint that pods may tolerate."""

    key: Annotated[Key, Meta(description="The taint's key, such as example.com/dedicated.")]
    values: (
        Annotated[
            tuple[Annotated[str, Meta(max_length=63)], ...],
            Meta(description="The taint's values; any if unset.", min_length=1, max_length=64),
        ]
        | None
    ) = None


class Tolerations(Parameters, frozen=True):
    """Which taints pods may tolerate."""

    allowed: (
        Annotated[
            tuple[AllowedToleration, ...],
            Meta(
                description="Taints that pods may tolerate, and no others.",
                max_length=64,
                extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"]},
            ),
        ]
        | None
    ) = None
    denied: (
        Annotated[
            tuple[Key, ...], Meta(description="Keys of taints that no pod may tolerate.", min_length=1, max_length=64)
        ]
        | None
    ) = None


def _check(parameters: Tolerations, _minor: int) -> Check:
    has_lists = parameters.allowed is not None or parameters.denied is not None
    denied = frozenset((parameters.denied or ()) if has_lists else CONTROL_PLANE)
    listed = None if parameters.allowed is None else {taint.key: taint.values for taint in parameters.allowed}
    allowed = allowed_in_words(sorted(denied), listed, "no toleration")

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        return [
            _finding(index, toleration, allowed)
            for index, toleration in enumerate(pod.spec.tolerations or ())
            if not _is_allowed(toleration, denied, listed)
        ]

    return judge


def _is_allowed(
    toleration: Toleration, denied: frozenset[str], listed: Mapping[str, tuple[str, ...] | None] | None
) -> bool:
    key = toleration.key
    if not key:
        return listed is None and not denied
    if key in denied:
        return False
    if listed is None or key.startswith(_OF_KUBERNETES):
        return True
    if key not in listed:
        return False
    values = listed[key]
    return values is None or (toleration.operator in _EQUAL and toleration.value in values)


def _finding(index: int, toleration: Toleration, allowed: str) -> Finding:
    path = ("spec", "tolerations", index)
    if not toleration.key:
        value = "every taint"
    elif toleration.operator == _EXISTS:
        value = f"{toleration.key} with any value"
    elif toleration.operator in _EQUAL:
        value = f"{toleration.key}={toleration.value}"
    else:
        value = f"{toleration.key} {toleration.operator} {toleration.value}"
    return Finding.of("tolerations", path, compact(value), allowed=allowed, fix="remove it", change=remove(path))


def allowed_in_words(denied: Sequence[str], listed: Mapping[str, tuple[str, ...] | None] | None, nothing: str) -> str:
    """Which keys are allowed, by the values that a key may have; `nothing` says that none is.

    listed: the only keys that are allowed, with None for any value; None where all are allowed that are not denied.
    """
    if listed is None:
        return f"any key but {words(denied, 'and')}"
    names = [key if values is None else f"{key}={'|'.join(values)}" for key, values in listed.items()]
    return words([name for name in names if name not in denied] or [nothing])


def _verify(parameters: Tolerations) -> None:
    keys = [taint.key for taint in parameters.allowed or ()]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise ParameterError(f"allowed[{index}].key", f"{key!r} is a duplicate")


CONTROL = Control(
    name="tolerations",
    reason="a toleration",
    summary="Pods may only tolerate taints that the policy allows; without a list, any but those of the control plane.",
    why="Taints keep pods off nodes, such as those of the control plane and those that belong to one team. A pod that "
    "tolerates the taint runs there anyway.",
    example=Example(
        parameters="{allowed: [{key: example.com/dedicated, values: [shop]}]}",
        denied="""\
tolerations:
- {operator: Exists}
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
tolerations:
- {key: example.com/dedicated, operator: Equal, value: shop, effect: NoSchedule}
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=Tolerations,
    standard=opt_in,
    check=_check,
    verify=_verify,
    of_pod_only=True,
    unset={
        "allowed": "any",
        "allowed[].values": "any",
        "denied": "none; the two taints of control planes if `allowed` is unset too",
    },
)
