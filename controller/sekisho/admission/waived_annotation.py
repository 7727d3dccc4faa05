"""The annotation that says which waivers exempted a pod, and from which controls. No verdict depends on it."""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from sekisho.admission.context import Context
from sekisho.admission.evaluation import evaluate
from sekisho.admission.patch import (
    MAX_ANNOTATIONS,
    Addition,
    Filled,
    Operation,
    Removal,
    bytes_of,
    pointer_to,
    with_defaults,
)
from sekisho.admission.waivers import Exemptions, Waived, exemptions
from sekisho.pods import WAIVED_ANNOTATION, Pod, container_refs
from sekisho.policies.matching import Subject

MAX_NAMES: Final = 16
"""Waivers in the annotation, and controls of each of them."""
_POINTER: Final = pointer_to(("metadata", "annotations"), WAIVED_ANNOTATION)


def with_waived_annotation(pod: Pod, filled: Filled, context: Context, subject: Subject | None) -> Filled:
    """The patch of a new pod, with the annotation if waivers exempt the pod with its defaults, and else without it.

    A value that a client has written is replaced or removed. Nothing is left to change where the annotation is right.

    Raises UnjudgedError and ManyFindingsError as `evaluate` does.
    """
    present = (pod.metadata.annotations or {}).get(WAIVED_ANNOTATION)
    text = _text(_waived(pod, filled, context, subject))
    if text is not None and text != present:
        operation = _addition(pod, filled, text)
        if operation is not None:
            return replace(filled, operations=(*filled.operations, operation))
        text = None
    if text is None and present is not None:
        return replace(filled, operations=(*filled.operations, Removal(_POINTER)))
    return filled


def _waived(pod: Pod, filled: Filled, context: Context, subject: Subject | None) -> tuple[Waived, ...]:
    """What waivers exempt; a pod that no waiver may apply to is not judged for that."""
    if context.clock is None or not context.policies.has_waivers:
        return ()
    if not context.policies.waivers_in(context.namespace):
        return ()
    if not _may_exempt(exemptions(pod, context, context.clock()), pod):
        return ()
    return evaluate(with_defaults(pod, filled), context, subject=subject).waived


def _may_exempt(exempt: Exemptions, pod: Pod) -> bool:
    """Whether some waiver applies to the pod, or to one of its containers."""
    if not exempt.waivers:
        return False
    if any(not (waiver.images or waiver.containers) for waiver in exempt.waivers):
        return True
    return any(exempt.group(ref.container) for ref in container_refs(pod.spec))


def _text(waived: tuple[Waived, ...]) -> str | None:
    """The annotation: the controls by waiver, as JSON; None where nothing is waived."""
    controls: dict[str, set[str]] = {}
    for one in waived:
        controls.setdefault(one.waiver, set()).add(one.finding.control)
    if not controls:
        return None
    shown = {name: sorted(controls[name])[:MAX_NAMES] for name in sorted(controls)[:MAX_NAMES]}
    return msgspec.json.encode(shown).decode()


def _addition(pod: Pod, filled: Filled, text: str) -> Operation | None:
    """What adds the annotation; None where the pod's annotations have no room for it."""
    annotations: Mapping[str, str] | None = with_defaults(pod, filled).metadata.annotations
    if bytes_of({**(annotations or {}), WAIVED_ANNOTATION: text}) > MAX_ANNOTATIONS:
        return None
    if annotations is None:
        return Addition("/metadata/annotations", {WAIVED_ANNOTATION: text})
    return Addition(_POINTER, text)
