"""Images and other values that are set when the pod is created: they are judged on the pod only."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from sekisho.admission.verdict import Violation
from sekisho.controls.images import CONTROL as IMAGES
from sekisho.pods import Pod, container_refs

ISTIO_IMAGE: Final = "auto"
"""https://istio.io/latest/docs/setup/additional-setup/gateway/"""
_ISTIO_INJECT: Final = "sidecar.istio.io/inject"
_ISTIO_TEMPLATES: Final = "inject.istio.io/templates"
_ISTIO_REVISION: Final = "istio.io/rev"
"""https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/"""
OPENSHIFT_TRIGGERS: Final = "image.openshift.io/triggers"
"""https://docs.redhat.com/en/documentation/openshift_container_platform/latest/html/images/triggering-updates-on-imagestream-changes"""
MAX_TRIGGERS_LENGTH: Final = 64 * 1024
"""Characters of the annotation; a longer one is ignored, and the images are judged."""
_FIELD_PATH: Final = re.compile(
    r"spec(?:\.\w+)*\.(?:initContainers|containers)\[(?:\?\(@\.name==[\"'](?P<name>[^\"']{1,63})[\"']\)|(?P<index>[0-9]{1,4}))\]\.image"
)


class _Trigger(Struct, frozen=True, rename="camel"):
    field_path: str = ""
    paused: bool | str | None = None


def without_placeholders(
    violations: Sequence[Violation], pod: Pod, annotations: Mapping[str, str] | None, later: str = ""
) -> tuple[list[Violation], tuple[Violation, ...], tuple[str, ...]]:
    """The violations without those about values that are set later, these, and a note for each value or container.

    pod: the pod of a template or manifest.
    annotations: those of the workload; None for none.
    later: what begins a value of any field that is known when a pod is created; empty for none.
    """
    known_later = tuple(violation for violation in violations if later and _is_later(violation, later))
    known = [violation for violation in violations if violation not in known_later] if known_later else violations
    remaining, replaced, notes = _without_replaced(known, pod, annotations)
    return remaining, known_later + replaced, (*dict.fromkeys(map(_later_value, known_later)), *notes)


def _without_replaced(
    violations: Sequence[Violation], pod: Pod, annotations: Mapping[str, str] | None
) -> tuple[list[Violation], tuple[Violation, ...], tuple[str, ...]]:
    if not any(violation.finding.control == IMAGES.name for violation in violations):
        return list(violations), (), ()
    replaced_by = dict(_replaced_images(pod, annotations or {}))
    remaining: list[Violation] = []
    replaced: list[Violation] = []
    containers: dict[str, None] = {}
    for violation in violations:
        container = violation.finding.container
        if violation.finding.control == IMAGES.name and container in replaced_by:
            replaced.append(violation)
            containers[container] = None
        else:
            remaining.append(violation)
    notes = (
        f'the image of container "{name}" is a placeholder that {replaced_by[name]} replaces; it is judged when a pod '
        "is created"
        for name in containers
    )
    return remaining, tuple(replaced), tuple(notes)


def _is_later(violation: Violation, later: str) -> bool:
    return isinstance(violation.finding.raw_value, str) and later in violation.finding.raw_value


def _later_value(violation: Violation) -> str:
    finding = violation.finding
    name = finding.path[-1]
    return f"the {name} of {finding.subject} is {finding.value} until a pod is created, and judged then"


def _replaced_images(pod: Pod, annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The containers whose images are replaced, and by what."""
    yield from ((name, "OpenShift's image trigger") for name in _triggered(pod, annotations.get(OPENSHIFT_TRIGGERS)))
    labels, own = pod.metadata.labels or {}, pod.metadata.annotations or {}
    # The label decides, else the annotation; without either, it is the namespace's label, which is not known here.
    inject = labels.get(_ISTIO_INJECT, own.get(_ISTIO_INJECT))
    if inject == "true" or (inject is None and (_ISTIO_TEMPLATES in own or _ISTIO_REVISION in labels)):
        for ref in container_refs(pod.spec):
            if ref.container.image == ISTIO_IMAGE:
                yield ref.container.name, "Istio's injector"


def _triggered(pod: Pod, text: str | None) -> Iterator[str]:
    if text is None or len(text) > MAX_TRIGGERS_LENGTH:
        return
    try:
        triggers = msgspec.json.decode(text, type=list[_Trigger])
    except (msgspec.DecodeError, RecursionError):
        return
    for trigger in triggers:
        path = _FIELD_PATH.fullmatch(trigger.field_path)
        if path is None or trigger.paused in (True, "true"):
            continue
        if path["name"] is not None:
            yield path["name"]
            continue
        containers = (pod.spec.init_containers if "initContainers" in trigger.field_path else pod.spec.containers) or []
        if int(path["index"]) < len(containers):
            yield containers[int(path["index"])].name
