"""The pods of Tekton's tasks: each step and each sidecar is a container, and a run has the fields of the pod.

Source: https://tekton.dev/docs/pipelines/tasks/, https://tekton.dev/docs/pipelines/podtemplates/
"""

from collections.abc import Iterator

from msgspec import Struct

from sekisho.custom_kinds.made_pod import MadePod
from sekisho.custom_kinds.parts import (
    POD_TEMPLATE,
    Part,
    PartError,
    below,
    either,
    entries,
    listed,
    merged,
    text_at,
    written_at,
)
from sekisho.findings import FieldPath

_ELSEWHERE = "what its {} names is judged where that is"


class _Run(Struct, frozen=True):
    """What a run adds to the pods of a task.

    metadata: of the object that is judged, whose labels and annotations its pods get.
    place: where a field of the pod is written.
    """

    metadata: Part | None
    place: FieldPath = (POD_TEMPLATE,)
    template: Part | None = None
    account: Part | None = None


def task_pods(task: Part) -> Iterator[MadePod]:
    """The pod of a Task, as a TaskRun without a podTemplate makes it. Raises PartError."""
    yield _pod(below(task, "spec"), _Run(below(task, "metadata")))


def step_action_pods(action: Part) -> Iterator[MadePod]:
    """The pod of one step that is a StepAction. Raises PartError."""
    spec = below(action, "spec")
    steps = None if spec is None else listed(spec.place, [spec])
    yield _pod(written_at(("spec",), {"steps": steps}), _Run(below(action, "metadata")))


def task_run_pods(run: Part) -> Iterator[MadePod]:
    """The pod of a TaskRun; without containers, if its task is another object. Raises PartError."""
    template, account = below(run, "spec", POD_TEMPLATE), below(run, "spec", "serviceAccountName")
    wanted = _Run(below(run, "metadata"), ("spec", POD_TEMPLATE), template, account)
    yield _pod(below(run, "spec", "taskSpec"), wanted, _reference(below(run, "spec"), "taskRef"))


def pipeline_pods(pipeline: Part) -> Iterator[MadePod]:
    """The pods of the tasks that are written in a Pipeline. Raises PartError."""
    return _tasks(below(pipeline, "spec"), _Run(below(pipeline, "metadata")))


def pipeline_run_pods(run: Part) -> Iterator[MadePod]:
    """The pods of the tasks in a PipelineRun; one without containers, if its pipeline is another object."""
    spec = below(run, "spec")
    holder = below(spec, "taskRunTemplate")  # of v1; v1beta1 has its fields in the spec
    place = (
        ("spec", POD_TEMPLATE) if below(spec, POD_TEMPLATE) is not None else ("spec", "taskRunTemplate", POD_TEMPLATE)
    )
    template = below(holder, POD_TEMPLATE) or below(spec, POD_TEMPLATE)
    account = below(holder, "serviceAccountName") or below(spec, "serviceAccountName")
    wanted = _Run(below(run, "metadata"), place, template, account)
    if reference := _reference(spec, "pipelineRef"):
        yield _pod(None, wanted, reference)
    yield from _tasks(below(spec, "pipelineSpec"), wanted, entries(below(spec, "taskRunSpecs")))


def _tasks(pipeline: Part | None, run: _Run, own: list[Part] | None = None) -> Iterator[MadePod]:
    """The pods of a pipeline's tasks; `own` are the entries of taskRunSpecs, None in a Pipeline."""
    for task in (*entries(below(pipeline, "tasks")), *entries(below(pipeline, "finally"))):
        name = text_at(task, "name")
        wanted = next((_with_own(run, entry) for entry in own or () if text_at(entry, "pipelineTaskName") == name), run)
        spec, reference = below(task, "taskSpec"), _reference(task, "taskRef")
        if reference or (spec is not None and below(spec, "apiVersion") is None):  # else a custom task, without a pod
            yield _pod(spec, wanted, reference)
        yield from _tasks(below(task, "pipelineSpec"), run)


def _with_own(run: _Run, entry: Part) -> _Run:
    """The run with what it has for one task."""
    own = below(entry, POD_TEMPLATE) or below(entry, "taskPodTemplate")
    place = run.place if own is None else own.place
    account = below(entry, "serviceAccountName") or below(entry, "taskServiceAccountName")
    return _Run(run.metadata, place, either(run.template, own), account or run.account)


def _reference(part: Part | None, key: str) -> tuple[str, ...]:
    return () if below(part, key) is None else (_ELSEWHERE.format(key),)


def _pod(task: Part | None, run: _Run, left_out: tuple[str, ...] = ()) -> MadePod:
    place = run.place if task is None else task.place
    shared = written_at(place, {"env": below(run.template, "env")})
    base = either(shared, below(task, "stepTemplate"))
    steps = entries(below(task, "steps"))
    containers = [_container(merged(base, step), "step", index) for index, step in enumerate(steps)]
    sidecars = enumerate(entries(below(task, "sidecars")))
    containers += [_container(merged(shared, sidecar), "sidecar", index) for index, sidecar in sidecars]
    keys = run.template.value if run.template is not None and isinstance(run.template.value, dict) else {}
    fields = {key: below(run.template, key) for key in keys if key != "env"}
    fields["serviceAccountName"] = run.account
    volumes = [*entries(below(task, "volumes")), *entries(below(run.template, "volumes"))]
    fields |= {"volumes": listed((*place, "volumes"), volumes), "containers": listed(place, containers)}
    metadata = {key: below(run.metadata, key) for key in ("labels", "annotations")}
    pod = written_at(place, {"metadata": written_at(("metadata",), metadata), "spec": written_at(run.place, fields)})
    if any(below(step, "ref") is not None for step in steps):
        left_out = (*left_out, _ELSEWHERE.format("steps' ref"))
    return MadePod(pod, left_out, "$(")


def _container(container: Part, prefix: str, index: int) -> Part:
    """A step or a sidecar, with the name that Tekton gives its container."""
    if not isinstance(container.value, dict):
        raise PartError(container.place, "object")
    name = container.value.get("name") or f"unnamed-{index}"
    fields = {key: below(container, key) for key in container.value if key != "name"}
    fields["resources"] = below(container, "computeResources") or below(container, "resources")
    named = written_at(container.place, fields)
    return Part({**named.value, "name": f"{prefix}-{name}"}, named.places)
