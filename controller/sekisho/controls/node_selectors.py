"""nodeSelectors: pods may only select nodes by the labels that the policy allows.

Restricted fields: spec.nodeSelector, spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution and
    .preferredDuringSchedulingIgnoredDuringExecution, in their terms matchExpressions and matchFields
Allowed values: With `allowed`, a key in it, and where it lists values, the operator In with some of them. With
    `denied`, no key in it but with the operator DoesNotExist, which keeps pods off such nodes. Where the policy has
    neither list, any key but node-role.kubernetes.io/control-plane and node-role.kubernetes.io/master.
The name of a node is the key metadata.name. The DaemonSet controller writes it into each of its pods, in place of the
nodeAffinity of the template. So a policy with `allowed` must allow this key where there are DaemonSets. It judges what
these select only in their templates: set `templates: Deny`. Pods without selectors run on any node. podAffinity and
topologySpreadConstraints are not judged and follow other pods: taints keep pods off nodes.
Level: none; the control applies only where a policy names it
Source: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct

from sekisho.controls.control import Check, Control, Example, ParameterError, Parameters, opt_in
from sekisho.controls.metadata_rules import Key
from sekisho.controls.tolerations import CONTROL_PLANE, allowed_in_words
from sekisho.findings import FieldPath, Finding, compact, remove
from sekisho.pods import ContainerRef, NodeSelectorRequirement, NodeSelectorTerm, Pod

_IN: Final = "In"
_DOES_NOT_EXIST: Final = "DoesNotExist"
_AFFINITY: Final = ("spec", "affinity", "nodeAffinity")
_REQUIRED: Final = (*_AFFINITY, "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
_PREFERRED: Final = (*_AFFINITY, "preferredDuringSchedulingIgnoredDuringExecution")


class AllowedSelector(Struct, frozen=True, forbid_unknown_fields=True):
    """A label that pods may select nodes by."""

    key: Annotated[Key, Meta(description="The label's key, or metadata.name for the names of nodes.")]
    values: (
        Annotated[
            tuple[Annotated[str, Meta(max_length=253)], ...],
            Meta(description="The label's values; any if unset.", min_length=1, max_length=64),
        ]
        | None
    ) = None


class NodeSelectors(Parameters, frozen=True):
    """By which labels pods may select nodes."""

    allowed: (
        Annotated[
            tuple[AllowedSelector, ...],
            Meta(
                description="Labels that pods may select nodes by, and no others.",
                max_length=64,
                extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"]},
            ),
        ]
        | None
    ) = None
    denied: (
        Annotated[
            tuple[Key, ...],
            Meta(description="Keys of labels that no pod may select nodes by.", min_length=1, max_length=64),
        ]
        | None
    ) = None


class _Selection(Struct, frozen=True, gc=False):
    """A condition on nodes: where it is, and what it says."""

    path: FieldPath
    key: str
    operator: str
    values: Sequence[str]

    @property
    def text(self) -> str:
        values = ", ".join(self.values)
        if self.operator == _IN and len(self.values) == 1:
            return f"{self.key}={values}"
        return f"{self.key} {self.operator} {values}".rstrip()


def _check(parameters: NodeSelectors, _minor: int) -> Check:
    has_lists = parameters.allowed is not None or parameters.denied is not None
    denied = frozenset((parameters.denied or ()) if has_lists else CONTROL_PLANE)
    written = None if parameters.allowed is None else {label.key: label.values for label in parameters.allowed}
    listed = (
        None
        if written is None
        else {key: None if values is None else frozenset(values) for key, values in written.items()}
    )
    allowed = allowed_in_words(sorted(denied), written, "no label")

    def judge(pod: Pod, _containers: Sequence[ContainerRef]) -> list[Finding]:
        if not pod.spec.node_selector and pod.spec.affinity is None:
            return []
        return [
            _finding(selection, allowed) for selection in _selections(pod) if not _is_allowed(selection, denied, listed)
        ]

    return judge


def _selections(pod: Pod) -> Iterator[_Selection]:
    for key, value in sorted((pod.spec.node_selector or {}).items()):
        yield _Selection(("spec", "nodeSelector", key), key, _IN, (value,))
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
    if affinity is None:
        return
    required = affinity.required_during_scheduling_ignored_during_execution
    for index, term in enumerate((required.node_selector_terms if required is not None else None) or ()):
        yield from _term_selections((*_REQUIRED, index), term)
    for index, preferred in enumerate(affinity.preferred_during_scheduling_ignored_during_execution or ()):
        if preferred.preference is not None:
            yield from _term_selections((*_PREFERRED, index, "preference"), preferred.preference)


def _term_selections(path: FieldPath, term: NodeSelectorTerm) -> Iterator[_Selection]:
    lists: tuple[tuple[str, list[NodeSelectorRequirement] | None], ...] = (
        ("matchExpressions", term.match_expressions),
        ("matchFields", term.match_fields),
    )
    for name, requirements in lists:
        for index, requirement in enumerate(requirements or ()):
            yield _Selection((*path, name, index), requirement.key, requirement.operator, requirement.values or ())


def _is_allowed(
    selection: _Selection, denied: frozenset[str], listed: Mapping[str, frozenset[str] | None] | None
) -> bool:
    key = selection.key
    if key in denied:
        return selection.operator == _DOES_NOT_EXIST
    if listed is None:
        return True
    if key not in listed:
        return False
    values = listed[key]
    return values is None or (selection.operator == _IN and values.issuperset(selection.values))


def _finding(selection: _Selection, allowed: str) -> Finding:
    path = selection.path
    # A term of nodeAffinity without conditions selects no node, so a person has to decide there.
    change = remove(path) if path[1] == "nodeSelector" else None
    fix = "remove it"
    if path[-2] == "matchFields":
        fix = "remove it; where a DaemonSet's controller wrote it, allow the key metadata.name in the policy"
    return Finding.of("nodeSelectors", path, compact(selection.text), allowed=allowed, fix=fix, change=change)


def _verify(parameters: NodeSelectors) -> None:
    keys = [label.key for label in parameters.allowed or ()]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise ParameterError(f"allowed[{index}].key", f"{key!r} is a duplicate")


CONTROL = Control(
    name="nodeSelectors",
    reason="a node selector",
    summary="Pods may only select nodes by labels that the policy allows; without a list, by any but those of the "
    "control plane.",
    why="Labels divide a cluster into nodes of teams, with accelerators or with secrets. A pod that selects the nodes "
    "of another team takes their room, and shares a kernel with their pods.",
    example=Example(
        parameters="{allowed: [{key: example.com/team, values: [shop]}]}",
        denied="""\
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
      - matchExpressions: [{key: example.com/team, operator: In, values: [bank]}]
containers:
- name: app
  image: registry.example.com/app:1.4
""",
        allowed="""\
nodeSelector: {example.com/team: shop}
containers:
- name: app
  image: registry.example.com/app:1.4
""",
    ),
    parameters=NodeSelectors,
    standard=opt_in,
    check=_check,
    verify=_verify,
    of_pod_only=True,
    unset={
        "allowed": "any",
        "allowed[].values": "any",
        "denied": "none; the two labels of control planes if `allowed` is unset too",
    },
)
