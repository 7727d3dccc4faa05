"""Whether pods are judged, found out by trying: requests through the API server, and what its answers prove.

Each request is a dry run in a namespace that permits no pods: its ResourceQuota, which the API server checks last,
denies what the webhook admits.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

import msgspec
from msgspec import Struct

from sekisho.admission.proof import PROOF_NAME, PROOF_POLICY, proof_pod
from sekisho.cluster.api import ApiClient, ApiError
from sekisho.operator.configurations import (
    CONFIGURATION_REASONS,
    IGNORED,
    MUTATING_PODS,
    VALIDATING_PODS,
    VALIDATING_POLICIES,
    ConfigurationProblem,
)
from sekisho.policies.status import ConditionStatus
from sekisho.policies.types import GROUP, VERSION

DRY_RUN: Final = {"dryRun": "All", "fieldValidation": "Ignore"}
_QUOTA: Final = ("exceeded quota", "status unknown for quota")
_DENIED_BY: Final = 'admission webhook "{}" denied the request'
_UNREACHABLE: Final = 'failed calling webhook "{}"'
_UNKNOWN_CONTROL: Final[dict[str, Any]] = {"controls": {"sekishoProof": {}}}
MAX_DETAIL_LENGTH: Final = 300


class Proof(Struct, frozen=True):
    """The result of a proof, as a condition has it.

    pods_not_judged: whether no pod is judged, so that no policy is enforced.
    """

    status: ConditionStatus
    reason: str
    message: str
    pods_not_judged: bool = False

    @property
    def key(self) -> str:
        """What makes it another result than the last: texts of the API server hold ports and times, which do not."""
        return f"{self.reason} {self.message}" if self.reason in CONFIGURATION_REASONS else self.reason


PROVEN: Final = Proof(
    ConditionStatus.TRUE,
    "TriedByDryRun",
    "the API server calls all webhooks: tried by dry runs, and the webhook configurations are as they should be",
)

PROVEN_WHILE_ANSWERED: Final = Proof(
    ConditionStatus.TRUE,
    IGNORED,
    "the API server calls all webhooks: tried by dry runs. But admitPodsUnjudged is set, so pods are admitted without a"
    " verdict while no webhook answers",
)
"""The result of a proof like PROVEN, where pods are meant to be admitted while no webhook answers."""

RELEASE_DELETED: Final = Proof(
    ConditionStatus.FALSE,
    "ReleaseDeleted",
    "the release's namespace is being deleted, and with it the webhook; its configurations follow, and then pods are"
    " admitted without a verdict",
    pods_not_judged=True,
)
"""What the controller says at its end, when nobody will prove anything any more."""


def unknown(detail: str) -> Proof:
    """The result of a proof that could not be completed."""
    return Proof(ConditionStatus.UNKNOWN, "NotTried", f"cannot try whether pods are judged: {_short(detail)}")


def proof_by_problems(problems: Collection[ConfigurationProblem]) -> Proof:
    """The result for webhook configurations with problems, at least one."""
    worst = next(iter(problems))
    message = "; ".join(problem.message for problem in problems)
    return Proof(ConditionStatus.FALSE, worst.reason, message, any(problem.admits_unjudged for problem in problems))


async def try_webhooks(api: ApiClient, namespace: str, *, may_ignore: bool = False) -> Proof:
    """Try all webhooks by dry runs in the namespace, which never creates anything. Raises ApiUnavailable.

    may_ignore: whether pods are meant to be admitted while no webhook answers.
    """
    for attempt in (_violating_pod, _good_pod, _bad_policy):
        failure = await attempt(api, namespace)
        if failure is not None:
            return failure
    return PROVEN_WHILE_ANSWERED if may_ignore else PROVEN


async def _violating_pod(api: ApiClient, namespace: str) -> Proof | None:
    """Try a violating pod; None if the validating webhook denies it."""
    answer = await _answer(lambda: _create_pod(api, namespace, violating=True))
    if _DENIED_BY.format(VALIDATING_PODS) in answer and PROOF_POLICY in answer:
        return None
    if not answer or _is_quota(answer):
        message = "a pod that violates the built-in policy of the proof was not denied by the webhook"
        return Proof(ConditionStatus.FALSE, "PodsNotJudged", message, pods_not_judged=True)
    return _proof_by_answer(answer, VALIDATING_PODS, MUTATING_PODS)


async def _good_pod(api: ApiClient, namespace: str) -> Proof | None:
    """Try a pod that needs a default; None if both webhooks do their part, and the quota denies it."""
    answer = await _answer(lambda: _create_pod(api, namespace, violating=False))
    if _is_quota(answer):
        return None
    if not answer:
        message = f"namespace {namespace} has no ResourceQuota that permits no pods"
        return Proof(ConditionStatus.UNKNOWN, "QuotaMissing", message)
    if _DENIED_BY.format(VALIDATING_PODS) in answer and PROOF_POLICY in answer:
        message = "a pod got no defaults: the API server does not call the mutating webhook, or drops its answer"
        return Proof(ConditionStatus.FALSE, "DefaultsNotApplied", message)
    return _proof_by_answer(answer, VALIDATING_PODS, MUTATING_PODS)


async def _bad_policy(api: ApiClient, namespace: str) -> Proof | None:
    """Try a policy with an unknown control; None if the webhook for policies denies it."""
    body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "PodPolicy", "metadata": {"name": PROOF_NAME}}
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/podpolicies"
    raw = msgspec.json.encode(body | {"spec": _UNKNOWN_CONTROL})
    answer = await _answer(lambda: api.create(path, raw, DRY_RUN))
    if _DENIED_BY.format(VALIDATING_POLICIES) in answer:
        return None
    if not answer:
        message = "a policy with an unknown control was not denied by the webhook"
        return Proof(ConditionStatus.FALSE, "PoliciesNotReviewed", message)
    if _UNREACHABLE.format(VALIDATING_POLICIES) in answer:
        return Proof(ConditionStatus.FALSE, "PoliciesNotReviewed", _short(answer))
    return unknown(answer)


def _proof_by_answer(answer: str, *names: str) -> Proof:
    if any(_UNREACHABLE.format(name) in answer for name in names):
        message = f"the API server cannot call the webhook, so no pod is judged: {_short(answer)}"
        return Proof(ConditionStatus.FALSE, "WebhookUnreachable", message, pods_not_judged=True)
    if any(_DENIED_BY.format(name) in answer for name in names):
        message = f"the webhook did not judge the pod of the proof: {_short(answer)}"
        return Proof(ConditionStatus.FALSE, "PodsNotJudged", message, pods_not_judged=True)
    return unknown(answer)


async def _create_pod(api: ApiClient, namespace: str, *, violating: bool) -> Any:
    body = msgspec.json.encode(proof_pod(violating=violating))
    return await api.create(f"/api/v1/namespaces/{namespace}/pods", body, DRY_RUN)


async def _answer(request: Callable[[], Awaitable[object]]) -> str:
    """Why the API server denied a request; empty when it succeeded. Raises ApiUnavailable."""
    try:
        await request()
    except ApiError as error:
        return error.message or error.reason or str(error)
    return ""


def _is_quota(answer: str) -> bool:
    return any(text in answer for text in _QUOTA)


def _short(text: str) -> str:
    return text if len(text) <= MAX_DETAIL_LENGTH else f"{text[: MAX_DETAIL_LENGTH - 1]}…"
