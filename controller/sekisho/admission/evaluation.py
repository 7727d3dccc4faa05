"""The evaluation of one pod or pod template: match, create as the API server does, default, judge, apply waivers.

The webhook, `sekisho check` and `sekisho explain` all evaluate here, so that their verdicts are the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sekisho.admission.changed_images import ChangedImage, with_images
from sekisho.admission.context import Context
from sekisho.admission.defaults import defaults_for
from sekisho.admission.mirrors import mirror_images
from sekisho.admission.origins import Origin, with_origin
from sekisho.admission.patch import Filled, with_defaults
from sekisho.admission.placeholders import without_placeholders
from sekisho.admission.pod_defaults import apparent_origins, as_created, may_have_origin
from sekisho.admission.resolution import resolve_tags
from sekisho.admission.updates import runs_the_same
from sekisho.admission.verdict import Violation, denying, judge, judge_evidence, judge_workload
from sekisho.admission.waivers import Waived, apply_waivers
from sekisho.controls import CONTROLS
from sekisho.findings import FieldPath
from sekisho.images.trust import Lookup
from sekisho.pods import Pod, WorkloadMeta, in_namespace
from sekisho.policies import Enforcement, Plan
from sekisho.policies.matching import Subject


class Form(StrEnum):
    """What is evaluated, which decides about the checks and about defaults.

    POD: a pod as it will be stored, after the mutating webhook: the checks for pods, without defaults.
    TEMPLATE: a pod template that a user applies to the cluster: the checks for templates, on the pod as the API server
        creates it and after defaults.
    MANIFEST: a pod or template before it is applied: the checks for pods, on the pod as the API server creates it and
        after defaults.
    """

    POD = "pod"
    TEMPLATE = "template"
    MANIFEST = "manifest"


NOT_VERIFIED: Final = "the rules on signatures and attestations of images were not judged"
_ORDER: Final = {name: index for index, name in enumerate(CONTROLS)}
_NOTHING_FILLED = Filled()
_NO_NOTES: Final[tuple[str, ...]] = ()
_NO_VIOLATIONS: Final[tuple[Violation, ...]] = ()
_POD, _TEMPLATE, _MANIFEST = Form  # to look a member up by its name is slow in Python 3.11


class Evaluation(Struct, frozen=True, eq=False, gc=False):
    """The verdict on one pod or pod template.

    pod: what was judged, created and with defaults where `Form` says so; paths in findings are from its root.
    violations: those that no waiver exempts, in the order of the controls.
    waived: what waivers exempt.
    filled: the defaults that were applied before judging.
    notes: images of a template or manifest that were not judged, in addition to the notes of the plan.
    not_judged: the violations that these notes are about, which may turn out to be none.
    lookups: the images to look up for a verdict that rests on what their registries hold; those of violations, and
        those of a template that is only warned about, which are not violations yet.
    """

    pod: Pod
    plan: Plan
    violations: tuple[Violation, ...] = ()
    waived: tuple[Waived, ...] = ()
    filled: Filled = _NOTHING_FILLED
    notes: tuple[str, ...] = ()
    not_judged: tuple[Violation, ...] = ()
    lookups: tuple[Lookup, ...] = ()

    @property
    def is_denied(self) -> bool:
        """Whether some policy denies the pod."""
        return bool(denying(self.violations))

    @property
    def is_pending(self) -> bool:
        """Whether the pod is denied only because look-ups go on, so that the same pod may be admitted soon."""
        denials = denying(self.violations)
        return bool(denials) and all(violation.is_pending for violation in denials)


def evaluate(
    pod: Pod | None,
    context: Context,
    *,
    form: Form = _POD,
    old: Pod | None = None,
    subject: Subject | None = None,
    workload: WorkloadMeta | None = None,
    old_workload: WorkloadMeta | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Evaluation:
    """Evaluate a pod, or a pod template read as the pod that it makes.

    pod: None for a workload without a pod template, which violates nothing.
    old: the pod before an update, None when a pod is created. Its violations are excused where nothing that runs has
        changed, and no policy applies that did not apply to it.
    subject: who creates the pod, None where that is not known; then `excludeSubjects` excludes nobody.
    workload: the object with the template, which is judged too; None for a pod.
    old_workload: that object before an update, whose own violations are excused; None for a new one.
    annotations: those of the object with the template, whether it is judged or not; None for none, and for a pod.

    Raises UnjudgedError as `context.check_time` does, and for too many violations; ManyFindingsError as `judge`.
    """
    plan = context.policies.plan(context.namespace, context.namespace_labels, pod, subject)
    steps = plan.template_steps if form is _TEMPLATE else plan.steps
    if pod is None or not (steps or (form is _MANIFEST and plan.defaults)):
        return Evaluation(pod or Pod(), plan)
    filled, origins, not_judged, notes = _NOTHING_FILLED, None, _NO_VIOLATIONS, _NO_NOTES
    if form is not _POD:
        pod, old, filled, origins = _created(pod, old, plan, context)
    else:
        pod = in_namespace(pod, context.namespace)
        old = None if old is None else _excusing(old, pod, plan, context, subject)
    violations = judge(pod, steps, old, context.check_time, context.max_findings)
    if violations:
        violations = _with_origins(violations, pod, origins)
        if form is not _POD:
            violations, not_judged, notes = without_placeholders(violations, pod, annotations, context.values_later)
    if workload and (own := judge_workload(workload, old_workload, plan.template_steps, context.check_time)):
        violations = _in_order((*violations, *own))
    violations, waived = apply_waivers(violations, pod, context) if violations else (violations, ())
    evaluation = Evaluation(pod, plan, tuple(violations), waived, filled, notes, not_judged)
    return _with_evidence(evaluation, old, context, form, annotations) if plan.needs_evidence else evaluation


def _excusing(old: Pod, pod: Pod, plan: Plan, context: Context, subject: Subject | None) -> Pod | None:
    """The pod before an update if its violations are excused: nothing that runs has changed, and no policy is new."""
    old = in_namespace(old, context.namespace)
    if not runs_the_same(old, pod):
        return None
    old_plan = context.policies.plan(context.namespace, context.namespace_labels, old, subject)
    return old if _policies_of(plan) <= _policies_of(old_plan) else None


def _created(
    pod: Pod, old: Pod | None, plan: Plan, context: Context
) -> tuple[Pod, Pod | None, Filled, Mapping[FieldPath, Origin]]:
    """A template's pod, and the one before the update if there is one, as the API server and defaults make them.

    Also gives the defaults of the pod, and the origins of the fields that the API server sets.
    """
    created = as_created(in_namespace(pod, context.namespace), context.objects)
    if old is not None:
        old = as_created(in_namespace(old, context.namespace), context.objects).pod
        old = with_images(old, mirror_images(old, plan, context))
    mirrored = mirror_images(created.pod, plan, context)
    pod = with_images(created.pod, mirrored)
    filled = defaults_for(pod, plan, context, images=(*mirrored, *_resolved(pod, old, plan, context)))
    if old is not None:
        old = with_defaults(old, defaults_for(old, plan, context))
    return with_defaults(pod, filled), old, filled, created.origins


def _resolved(pod: Pod, old: Pod | None, plan: Plan, context: Context) -> Sequence[ChangedImage]:
    """The images of a template or manifest whose tags the mutating webhook will resolve in its pods."""
    if context.trust is None or not plan.needs_evidence:
        return ()
    return resolve_tags(pod, plan, context, context.trust, old=old)[0]


def _apparent_origins(pod: Pod, violations: Sequence[Violation]) -> Mapping[FieldPath, Origin]:
    """The origins of a created pod's fields, as far as the violations are about them."""
    for violation in violations:
        if may_have_origin(violation.finding.path):
            return apparent_origins(pod)
    return {}


def _with_origins(violations: list[Violation], pod: Pod, origins: Mapping[FieldPath, Origin] | None) -> list[Violation]:
    """The violations with the origins of fields that no user has written; None for those of a created pod."""
    if origins is None:
        origins = _apparent_origins(pod, violations)
    return [_with_origin(violation, origins) for violation in violations] if origins else violations


def _with_evidence(
    evaluation: Evaluation, old: Pod | None, context: Context, form: Form, annotations: Mapping[str, str] | None
) -> Evaluation:
    """The evaluation with the violations that were judged from evidence, in the order of the controls."""
    if form is _POD and old is not None:
        return evaluation  # nothing that runs has changed
    steps = evaluation.plan.template_steps if form is _TEMPLATE else evaluation.plan.steps
    by_evidence = judge_evidence(evaluation.pod, steps, old, evaluation.violations, context)
    if context.trust is None and form is _MANIFEST:
        evaluation, by_evidence = _without_unverified(evaluation, by_evidence)
    if not by_evidence:
        return evaluation
    not_judged, notes = _NO_VIOLATIONS, _NO_NOTES
    if form is not _POD:
        by_evidence, not_judged, notes = without_placeholders(
            by_evidence, evaluation.pod, annotations, context.values_later
        )
    by_evidence, waived = apply_waivers(by_evidence, evaluation.pod, context)
    lookups = dict.fromkeys(violation.lookup for violation in by_evidence if violation.lookup is not None)
    if form is _TEMPLATE:
        # Their pods come later, and by then the look-up may be done: a warning now would say nothing yet.
        by_evidence = [
            violation
            for violation in by_evidence
            if violation.lookup is None or violation.enforcement == Enforcement.DENY
        ]
    return replace(
        evaluation,
        violations=tuple(_in_order((*evaluation.violations, *by_evidence))),
        waived=evaluation.waived + waived,
        notes=tuple(dict.fromkeys((*evaluation.notes, *notes))),
        not_judged=evaluation.not_judged + not_judged,
        lookups=tuple(lookups),
    )


def _in_order(violations: Iterable[Violation]) -> list[Violation]:
    return sorted(violations, key=lambda violation: _ORDER[violation.finding.control])


def _without_unverified(evaluation: Evaluation, by_evidence: Sequence[Violation]) -> tuple[Evaluation, list[Violation]]:
    """What can be judged offline: the violations that need evidence from registries become a note."""
    if unverified := tuple(violation for violation in by_evidence if violation.needs_trust):
        notes, not_judged = (*evaluation.notes, NOT_VERIFIED), evaluation.not_judged + unverified
        evaluation = replace(evaluation, notes=notes, not_judged=not_judged)
    return evaluation, [violation for violation in by_evidence if not violation.needs_trust]


def _with_origin(violation: Violation, origins: Mapping[FieldPath, Origin]) -> Violation:
    finding = with_origin(violation.finding, origins)
    return violation if finding is violation.finding else replace(violation, finding=finding)


def _policies_of(plan: Plan) -> set[str]:
    return {name for step in plan.steps for requirement in step.required_by for name in requirement.policies}
