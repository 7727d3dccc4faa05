"""Why a policy applies to a pod or not, and the result of each of its controls."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sekisho.admission import Context, Evaluation, Form, Violation, Waived, evaluate
from sekisho.admission.template_paths import finding_in_parts
from sekisho.documents import parse_path
from sekisho.findings import render_path
from sekisho.manifests.namespaces import NOT_JUDGED, Namespaces
from sekisho.manifests.objects import JudgedObject
from sekisho.pods import Pod, container_refs
from sekisho.policies import (
    ClusterPodPolicy,
    CompiledPolicy,
    Enforcement,
    PodPolicy,
    Policy,
    PolicySet,
    compile_policy,
)
from sekisho.policies.matching import Labels, mismatch, pod_mismatch

_SUBJECT_UNKNOWN: Final = "match.excludeSubjects was ignored: a manifest does not say who will create the pod"


class ControlResult(Struct, frozen=True):
    """The result of one control of a policy. All paths are from the manifest's root.

    enforcement: what the policy does to a pod that fails the control.
    waived: the violations that waivers exempt the pod from.
    not_judged: what the control would have to judge, and could not: a sentence for each.
    """

    control: str
    enforcement: Enforcement
    violations: tuple[Violation, ...]
    waived: tuple[Waived, ...] = ()
    not_judged: tuple[str, ...] = ()


class Explanation(Struct, frozen=True):
    """How one policy applies to a pod.

    mismatch: the condition that failed, and then the rest is empty; None if the policy applies.
    labels_unknown: whether the policy reads the namespace's labels, and these are unknown.
    defaults: the paths of the fields that it sets, from the manifest's root; for an image, also what it becomes.
    """

    policy: str
    mismatch: str | None
    labels_unknown: bool = False
    defaults: tuple[str, ...] = ()
    controls: tuple[ControlResult, ...] = ()
    notes: tuple[str, ...] = ()


def explain(
    judged: JudgedObject, policies: Sequence[Policy], namespaces: Namespaces, now: datetime
) -> Iterator[Explanation]:
    """How each policy applies to the pods of an object, in the order of the policies' names.

    now: the time for waivers.

    Controls check the pod after the defaults of all policies are applied.
    """
    labels, objects = namespaces.labels(judged.namespace), namespaces.objects(judged.namespace)
    context = Context(
        PolicySet.of(policies),
        judged.namespace,
        labels,
        clock=lambda: now,
        objects=objects,
        values_later=judged.made.values_later,
    )
    evaluation = evaluate(
        judged.pod or Pod(), context, form=Form.MANIFEST, workload=judged.workload, annotations=judged.annotations
    )
    defaults = _defaults(evaluation, judged)
    for policy in sorted(policies, key=lambda policy: policy.title):
        if isinstance(policy, ClusterPodPolicy | PodPolicy):
            yield _explanation(policy, evaluation, judged, namespaces, defaults.get(policy.title, ()))


def _explanation(
    policy: ClusterPodPolicy | PodPolicy,
    evaluation: Evaluation,
    judged: JudgedObject,
    namespaces: Namespaces,
    defaults: tuple[str, ...],
) -> Explanation:
    labels = namespaces.labels(judged.namespace)
    compiled = compile_policy(policy)
    reads_labels = compiled.selects_labels is not None or compiled.for_labels is not None
    unknown = reads_labels and judged.namespace not in namespaces
    exempt = f"namespace {judged.namespace}: {NOT_JUDGED}" if judged.namespace in namespaces.exempt else None
    reason = exempt or _mismatch(policy, judged.namespace, labels, judged.pod or Pod())
    if reason is not None:
        return Explanation(policy.title, reason, unknown)
    if compiled.for_labels is not None:
        compiled = compiled.for_labels(labels)
    ignored = (_SUBJECT_UNKNOWN,) if policy.spec.match.exclude_subjects is not None else ()
    controls = tuple(_controls(compiled, evaluation, judged))
    return Explanation(policy.title, None, unknown, defaults, controls, compiled.notes + ignored)


def _defaults(evaluation: Evaluation, judged: JudgedObject) -> dict[str, tuple[str, ...]]:
    """The paths of the fields that each policy sets, from the manifest's root; for an image, also what it becomes."""
    images = _images(evaluation.pod) if evaluation.filled.fields else {}
    pod = judged.made.pod
    above = f"{render_path(pod.place)}." if pod.place else ""

    def written(field: str) -> str:
        where = above + field if pod.is_in_one_place else render_path(pod.place_of(parse_path(field)))
        return f"{where} to {images[field]}" if field in images else where

    return {policy: tuple(map(written, filled)) for policy, filled in evaluation.filled.fields}


def _images(pod: Pod) -> dict[str, str | None]:
    """The images of a pod's containers and volumes, by the paths of their fields."""
    images = {render_path((*ref.path, "image")): ref.container.image for ref in container_refs(pod.spec)}
    for index, volume in enumerate(pod.spec.volumes or ()):
        if volume.image is not None:
            images[render_path(("spec", "volumes", index, "image", "reference"))] = volume.image.reference
    return images


def _mismatch(policy: ClusterPodPolicy | PodPolicy, namespace: str, labels: Labels, pod: Pod) -> str | None:
    if isinstance(policy, ClusterPodPolicy):
        return mismatch(policy.spec.match, namespace, labels, pod)
    if policy.metadata.namespace != namespace:
        return f"it applies to the pods of namespace {policy.metadata.namespace}, and the namespace is {namespace}"
    return pod_mismatch(policy.spec.match, pod)


def _controls(policy: CompiledPolicy, evaluation: Evaluation, judged: JudgedObject) -> Iterator[ControlResult]:
    for rule in policy.rules:
        yield ControlResult(
            rule.control,
            rule.enforcement,
            tuple(
                replace(
                    violation,
                    policies=(policy.name,),
                    finding=finding_in_parts(violation.finding, judged.made.pod),
                )
                for violation in evaluation.violations
                if policy.name in violation.policies
                and violation.finding.control == rule.control
                and (violation.finding.is_of_workload or violation.enforcement == rule.enforcement)
            ),
            tuple(
                replace(waived, finding=finding_in_parts(waived.finding, judged.made.pod))
                for waived in evaluation.waived
                if waived.policy == policy.name
                and waived.finding.control == rule.control
                and (waived.finding.is_of_workload or waived.enforcement == rule.enforcement)
            ),
            _not_judged(policy, rule.control, evaluation),
        )


def _not_judged(policy: CompiledPolicy, control: str, evaluation: Evaluation) -> tuple[str, ...]:
    """The notes of the evaluation, if one of them is about this control of this policy."""
    about = any(
        policy.name in violation.policies and violation.finding.control == control
        for violation in evaluation.not_judged
    )
    return evaluation.notes if about else ()
