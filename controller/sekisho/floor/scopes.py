"""Which pods a policy or a waiver applies to, as CEL. The counterpart of `policies.matching` and `policies.waivers`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sekisho.floor import cel
from sekisho.floor.image_breaches import covers, unsayable
from sekisho.floor.terms import CREATED, Judged
from sekisho.images import parse_pattern, without_credentials
from sekisho.policies.matching import requirements
from sekisho.policies.selectors import LabelSelector, Match, SelectorOperator, Subjects
from sekisho.policies.waivers import PolicyWaiver
from sekisho.timestamps import rfc3339

_NAMESPACE: Final = "request.namespace"
_POD_LABELS: Final = "object.metadata.?labels.orValue({})"
_NAMESPACE_LABELS: Final = "namespaceObject.metadata.?labels.orValue({})"
_NAME: Final = "variables.owner_name"
OWNER_VARIABLES: Final[Mapping[str, str]] = {
    "owner": "object.metadata.?ownerReferences.orValue([]).filter(r, r.?controller.orValue(false))",
    "owner_kind": 'size(variables.owner) == 0 ? "" : string(variables.owner[0].kind)',
    "owner_name": (
        'variables.owner_kind in ["", "Node"] ? string(object.metadata.name) : string(variables.owner[0].name)'
    ),
    "template_hash": 'string(object.metadata.?labels[?"pod-template-hash"].orValue(""))',
    "owner_suffix": 'variables.template_hash == "" ? "" : "-" + variables.template_hash',
    "owner_names": (
        f'[variables.owner_kind == "ReplicaSet" && {_NAME}.endsWith(variables.owner_suffix) ? '
        f"{_NAME}.substring(0, size({_NAME}) - size(variables.owner_suffix)) : {_NAME}] + "
        f'(variables.owner_kind == "Job" ? '
        f'[{_NAME}.substring(0, size({_NAME}) - size({_NAME}.find("-[0-9]{{8,}}$")))] : [])'
    ),
}
"""Variables that lead to the names of what a user created that the pod comes from, as `pods.owner_names` gives them."""


def applies(match: Match) -> str:
    """Whether a policy applies to the pod, and to the user who creates or changes it."""
    runtime_class = 'object.spec.?runtimeClassName.orValue("")'
    return cel.all_of(
        (
            cel.TRUE if match.namespaces is None else cel.glob_match(_NAMESPACE, match.namespaces),
            cel.negated(cel.glob_match(_NAMESPACE, match.exclude_namespaces or ())),
            _selects(match.namespace_selector, _NAMESPACE_LABELS),
            _selects(match.pod_selector, _POD_LABELS),
            cel.negated(cel.is_in(runtime_class, match.exclude_runtime_classes or ())),
            cel.negated(_is_subject(match.exclude_subjects or Subjects())),
        )
    )


def waiver_applies(waiver: PolicyWaiver) -> str:
    """Whether a waiver has not expired and applies to the pod, or to some of its containers.

    No time comes with an update, so that no waiver applies to what an update adds or changes. A pod's creationTimestamp
    is the API server's time in whole seconds, whatever its creator writes.
    """
    match = waiver.spec.match
    return cel.all_of(
        (
            CREATED,
            f"timestamp(object.metadata.creationTimestamp) < timestamp({cel.text(rfc3339(waiver.spec.expires))})",
            cel.TRUE if match.namespaces is None else cel.glob_match(_NAMESPACE, match.namespaces),
            _selects(match.pod_selector, _POD_LABELS),
            cel.TRUE if match.names is None else f"variables.owner_names.exists(n, {cel.glob_match('n', match.names)})",
        )
    )


def waiver_covers(waiver: PolicyWaiver, judged: Judged, value: str, control: str) -> str:
    """Whether a waiver that applies to the pod exempts a value of an entry that breaches a control.

    The entry is `c` for CONTAINER and `i` for IMAGE; value is an expression, a string.
    """
    match, values = waiver.spec.match, waiver.spec.values
    is_value = cel.TRUE
    if values:
        # A value that denials do not show cannot be waived.
        shown = [one for one in values if control != "images" or without_credentials(one) == one]
        is_value = cel.is_in(value, shown)
    if not match.containers and not match.images:
        return is_value
    if judged is Judged.POD:
        return cel.FALSE
    container = "c.name" if judged is Judged.CONTAINER else "i.container"
    return cel.all_of(
        (
            f'{container} != ""',
            cel.is_in(container, match.containers) if match.containers else cel.TRUE,
            _has_image(match.images, judged) if match.images else cel.TRUE,
            is_value,
        )
    )


def unsayable_waiver(waiver: PolicyWaiver) -> bool:
    """Whether the floor cannot say which images a waiver is for."""
    return unsayable([parse_pattern(text) for text in waiver.spec.match.images or ()])


def _has_image(images: Sequence[str], judged: Judged) -> str:
    patterns = [parse_pattern(text) for text in images]
    if judged is Judged.IMAGE:
        return covers("i.name", patterns)
    return f"variables.images.exists(w, w.container == c.name && ({covers('w.name', patterns)}))"


def _selects(selector: LabelSelector | None, labels: str) -> str:
    return cel.all_of(_conditions(selector, labels))


def _conditions(selector: LabelSelector | None, labels: str) -> Iterator[str]:
    for requirement in requirements(selector):
        key = cel.text(requirement.key)
        has_value = cel.all_of((f"{key} in {labels}", cel.is_in(f"{labels}[{key}]", requirement.values or ())))
        match requirement.operator:
            case SelectorOperator.IN:
                yield has_value
            case SelectorOperator.NOT_IN:
                yield cel.negated(has_value)
            case SelectorOperator.EXISTS:
                yield f"{key} in {labels}"
            case SelectorOperator.DOES_NOT_EXIST:
                yield cel.negated(f"{key} in {labels}")


def _is_subject(subjects: Subjects) -> str:
    accounts = (f"system:serviceaccount:{name.replace('/', ':')}" for name in subjects.service_accounts or ())
    users, groups = [*(subjects.users or ()), *accounts], subjects.groups or ()
    return cel.any_of(
        (
            cel.is_in('request.userInfo.?username.orValue("")', users),
            f"request.userInfo.?groups.orValue([]).exists(g, {cel.is_in('g', groups)})" if groups else cel.FALSE,
        )
    )
