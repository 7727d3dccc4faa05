"""AdmissionReview, out: from a question and a policy set to the bytes of the answer."""

import base64
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from sekisho.admission.defaults import Filled, fill
from sekisho.admission.denial import MAX_CAUSES, MAX_MESSAGE_LENGTH, capped_warnings, denial_message, warning_lines
from sekisho.admission.review import API_VERSION, KIND, Review
from sekisho.admission.verdict import Violation, judge, judge_template
from sekisho.admission.waivers import Clock, Waived, apply_waivers, revoked_exemptions, waiver_lines
from sekisho.policies import Enforcement, Plan, PolicySet

_IGNORED_SUBRESOURCES: Final = frozenset(
    {"status", "binding", "eviction", "log", "exec", "attach", "portforward", "proxy", "token"}
)
"""Subresources of pods that cannot change what runs. Any other is judged, one that is not known here included."""

_MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"


class Outcome(Struct, frozen=True):
    """An answer, and what the process around it counts, logs and reports.

    response: the AdmissionReview as JSON.
    decision: allow, warn, audit, deny, patch, or error (a denial because the pod could not be judged).
    message: the text of the denial, empty otherwise.
    waived: what waivers lifted, so that the pod was admitted; empty for a denial.
    filled: the fields that a patch fills in, by the policy that sets them.
    """

    response: bytes
    decision: str
    review: Review
    violations: tuple[Violation, ...] = ()
    message: str = ""
    waived: tuple[Waived, ...] = ()
    filled: tuple[tuple[str, tuple[str, ...]], ...] = ()


class _Cause(Struct, frozen=True, gc=False):
    reason: str
    message: str
    field: str


class _Details(Struct, frozen=True, gc=False, omit_defaults=True):
    causes: list[_Cause] = []


class _Status(Struct, frozen=True, gc=False, omit_defaults=True):
    code: int
    reason: str
    message: str
    status: str = "Failure"
    details: _Details | None = None


class _Response(Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    uid: str
    allowed: bool
    status: _Status | None = None
    patch: str | None = None
    patch_type: str | None = None
    warnings: tuple[str, ...] = ()
    audit_annotations: dict[str, str] | None = None


class _Answer(Struct, frozen=True, gc=False, rename="camel"):
    response: _Response
    api_version: str = API_VERSION
    kind: str = KIND


_encoder = msgspec.json.Encoder()


def validate(
    review: Review, policies: PolicySet, namespace_labels: Mapping[str, str] | None, clock: Clock | None = None
) -> Outcome:
    """The answer of the validating webhook. Without a clock no waiver counts, for nobody knows which have expired."""
    early = _without_judging(review)
    if early is not None:
        return early
    pod = review.pod
    if pod is None:
        return _allow(review)
    # A template's pods are not brought by whoever applies it, but by a controller.
    subject = review.user_info if review.is_pod else None
    plan = policies.plan(review.namespace or "", namespace_labels, pod, subject)
    old = review.old_pod if review.operation == "UPDATE" else None
    if review.is_pod:
        violations = judge(pod, plan.steps, old) if plan.steps else []
    else:
        violations = judge_template(pod, plan.template_steps, plan.defaults, old) if plan.template_steps else []
    waived: tuple[Waived, ...] = ()
    if clock is not None and policies.has_waivers:
        namespace = review.namespace or ""
        if old is not None and review.is_pod:
            violations = [*violations, *revoked_exemptions(violations, pod, old, plan.steps, namespace, policies)]
        if violations:
            violations, waived = apply_waivers(violations, pod, namespace, policies, clock())
    return _decide(review, violations, plan.notes, waived) if violations or plan.notes or waived else _allow(review)


def mutate(review: Review, policies: PolicySet, namespace_labels: Mapping[str, str] | None) -> Outcome:
    """The answer of the mutating webhook: defaults for a new pod, or for new ephemeral containers."""
    early = _without_judging(review)
    if early is not None:
        return early
    pod = review.pod
    only = _changeable(review)
    if pod is None or not review.is_pod or only == frozenset() or _is_mirror_pod(review):
        return _allow(review)
    plan: Plan = policies.plan(review.namespace or "", namespace_labels, pod, review.user_info)
    filled = fill(pod, plan.defaults, only) if plan.defaults else Filled()
    return _patch(review, filled) if filled.operations else _allow(review)


def deny(review: Review, reason: str) -> Outcome:
    """The denial of a pod that could not be judged; `reason` is one clause."""
    message = f"Sekisho denies what it cannot judge: {reason}"
    status = _Status(500, "InternalError", message)
    return Outcome(_encode(_Response(review.uid, False, status)), "error", review, (), message)


def _without_judging(review: Review) -> Outcome | None:
    """The answer to what needs no verdict, None for what does."""
    if review.operation in ("DELETE", "CONNECT"):
        return _allow(review)
    if review.defect is not None:
        return deny(review, f"the object cannot be read: {review.defect}")
    if review.is_pod or review.is_template:
        passes = review.sub_resource in _IGNORED_SUBRESOURCES if review.is_pod else bool(review.sub_resource)
        if passes:
            return _allow(review)
        return None if review.namespace else deny(review, "the request names no namespace")
    kind = ".".join(part for part in (review.kind.kind, review.kind.group) if part) or "an object without a kind"
    return deny(
        review,
        f"it judges pods and pod templates, and was sent {kind[:120]}; take it out of the webhook's rules",
    )


def _changeable(review: Review) -> frozenset[str] | None:
    """The containers that defaults may go into: None for the whole of a new pod, an empty set for none."""
    if review.operation == "CREATE" and not review.sub_resource:
        return None
    if review.sub_resource == "ephemeralcontainers":
        old = review.old_object
        known = {c.name for c in (old.spec.ephemeral_containers if old is not None else None) or ()}
        new = review.object.spec.ephemeral_containers if review.object is not None else None
        return frozenset(c.name for c in new or () if c.name not in known)
    return frozenset()


def _is_mirror_pod(review: Review) -> bool:
    """A kubelet's mirror of a static pod; the annotation alone, which anybody may write, is not enough."""
    user = review.user_info
    from_node = user.username.startswith("system:node:") and "system:nodes" in (user.groups or ())
    return from_node and _MIRROR_ANNOTATION in (review.metadata.annotations or {})


def _allow(review: Review) -> Outcome:
    return Outcome(_encode(_Response(review.uid, True)), "allow", review)


def _patch(review: Review, filled: Filled) -> Outcome:
    patch = base64.b64encode(_encoder.encode(filled.operations)).decode()
    response = _encode(_Response(review.uid, True, patch=patch, patch_type="JSONPatch"))
    return Outcome(response, "patch", review, filled=filled.fields)


def _decide(
    review: Review, violations: Sequence[Violation], notes: tuple[str, ...], waived: tuple[Waived, ...]
) -> Outcome:
    by = {enforcement: [v for v in violations if v.enforcement == enforcement] for enforcement in Enforcement}
    denied = by[Enforcement.DENY]
    known = {violation.finding.identity for violation in denied}
    warned = [violation for violation in by[Enforcement.WARN] if violation.finding.identity not in known]
    prefix = f"pods of this {review.kind.kind}: " if review.is_template and not review.is_pod else ""
    warnings = notes + (warning_lines(warned, prefix) if warned else ())
    message = denial_message(denied) if denied else ""
    noted = message if len(denied) == len(violations) else denial_message(violations)
    audit = ({"violations": noted} if violations else {}) | ({"error": "; ".join(notes)} if notes else {})
    if not denied:
        if waived:
            audit["waivers"] = "\n".join(waiver_lines(waived))[:MAX_MESSAGE_LENGTH]
            told = waiver_lines([each for each in waived if each.enforcement != Enforcement.AUDIT])
            warnings += capped_warnings([prefix + line for line in told])
        response = _Response(review.uid, True, warnings=warnings, audit_annotations=audit)
        return Outcome(_encode(response), "warn" if warnings else "audit", review, tuple(violations), waived=waived)
    causes = [
        _Cause(f"Violates{v.finding.control[0].upper()}{v.finding.control[1:]}", _cause(v), v.finding.field)
        for v in denied[:MAX_CAUSES]
    ]
    status = _Status(403, "Forbidden", message, details=_Details(causes))
    response = _Response(review.uid, False, status, warnings=warnings, audit_annotations=audit)
    return Outcome(_encode(response), "deny", review, tuple(violations), message)


def _cause(violation: Violation) -> str:
    return denial_message([violation])


def _encode(response: _Response) -> bytes:
    return _encoder.encode(_Answer(response))
