"""AdmissionReview, out: from a request and a policy set to the bytes of the answer."""

import base64
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from sekisho.admission.bounds import MAX_FINDINGS
from sekisho.admission.changed_images import ChangedImage, with_images
from sekisho.admission.context import Clock, Context
from sekisho.admission.custom_pods import evaluate_custom
from sekisho.admission.defaults import defaults_for
from sekisho.admission.denial import (
    MAX_MESSAGE_LENGTH,
    capped_warnings,
    denial_message,
    message_and_causes,
    warning_lines,
)
from sekisho.admission.evaluation import Evaluation, Form, evaluate
from sekisho.admission.mirrors import mirror_images
from sekisho.admission.patch import Filled
from sekisho.admission.pod_defaults import NO_OBJECTS, NamespaceObjects
from sekisho.admission.resolution import resolve_tags
from sekisho.admission.responses import Cause, Details, Response, Status, encode_response
from sekisho.admission.review import Review
from sekisho.admission.template_paths import fixes_in_object, names_field, violations_in_object
from sekisho.admission.time_checks import CheckTime, UnjudgedError
from sekisho.admission.verdict import Violation, denying, with_enforcement
from sekisho.admission.waived_annotation import with_waived_annotation
from sekisho.admission.waivers import Waived, waiver_lines
from sekisho.controls import CONTROLS
from sekisho.images.trust import Lookup, Trust
from sekisho.pods import NAME_OF_CRON_JOB, POD_TEMPLATES, OwnerReference, Pod, TemplatePath, controller_of
from sekisho.policies import Enforcement, PolicySet
from sekisho.remembered import begin_trial, end_trial

_IGNORED_SUBRESOURCES: Final = frozenset(
    {"status", "binding", "eviction", "log", "exec", "attach", "portforward", "proxy", "token"}
)
"""Subresources of pods that cannot change what runs. All others are judged, unknown ones included."""

_WRITTEN_AS_TEMPLATE: Final = frozenset(
    {"ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "Deployment", "Job"}
)
"""Controllers whose pods have their fields from a template that a user wrote."""
_MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"


class Decision(StrEnum):
    """What an answer decides.

    ALLOW: admitted, with nothing to say. WARN: admitted with warnings. AUDIT: admitted with audit annotations only.
    PATCH: admitted with defaults. DENY: denied by a policy. PENDING: denied only because images are still being
    verified. ERROR: denied because the pod could not be judged.
    """

    ALLOW = "allow"
    WARN = "warn"
    AUDIT = "audit"
    PATCH = "patch"
    DENY = "deny"
    PENDING = "pending"
    ERROR = "error"


DENIALS: Final = frozenset({Decision.DENY, Decision.PENDING, Decision.ERROR})
"""The decisions that deny."""


class Outcome(Struct, frozen=True):
    """An answer, and what the process around it counts, logs and reports.

    response: the AdmissionReview as JSON.
    violations: those that no waiver exempts, whatever the policies do about them.
    message: the text of the denial, empty otherwise.
    waived: what waivers exempt; empty for a denial.
    filled: the fields that a patch sets, by the policy whose defaults they are.
    lookups: the images to look up for a verdict that rests on what their registries hold.
    """

    response: bytes
    decision: Decision
    review: Review
    violations: tuple[Violation, ...] = ()
    message: str = ""
    waived: tuple[Waived, ...] = ()
    filled: tuple[tuple[str, tuple[str, ...]], ...] = ()
    lookups: tuple[Lookup, ...] = ()


_CAUSES: Final = {name: f"Violates{name[0].upper()}{name[1:]}" for name in CONTROLS}
"""The reason of a cause in a denial, by control."""
_encoder = msgspec.json.Encoder()
_POD, _TEMPLATE = Form.POD, Form.TEMPLATE  # to look a member up by its name is slow in Python 3.11
_ALLOW, _DENY, _PATCH = Decision.ALLOW, Decision.DENY, Decision.PATCH


def validate(
    review: Review,
    policies: PolicySet,
    namespace_labels: Mapping[str, str] | None,
    clock: Clock | None = None,
    check_time: CheckTime | None = None,
    objects_for: Callable[[str, Pod], NamespaceObjects] = lambda namespace, pod: NO_OBJECTS,
    trust: Trust | None = None,
    max_findings: int = MAX_FINDINGS,
) -> Outcome:
    """The answer of the validating webhook.

    namespace_labels: None only where `policies.needs_labels` is false.
    clock: the time for waivers; with None no waiver applies.
    check_time: where it raises UnjudgedError, the pod is denied, and the reason is its message. None where judging is
        quick.
    objects_for: the objects of a namespace that will change a template's pod.
    trust: what rules on signatures are judged from; with None, what they apply to is denied.

    What is computed on the way is remembered only if the pod is admitted, and it is not a dry run.

    Raises ManyFindingsError for more violations than `max_findings`, where that is less than MAX_FINDINGS.
    """
    is_kept = False
    begin_trial()
    try:
        outcome = _validated(review, policies, namespace_labels, clock, check_time, objects_for, trust, max_findings)
        is_kept = not review.dry_run and outcome.decision not in DENIALS
    finally:
        end_trial(keep=is_kept)
    return outcome


def _validated(
    review: Review,
    policies: PolicySet,
    namespace_labels: Mapping[str, str] | None,
    clock: Clock | None,
    check_time: CheckTime | None,
    objects_for: Callable[[str, Pod], NamespaceObjects],
    trust: Trust | None,
    max_findings: int,
) -> Outcome:
    early = _without_judging(review)
    if early is not None:
        return early
    namespace = review.namespace or ""

    def context(pod: Pod) -> Context:
        objects = NO_OBJECTS if review.is_pod else objects_for(namespace, pod)
        return Context(policies, namespace, namespace_labels, clock, objects, check_time, trust, max_findings)

    try:
        evaluation = evaluate_custom(review, context) if review.is_custom else _evaluate(review, context)
    except UnjudgedError as error:
        return errored(review, str(error))
    if evaluation is None:
        return allowed(review)
    if not (evaluation.violations or evaluation.waived or evaluation.plan.notes or evaluation.notes):
        return replace(allowed(review), lookups=evaluation.lookups) if evaluation.lookups else allowed(review)
    evaluation = replace(evaluation, violations=_as_users_write_them(review, evaluation.violations))
    denials = denying(evaluation.violations)
    return denied(review, evaluation, denials) if denials else admitted_with_notes(review, evaluation)


def _evaluate(review: Review, context: Callable[[Pod], Context]) -> Evaluation | None:
    """The evaluation of a pod or pod template; None for an object that has neither. Raises UnjudgedError."""
    pod, is_pod = review.pod, review.is_pod
    if pod is None:
        return None
    return evaluate(
        pod,
        context(pod),
        form=_POD if is_pod else _TEMPLATE,
        old=review.old_pod if review.operation == "UPDATE" else None,
        # The pods of a template are created by a controller, not by the user who applies the template.
        subject=review.user_info if is_pod else None,
        workload=None if is_pod else review.workload,
        old_workload=None if is_pod else review.old_workload,
        annotations=None if is_pod else review.metadata.annotations,
    )


def mutate(
    review: Review,
    policies: PolicySet,
    namespace_labels: Mapping[str, str] | None,
    clock: Clock | None = None,
    trust: Trust | None = None,
    check_time: CheckTime | None = None,
    max_findings: int = MAX_FINDINGS,
) -> Outcome:
    """The answer of the mutating webhook: defaults for a new pod, or for new ephemeral containers.

    A new pod that waivers exempt gets an annotation that says so.

    namespace_labels: None only where `policies.needs_labels` is false.
    clock: the time for waivers; with None no waiver applies.
    trust: has the digests of tags that are resolved; with None, none is.
    check_time, max_findings: as for `validate`.

    Raises ManyFindingsError as `validate` does. Nothing that is computed on the way is remembered: the pod may still be
    denied.
    """
    begin_trial()
    try:
        return _mutated(review, policies, namespace_labels, clock, trust, check_time, max_findings)
    except UnjudgedError as error:
        return errored(review, str(error))
    finally:
        end_trial(keep=False)


def _mutated(
    review: Review,
    policies: PolicySet,
    namespace_labels: Mapping[str, str] | None,
    clock: Clock | None,
    trust: Trust | None,
    check_time: CheckTime | None,
    max_findings: int,
) -> Outcome:
    early = _without_judging(review)
    if early is not None:
        return early
    if check_time is not None:
        check_time()
    pod = review.pod
    only = _changeable(review)
    if pod is None or not review.is_pod or only == frozenset() or _is_mirror_pod(review):
        return allowed(review)
    namespace = review.namespace or ""
    context = Context(policies, namespace, namespace_labels, clock, NO_OBJECTS, check_time, trust, max_findings)
    plan = policies.plan(context.namespace, namespace_labels, pod, review.user_info)
    mirrored = mirror_images(pod, plan, context, only)
    pod = with_images(pod, mirrored)
    resolved: Sequence[ChangedImage] = ()
    lookups: tuple[Lookup, ...] = ()
    if trust is not None and plan.needs_evidence:
        with suppress(UnjudgedError):  # the validating webhook denies it
            resolved, lookups = resolve_tags(pod, plan, context, trust, only)
    filled = defaults_for(pod, plan, context, only, [*mirrored, *resolved])
    if only is None:
        filled = with_waived_annotation(pod, filled, context, review.user_info)
    outcome = patched(review, filled) if filled.operations else allowed(review)
    return replace(outcome, lookups=lookups) if lookups else outcome


def allowed(review: Review) -> Outcome:
    """The pod is admitted, and there is nothing to say about it."""
    return Outcome(encode_response(Response(review.uid, True)), _ALLOW, review)


def patched(review: Review, filled: Filled) -> Outcome:
    """The pod is admitted with defaults."""
    patch = base64.b64encode(_encoder.encode(filled.operations)).decode()
    response = encode_response(Response(review.uid, True, patch=patch, patch_type="JSONPatch"))
    return Outcome(response, _PATCH, review, filled=filled.fields)


def admitted_with_notes(review: Review, evaluation: Evaluation) -> Outcome:
    """The pod is admitted with warnings, or with audit annotations only."""
    audit = _audit_annotations(evaluation)
    warnings = _warnings(review, evaluation)
    if evaluation.waived:
        audit["waivers"] = "\n".join(waiver_lines(evaluation.waived))[:MAX_MESSAGE_LENGTH]
        lines = waiver_lines([waived for waived in evaluation.waived if waived.enforcement != Enforcement.AUDIT])
        warnings += capped_warnings([_prefix(review) + line for line in lines])
    response = Response(review.uid, True, warnings=warnings, audit_annotations=audit)
    decision = Decision.WARN if warnings else Decision.AUDIT
    return Outcome(
        encode_response(response),
        decision,
        review,
        evaluation.violations,
        waived=evaluation.waived,
        lookups=evaluation.lookups,
    )


def denied(review: Review, evaluation: Evaluation, denials: Sequence[Violation]) -> Outcome:
    """The pod is denied by one or more policies; `denials` are the violations that deny it."""
    message, messages = message_and_causes(denials)
    causes = [
        Cause(_CAUSES[violation.finding.control], text, violation.finding.field)
        for violation, text in zip(denials, messages, strict=False)
    ]
    response = Response(
        review.uid,
        False,
        Status(403, "Forbidden", message, details=Details(causes=causes)),
        warnings=_warnings(review, evaluation),
        audit_annotations=_audit_annotations(evaluation, message if len(denials) == len(evaluation.violations) else ""),
    )
    # Only a look-up that goes on makes a denial pending.
    decision = Decision.PENDING if evaluation.lookups and evaluation.is_pending else _DENY
    return Outcome(
        encode_response(response), decision, review, evaluation.violations, message, lookups=evaluation.lookups
    )


def errored(review: Review, reason: str) -> Outcome:
    """The pod is denied because it could not be judged; `reason` is one clause."""
    message = f"Sekisho denies what it cannot judge: {reason}"
    status = Status(500, "InternalError", message)
    return Outcome(encode_response(Response(review.uid, False, status)), Decision.ERROR, review, (), message)


def _without_judging(review: Review) -> Outcome | None:
    """The answer to a request that needs no verdict, None for one that does."""
    if review.operation in ("DELETE", "CONNECT"):
        return allowed(review)
    if review.defect is not None:
        return errored(review, review.defect)
    if review.is_pod or review.is_template or review.is_custom:
        if review.is_unchanged:
            return allowed(review)
        passes = review.sub_resource in _IGNORED_SUBRESOURCES if review.is_pod else bool(review.sub_resource)
        if passes:
            return allowed(review)
        if review.object is None:
            return errored(review, "the request has no object")
        if not review.namespace:
            return errored(review, "the request names no namespace")
        return None
    kind = ".".join(part for part in (review.kind.kind, review.kind.group) if part) or "an object without a kind"
    return errored(
        review,
        f"it judges pods and pod templates, not {kind[:120]}; remove that from the webhook's rules",
    )


def _changeable(review: Review) -> frozenset[str] | None:
    """The containers that may get defaults: None for all of a new pod, an empty set for none."""
    if review.operation == "CREATE" and not review.sub_resource:
        return None
    if review.sub_resource == "ephemeralcontainers":
        old = review.old_object
        known = {c.name for c in (old.spec.ephemeral_containers if old is not None else None) or ()}
        new = review.object.spec.ephemeral_containers if review.object is not None else None
        return frozenset(c.name for c in new or () if c.name not in known)
    return frozenset()


def _is_mirror_pod(review: Review) -> bool:
    """Whether a kubelet mirrors a static pod; the annotation alone, which any user may set, is not enough."""
    user = review.user_info
    from_node = user.username.startswith("system:node:") and "system:nodes" in (user.groups or ())
    return from_node and _MIRROR_ANNOTATION in (review.metadata.annotations or {})


def _as_users_write_them(review: Review, violations: tuple[Violation, ...]) -> tuple[Violation, ...]:
    """The violations with the paths of the object that their user writes, not of the pod that is made from it.

    The findings on an object keep that object's paths, because the answer is about it; only their fixes name the path
    in the object that a controller makes it from.
    """
    if review.is_custom:
        return violations
    if not review.is_pod:
        template_path = POD_TEMPLATES[(review.kind.group, review.kind.kind)]
        return violations_in_object(violations, template_path, written_at(review))
    for violation in violations:
        if names_field(violation.finding.fix):
            return fixes_in_object(violations, written_at(review))
    return violations


def written_at(review: Review) -> TemplatePath:
    """Where the pod template is in the object that the pod's user writes; empty where that is the pod itself."""
    if not review.is_pod:
        owner = controller_of(review.metadata.owner_references)
        is_of_cron_job = owner is not None and (review.kind.kind, owner.kind) == ("Job", "CronJob")
        return POD_TEMPLATES[("batch", "CronJob") if is_of_cron_job else (review.kind.group, review.kind.kind)]
    return written_by_owner(review.metadata.owner_references)


def written_by_owner(references: Sequence[OwnerReference] | None) -> TemplatePath:
    """Where a pod's user writes its template, by the pod's owner references; empty where they write the pod itself."""
    owner = controller_of(references)
    if owner is None or owner.kind not in _WRITTEN_AS_TEMPLATE:
        return ()
    # A pod shows no more of its Job than the name; Events are written after a look-up of the owner, and have its path.
    named_by_cron_job = owner.kind == "Job" and NAME_OF_CRON_JOB.search(owner.name)
    return POD_TEMPLATES[("batch", "CronJob")] if named_by_cron_job else ("spec", "template")


def _warnings(review: Review, evaluation: Evaluation) -> tuple[str, ...]:
    """The policies' notes, and a line for each problem that is warned about and not denied as well."""
    warned = with_enforcement(evaluation.violations, Enforcement.WARN)
    if warned:
        denied_already = {v.finding.identity for v in denying(evaluation.violations)}
        warned = [violation for violation in warned if violation.finding.identity not in denied_already]
    return evaluation.plan.notes + evaluation.notes + (warning_lines(warned, _prefix(review)) if warned else ())


def _audit_annotations(evaluation: Evaluation, message: str = "") -> dict[str, str]:
    """The annotations for the audit log; `message` is that of all violations, empty if it must be computed."""
    annotations = {}
    if evaluation.violations:
        annotations["violations"] = message or denial_message(evaluation.violations)
    if evaluation.plan.notes:
        annotations["error"] = "; ".join(evaluation.plan.notes)
    return annotations


def _prefix(review: Review) -> str:
    return "" if review.is_pod else f"pods of this {review.kind.kind}: "
