"""Kinds of others whose objects make pods: from pod templates, or from parts that Argo and Tekton put together."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from sekisho.custom_kinds import argo, tekton
from sekisho.custom_kinds.made_pod import MadePod
from sekisho.custom_kinds.parts import Part, PartError, Places, below, can_be_changed
from sekisho.custom_kinds.templates import ANY_MEMBER, CUSTOM_KINDS, TemplatePattern, templates_at

__all__ = [
    "ANY_MEMBER",
    "COMPOSED_KINDS",
    "CUSTOM_KINDS",
    "MadePod",
    "Part",
    "PartError",
    "Places",
    "PodKinds",
    "TemplatePattern",
    "can_be_changed",
    "is_custom",
    "pods_made_by",
]

PodKinds = Mapping[tuple[str, str], tuple[TemplatePattern, ...]]
"""Where kinds have their pod templates, by group and kind."""


def _workflow_at(*path: str) -> Callable[[Part], Iterator[MadePod]]:
    return lambda part: argo.workflow_pods(below(part, *path))


COMPOSED_KINDS: Final[Mapping[tuple[str, str], Callable[[Part], Iterator[MadePod]]]] = {
    ("argoproj.io", "ClusterWorkflowTemplate"): _workflow_at("spec"),
    ("argoproj.io", "CronWorkflow"): _workflow_at("spec", "workflowSpec"),
    ("argoproj.io", "Workflow"): _workflow_at("spec"),
    ("argoproj.io", "WorkflowTemplate"): _workflow_at("spec"),
    ("tekton.dev", "ClusterTask"): tekton.task_pods,
    ("tekton.dev", "Pipeline"): tekton.pipeline_pods,
    ("tekton.dev", "PipelineRun"): tekton.pipeline_run_pods,
    ("tekton.dev", "StepAction"): tekton.step_action_pods,
    ("tekton.dev", "Task"): tekton.task_pods,
    ("tekton.dev", "TaskRun"): tekton.task_run_pods,
}
"""The pods of kinds that have no pod template, by group and kind."""


def is_custom(group: str, kind: str) -> bool:
    """Whether the pods are known of a kind that is not one of Kubernetes' own."""
    return (group, kind) in CUSTOM_KINDS or (group, kind) in COMPOSED_KINDS


def pods_made_by(value: dict[str, Any], group: str, kind: str, kinds: PodKinds = CUSTOM_KINDS) -> list[MadePod] | None:
    """The pods that an object makes, in its order; None for an object of a kind that is not known.

    kinds: those with pod templates.

    Raises PartError for a field of the wrong type, and RecursionError.
    """
    patterns, compose = kinds.get((group, kind)), COMPOSED_KINDS.get((group, kind))
    if patterns is not None:
        return [
            MadePod(Part(template, Places(path)))
            for pattern in patterns
            for path, template in templates_at(value, pattern)
        ]
    return None if compose is None else list(compose(Part(value, Places(()))))
