"""The evaluation of one pod or pod template: match, create as the API server does, default, judge, apply waivers.

The webhook, `sekisho check` and `sekisho explain` all evaluate here, so that their verdicts are the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sekisho.admission.bounds import MAX_FINDINGS
from sekisho.admission.changed_images import ChangedImage, with_images
from sekisho.admission.defaults import Filled, defaults_for, with_defaults
from sekisho.admission.mirrors import mirror_images
from sekisho.admission.origins import Origin, Origins, with_origin
from sekisho.admission.placeholders import without_placeholders
from sekisho.admission.pod_defaults import (
    NO_OBJECTS,
    CreatedPod,
    NamespaceObjects,
    apparent_origins,
    as_created,
    may_have_origin,
)
from sekisho.admission.resolution import resolve_tags
from sekisho.admission.time_checks import CheckTime
from sekisho.admission.updates import runs_the_same
from sekisho.admission.verdict import Violation, denying, judge, judge_evidence, judge_workload
from sekisho.admission.waivers import Clock, Waived, apply_waivers
from sekisho.controls import CONTROLS
from sekisho.findings import FieldPath
from sekisho.images.trust import Lookup, Trust
from sekisho.pods import Pod, WorkloadMeta, in_namespace
from sekisho.policies import Enforcement, Plan, PolicySet
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


NOT_VERIFIED: Final = "the rules on signatures of images were not judged"
_ORDER: Final = {name: place for place, name in enumerate(CONTROLS)}
_NOTHING_FILLED = Filled()
_POD, _TEMPLATE, _MANIFEST = Form  # to look a member up by its name is slow in Python 3.11


class Evaluation(Struct, frozen=True, eq=False, gc=False):
    """The verdict on one pod or pod template.

    pod: what was judged, created and with defaults where `Form` says so; paths in findings are from its root.
    violations: those that no waiver exempts, in the order of the controls.
    waived: what waivers exempt.
    filled: the defaults that were applied before judging.
    notes: images of a template or manifest that were not judged, in addition to the notes of the plan.
    lookups: the images to look up for a verdict that rests on what their registries hold; those of violations, and
        those of a template that is only warned about, which are no violations yet.
    """

    pod: Pod
    plan: Plan
    violations: tuple[Violation, ...] = ()
    waived: tuple[Waived, ...] = ()
    filled: Filled = _NOTHING_FILLED
    notes: tuple[str, ...] = ()
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
    policies: PolicySet,
    namespace: str,
    namespace_labels: Mapping[str, str] | None,
    *,
    form: Form = _POD,
    old: Pod | None = None,
    subject: Subject | None = None,
    clock: Clock | None = None,
    objects: NamespaceObjects = NO_OBJECTS,
    check_time: CheckTime | None = None,
    annotations: Mapping[str, str] | None = None,
    trust: Trust | None = None,
    workload: WorkloadMeta | None = None,
    old_workload: WorkloadMeta | None = None,
    max_findings: int = MAX_FINDINGS,
) -> Evaluation:
    """Evaluate a pod, or a pod template read as the pod that it makes.

    pod: None for a workload without a pod template, which violates nothing.
    namespace_labels: None only where `policies.needs_labels` is false.
    old: the pod before an update, None when a pod is created. Its violations are excused where nothing that runs has
        changed, and no policy applies that did not apply to it.
    subject: who creates the pod, None where that is not known; then `excludeSubjects` excludes nobody.
    clock: gives the time for waivers, and is called only where there is something to exempt. With None no waiver
        applies, because nothing says which have expired.
    objects: what is known of the namespace that changes the pods of a template or manifest.
    check_time: None where judging is quick.
    annotations: those of the workload with the template; None for none, and for a pod.
    trust: what rules on signatures are judged from. With None this installation does not verify images: anything that
        needs it is denied, but a manifest gets a note that they were not judged.
    workload: the object with the template, which is judged too; None for none, and for a pod.
    old_workload: the same before an update, whose own violations are excused.

    Raises UnjudgedError as `check_time` does, and for a pod with too many violations; ManyFindingsError as `judge`.
    """
    plan = policies.plan(namespace, namespace_labels, pod, subject)
    steps = plan.template_steps if form is _TEMPLATE else plan.steps
    if pod is None or not (steps or (form is _MANIFEST and plan.defaults)):
        return Evaluation(pod or Pod(), plan)
    pod, old = in_namespace(pod, namespace), None if old is None else in_namespace(old, namespace)
    filled = _NOTHING_FILLED
    created: CreatedPod | None = None
    if form is not _POD:
        created = as_created(pod, objects)
        old = None if old is None else as_created(old, objects).pod
        pod, old, filled = _with_defaults(created.pod, old, plan, policies, namespace, clock, trust, check_time)
    elif old is not None:
        old_plan = policies.plan(namespace, namespace_labels, old, subject)
        if not runs_the_same(old, pod) or not _policies_of(plan) <= _policies_of(old_plan):
            old = None
    violations = judge(pod, steps, old, check_time, max_findings)
    if violations:
        violations = _with_origins(
            violations, _apparent_origins(pod, violations) if created is None else created.origins
        )
    notes: tuple[str, ...] = ()
    if form is not _POD:
        violations, notes = without_placeholders(violations, pod, annotations)
    if workload is not None:
        of_workload = judge_workload(workload, old_workload, plan.template_steps, check_time)
        violations = _in_order((*violations, *of_workload)) if of_workload else violations
    waived: tuple[Waived, ...] = ()
    if violations and clock is not None and policies.has_waivers:
        violations, waived = apply_waivers(violations, pod, namespace, policies, clock(), check_time)
    evaluation = Evaluation(pod, plan, tuple(violations), waived, filled, notes)
    if not plan.needs_evidence:
        return evaluation
    return _with_evidence(evaluation, form, namespace, policies, clock, annotations, old, trust, check_time)


def _with_defaults(
    pod: Pod,
    old: Pod | None,
    plan: Plan,
    policies: PolicySet,
    namespace: str,
    clock: Clock | None,
    trust: Trust | None,
    check_time: CheckTime | None,
) -> tuple[Pod, Pod | None, Filled]:
    """A pod, and the one before the update if there is one, with the defaults of the plan, and these defaults."""
    if old is not None:
        old = with_images(old, mirror_images(old, plan, policies, namespace, clock, check_time=check_time))
    mirrored = mirror_images(pod, plan, policies, namespace, clock, check_time=check_time)
    pod = with_images(pod, mirrored)
    resolved = _resolved(pod, old, plan, policies, namespace, clock, trust, check_time)
    images = (*mirrored, *resolved)
    filled = defaults_for(pod, plan, policies, namespace, clock, images=images, check_time=check_time)
    if old is not None:
        old = with_defaults(old, defaults_for(old, plan, policies, namespace, clock, check_time=check_time))
    return with_defaults(pod, filled), old, filled


def _resolved(
    pod: Pod,
    old: Pod | None,
    plan: Plan,
    policies: PolicySet,
    namespace: str,
    clock: Clock | None,
    trust: Trust | None,
    check_time: CheckTime | None,
) -> Sequence[ChangedImage]:
    """The images of a template or manifest whose tags the mutating webhook will resolve in its pods."""
    if trust is None or not plan.needs_evidence:
        return ()
    return resolve_tags(pod, plan, policies, namespace, clock, trust, old=old, check_time=check_time)[0]


def _apparent_origins(pod: Pod, violations: Sequence[Violation]) -> Origins:
    """The origins of a created pod's fields, as far as the violations are about them."""
    for violation in violations:
        if may_have_origin(violation.finding.path):
            return apparent_origins(pod)
    return {}


def _with_origins(violations: list[Violation], origins: Mapping[FieldPath, Origin]) -> list[Violation]:
    if not origins:
        return violations
    return [_with_origin(violation, origins) for violation in violations]


def _with_evidence(
    evaluation: Evaluation,
    form: Form,
    namespace: str,
    policies: PolicySet,
    clock: Clock | None,
    annotations: Mapping[str, str] | None,
    old: Pod | None,
    trust: Trust | None,
    check_time: CheckTime | None,
) -> Evaluation:
    """The evaluation with the violations that were judged from evidence, in the order of the controls."""
    if form is _POD and old is not None:
        return evaluation  # nothing that runs has changed
    plan = evaluation.plan
    steps = plan.template_steps if form is _TEMPLATE else plan.steps
    catalogs = policies.catalogs_at(clock)
    unsigned = judge_evidence(evaluation.pod, steps, old, trust, evaluation.violations, check_time, catalogs)
    if trust is None and form is _MANIFEST:
        evaluation, unsigned = _without_unverified(evaluation, unsigned)
    if not unsigned:
        return evaluation
    notes: tuple[str, ...] = ()
    waived: tuple[Waived, ...] = ()
    if form is not _POD:
        unsigned, notes = without_placeholders(unsigned, evaluation.pod, annotations)
    if unsigned and clock is not None and policies.has_waivers:
        unsigned, waived = apply_waivers(unsigned, evaluation.pod, namespace, policies, clock(), check_time)
    lookups = dict.fromkeys(violation.lookup for violation in unsigned if violation.lookup is not None)
    if form is _TEMPLATE:
        # Their pods come later, and by then the look-up may be done: a warning now would say nothing yet.
        unsigned = [v for v in unsigned if v.lookup is None or v.enforcement == Enforcement.DENY]
    violations = _in_order((*evaluation.violations, *unsigned))
    return replace(
        evaluation,
        violations=tuple(violations),
        waived=evaluation.waived + waived,
        notes=tuple(dict.fromkeys((*evaluation.notes, *notes))),
        lookups=tuple(lookups),
    )


def _in_order(violations: Iterable[Violation]) -> list[Violation]:
    return sorted(violations, key=lambda violation: _ORDER[violation.finding.control])


def _without_unverified(evaluation: Evaluation, unsigned: Sequence[Violation]) -> tuple[Evaluation, list[Violation]]:
    """What is judged offline: a note says that signatures were not."""
    if any(rule.needs_trust for rule in unsigned):
        evaluation = replace(evaluation, notes=(*evaluation.notes, NOT_VERIFIED))
    return evaluation, [violation for violation in unsigned if not violation.needs_trust]


def _with_origin(violation: Violation, origins: Mapping[FieldPath, Origin]) -> Violation:
    finding = with_origin(violation.finding, origins)
    return violation if finding is violation.finding else replace(violation, finding=finding)


def _policies_of(plan: Plan) -> set[str]:
    return {name for step in plan.steps for requirement in step.required_by for name in requirement.policies}
