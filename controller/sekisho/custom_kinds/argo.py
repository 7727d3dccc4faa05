"""The pods of Argo's workflows: each template with containers is a pod, with the fields of its workflow.

Source: https://argo-workflows.readthedocs.io/en/latest/fields/
"""

from collections.abc import Iterable, Iterator
from typing import Final

from sekisho.custom_kinds.made_pod import MadePod
from sekisho.custom_kinds.parts import (
    POD_SPEC_PATCH,
    Part,
    PartError,
    Places,
    below,
    either,
    entries,
    listed,
    merged,
    text_at,
    written_at,
)
from sekisho.documents import DocumentError, read_documents
from sekisho.findings import render_path

_OF_TEMPLATES: Final = (
    *("affinity", "automountServiceAccountToken", "hostAliases", "nodeSelector", "schedulerName", "securityContext"),
    *("serviceAccountName", "tolerations"),
)
"""Fields of pods that a template may have, and the workflow for all templates that do not."""
_OF_WORKFLOWS: Final = ("dnsConfig", "dnsPolicy", "hostNetwork", "imagePullSecrets")
_OWN: Final = {"containers": "wait", "initContainers": "init"}
"""Argo's containers in each pod, which a patch may change."""
_MAX_PATCH_LENGTH: Final = 16 * 1024
"""Characters of a patch that is read."""


def workflow_pods(spec: Part | None) -> Iterator[MadePod]:
    """The pods of a workflow's spec, None for no spec. Raises PartError."""
    if spec is None:
        return
    if below(spec, "workflowTemplateRef") is not None:
        yield MadePod(
            written_at(spec.place, {"spec": written_at(spec.place, {})}),
            ("the templates that its workflowTemplateRef names are judged where they are",),
        )
    defaults, patch = below(spec, "templateDefaults"), _patch(below(spec, POD_SPEC_PATCH))
    for template in _templates(spec):
        whole = merged(defaults, template)
        containers = _containers(template, whole)
        if containers is not None:
            yield _pod(spec, whole, containers, patch)


def _templates(spec: Part) -> Iterator[Part]:
    """The templates, and those that are written where they are used."""
    for template in entries(below(spec, "templates")):
        yield template
        steps = [step for group in entries(below(template, "steps")) for step in _steps(group)]
        for step in (*steps, *entries(below(template, "dag", "tasks"))):
            if (inline := below(step, "inline")) is not None:
                yield inline


def _steps(group: Part) -> list[Part]:
    return entries(group) if isinstance(group.value, list) else entries(below(group, "steps"))


def _containers(own: Part, template: Part) -> list[Part] | None:
    """The main containers of a template, without those that Argo adds; None for a template without a pod."""
    for key in ("container", "script"):
        if below(own, key) is not None and (container := below(template, key)) is not None:
            return [_named(container)]
    if below(own, "containerSet") is not None:
        return entries(below(template, "containerSet", "containers"))
    return [] if below(own, "resource") is not None or below(own, "data") is not None else None


def _named(container: Part) -> Part:
    if not isinstance(container.value, dict):
        raise PartError(container.place, "object")
    return Part({**container.value, "name": container.value.get("name") or "main"}, container.places)


def _pod(workflow: Part, template: Part, main: list[Part], patch: Part | str | None) -> MadePod:
    initial = entries(below(template, "initContainers"))
    containers = [*main, *entries(below(template, "sidecars"))]
    spec = {
        **{key: below(workflow, key) for key in _OF_WORKFLOWS},
        **{key: below(template, key) or below(workflow, key) for key in _OF_TEMPLATES},
        "priorityClassName": below(template, "priorityClassName") or below(workflow, "podPriorityClassName"),
        "containers": listed(template.place, containers),
        "initContainers": listed((*template.place, "initContainers"), initial),
        "volumes": listed(
            (*template.place, "volumes"),
            [*entries(below(template, "volumes")), *_shared(workflow, _mounted(template, [*containers, *initial]))],
        ),
    }
    patched = written_at((*workflow.place, POD_SPEC_PATCH), spec)
    patches = (patch, _patch(below(template, POD_SPEC_PATCH)))
    for values in patches:
        if isinstance(values, Part):
            patched = merged(patched, values)
    unset: dict[str | int, Places] = {key: Places((*workflow.place, key)) for key in (*_OF_TEMPLATES, *_OF_WORKFLOWS)}
    patched = Part(patched.value, Places(patched.place, {**unset, **patched.places.below}))
    metadata = either(below(workflow, "podMetadata"), below(template, "metadata"))
    left_out = tuple(reason for reason in patches if isinstance(reason, str))
    return MadePod(written_at(template.place, {"metadata": metadata, "spec": patched}), left_out, "{{")


def _mounted(template: Part, containers: Iterable[Part]) -> set[str]:
    """The names of the volumes that a template's containers mount."""
    mounts = [mount for container in containers for mount in entries(below(container, "volumeMounts"))]
    mounts += entries(below(template, "containerSet", "volumeMounts"))
    return {text_at(mount, "name") for mount in mounts}


def _shared(workflow: Part, mounted: set[str]) -> Iterator[Part]:
    """The workflow's volumes, of which a pod has those that it mounts."""
    for volume in entries(below(workflow, "volumes")):
        if text_at(volume, "name") in mounted:
            yield volume
    for claim in entries(below(workflow, "volumeClaimTemplates")):
        name = text_at(below(claim, "metadata"), "name")
        if name in mounted:
            yield Part({"name": name, "persistentVolumeClaim": {"claimName": name}}, Places(claim.place))


def _patch(patch: Part | None) -> Part | str | None:
    """What a text with fields of pods has, or a sentence that it is not judged; None for no text."""
    if patch is None:
        return None
    try:
        text = patch.value if isinstance(patch.value, str) and len(patch.value) <= _MAX_PATCH_LENGTH else ""
        values = [document.value for document in read_documents(text, "")]
    except DocumentError:
        values = []
    if len(values) != 1 or not isinstance(values[0], dict) or "{{" in text or "$patch" in text:
        return f"{render_path(patch.place)} is judged when a pod is created"
    return Part({key: _without_own(key, value) for key, value in values[0].items()}, patch.places)


def _without_own(key: str, value: object) -> object:
    """The value of a patch without Argo's own containers, of which it has only some fields."""
    if key not in _OWN or not isinstance(value, list):
        return value
    return [entry for entry in value if not isinstance(entry, dict) or entry.get("name") != _OWN[key]]
