"""Reviews of policies and waivers when they are applied: mistakes that the API server's schema cannot catch.

A policy is judged alone: a mistake in another policy does not deny it. An update that does not change the spec is
allowed, so that labels and finalizers can always be changed.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec import Struct

from sekisho.admission.denial import MAX_CAUSES, capped_warnings
from sekisho.admission.impact_warning import impact_warnings
from sekisho.admission.responses import Cause, Details, Response, Status, encode_response
from sekisho.admission.review import API_VERSION, KIND, GroupVersionKind, MalformedReviewError, UserInfo
from sekisho.findings import render_path
from sekisho.policies import ImageAuthority, PodPolicy, Policy, PolicyError, PolicySet, PolicyWaiver, Problem, decode
from sekisho.policies.advice import advice, past_allowances
from sekisho.policies.authorities import warnings_about
from sekisho.policies.crd import RESOURCES, Resource
from sekisho.policies.idle import EXEMPT_NAMESPACES
from sekisho.policies.limits import limit_problems
from sekisho.policies.loading import verify
from sekisho.policies.schemas import unknown_fields
from sekisho.policies.types import GROUP
from sekisho.timestamps import rfc3339

MAX_MESSAGE_LENGTH: Final = 8 * 1024
MAX_ENTRIES: Final = 40_000
"""The most commas, opening braces and brackets in the JSON of a policy: an upper bound of the entries of its lists and
objects, counted before it is decoded."""


class PolicyReview(Struct, frozen=True, rename="camel"):
    """The request of an AdmissionReview about one of our own kinds, its objects still JSON."""

    uid: str
    kind: GroupVersionKind = GroupVersionKind()
    name: str | None = None
    namespace: str | None = None
    operation: str = ""
    user_info: UserInfo = UserInfo()
    dry_run: bool | None = None
    object: msgspec.Raw = msgspec.Raw(b"null")
    old_object: msgspec.Raw = msgspec.Raw(b"null")


class _Envelope(Struct, frozen=True, rename="camel"):
    request: PolicyReview
    api_version: str
    kind: str


class PolicyOutcome(Struct, frozen=True):
    """An answer, and the problems that it denies the object for; empty when the object is allowed."""

    response: bytes
    review: PolicyReview
    problems: tuple[Problem, ...] = ()


def decode_policy_review(body: bytes) -> PolicyReview:
    """The request in a body. Raises MalformedReviewError."""
    try:
        envelope = msgspec.json.decode(body, type=_Envelope)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedReviewError(" ".join(str(error).split())[:300]) from None
    if envelope.kind != KIND or envelope.api_version != API_VERSION:
        raise MalformedReviewError(f"expected kind {KIND} of {API_VERSION}, found another kind or version")
    return envelope.request


def review_policy(
    review: PolicyReview,
    policies: PolicySet,
    now: datetime,
    longest: timedelta,
    exempt: Collection[str] = EXEMPT_NAMESPACES,
    *,
    verifies_images: bool = True,
) -> PolicyOutcome:
    """The answer to a review of a policy or a waiver.

    policies: those in effect, for warnings and for the limits of a namespace.
    longest: how far in the future a waiver may expire.
    exempt: the namespaces whose pods the API server does not send to the webhook.
    verifies_images: whether this installation verifies images; warnings say where it does not.
    """
    if review.operation not in ("CREATE", "UPDATE"):
        return allowed_policy(review)
    resource = RESOURCES.get(review.kind.kind)
    if resource is None or review.kind.group != GROUP:
        kind = ".".join(part for part in (review.kind.kind, review.kind.group) if part)[:120]
        return denied_policy(
            review, Problem("", f"Sekisho reviews its own kinds here, not {kind or 'an object without a kind'}")
        )
    if max(_entries(bytes(raw)) for raw in (review.old_object, review.object)) > MAX_ENTRIES:
        return denied_policy(review, Problem("", f"has more than {MAX_ENTRIES:,} entries in its lists and objects"))
    try:
        policy = _verified(review, resource, policies, now, longest)
    except PolicyError as error:
        return denied_policy(review, *error.problems)
    except RecursionError:
        return denied_policy(review, Problem("", "is nested too deeply"))
    if policy is None:
        return allowed_policy(review)
    authority_warnings = warnings_about(policy, now) if isinstance(policy, ImageAuthority) else ()
    warnings = advice(policy, policies, exempt, verifies_images=verifies_images)
    impact = impact_warnings(policy, review.old_object)
    return allowed_policy(review, [*impact, *warnings, *past_allowances(policy, now), *authority_warnings])


def _verified(
    review: PolicyReview, resource: Resource, policies: PolicySet, now: datetime, longest: timedelta
) -> Policy | None:
    """The policy, in which nothing is wrong; None for an update that leaves its spec as it is. Raises PolicyError."""
    old, new = _spec(review.old_object), _spec(review.object)
    if review.operation == "UPDATE" and old == new:
        return None
    _deny_unknown_fields(review.object, resource.name)
    policy: Policy = decode(bytes(review.object), resource.kind)
    verify(policy)
    problems: Iterable[Problem] = ()
    if isinstance(policy, PolicyWaiver):
        problems = _expiry(policy, old, new, now, longest)
    elif isinstance(policy, PodPolicy):
        problems = limit_problems(policy, policies)
    if wrong := tuple(problems):
        raise PolicyError(*wrong)
    return policy


def denied_policy(review: PolicyReview, *problems: Problem) -> PolicyOutcome:
    """The policy is denied, with all its problems."""
    causes = [Cause("FieldValueInvalid", problem.message, problem.where) for problem in problems[:MAX_CAUSES]]
    details = Details(review.name or "", review.kind.group, review.kind.kind, causes)
    status = Status(422, "Invalid", "; ".join(map(str, problems))[:MAX_MESSAGE_LENGTH], details=details)
    return PolicyOutcome(encode_response(Response(review.uid, False, status)), review, problems)


def allowed_policy(review: PolicyReview, warnings: Sequence[str] = ()) -> PolicyOutcome:
    """The policy is admitted, with warnings or without."""
    return PolicyOutcome(encode_response(Response(review.uid, True, warnings=capped_warnings(warnings))), review)


class _Specified(Struct, frozen=True):
    spec: dict[str, Any] = {}


def _entries(text: bytes) -> int:
    return text.count(b",") + text.count(b"{") + text.count(b"[")


def _spec(raw: msgspec.Raw) -> dict[str, Any]:
    """The spec as plain values, empty without an object. Raises PolicyError where it cannot be read."""
    try:
        specified = msgspec.json.decode(raw, type=_Specified | None)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PolicyError(Problem("", str(error))) from None
    return specified.spec if specified is not None else {}


def _deny_unknown_fields(raw: msgspec.Raw, kind: str) -> None:
    """Raise PolicyError with the first hundred; the schema or the decoding reports all other mistakes."""
    unknown = tuple(islice(unknown_fields(msgspec.json.decode(raw), kind), MAX_CAUSES))
    if unknown:
        raise PolicyError(*(Problem(render_path(path), message) for path, message in unknown))


def _expiry(
    waiver: PolicyWaiver, old: dict[str, Any], new: dict[str, Any], now: datetime, longest: timedelta
) -> Iterator[Problem]:
    """The problems with when a waiver expires, where that changes. An existing waiver may expire at once."""
    expires = waiver.spec.expires
    if old and old.get("expires") == new.get("expires"):
        return
    if not old and expires <= now:
        yield Problem("spec.expires", f"{rfc3339(expires)} is not in the future")
    if expires > now + longest:
        latest = f"the latest is {longest.days} days from now, {rfc3339(now + longest)}"
        yield Problem("spec.expires", f"{rfc3339(expires)} is too late: {latest}")
