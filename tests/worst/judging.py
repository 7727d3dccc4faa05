"""The requests that an input leads to, and the engine that answers them as the webhook does."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from sekisho import admission
from sekisho.admission.policy_review import decode_policy_review, review_policy
from sekisho.policies import ClusterPodPolicy, PolicySet, PolicyWaiver
from sekisho.policies.crd import RESOURCES
from tests.reviews import DEPLOYMENT, DEPLOYMENTS, review_body
from tests.secret_pods import ALL_CONTROLS
from tests.worst.inputs import Input

NOW: Final = datetime(2026, 11, 26, tzinfo=UTC)
LABELS: Final = {"pod-security.kubernetes.io/enforce": "restricted"}
Answer = Callable[[bytes], object]

EVERYTHING: Final[Any] = {
    "metadata": {"name": "everything"},
    "spec": {
        "podSecurityStandard": {"level": "restricted"},
        "controls": ALL_CONTROLS,
        "defaults": {"profile": "restricted", "container": {"securityContext": {"readOnlyRootFilesystem": True}}},
    },
}
BY_LABELS: Final[Any] = {
    "metadata": {"name": "by-labels"},
    "spec": {"podSecurityStandard": {"fromNamespaceLabels": True}, "enforcement": "Warn"},
}
WAIVER: Final[Any] = {
    "metadata": {"name": "of-an-image"},
    "spec": {
        "policies": ["everything"],
        "controls": ["privileged", "images", "capabilities"],
        "match": {"images": ["trusted.example/agents"]},
        "reason": "x",
        "expires": "2027-01-01T00:00:00Z",
    },
}


def policy_set() -> PolicySet:
    """Every control at its strictest, defaults, levels by namespace labels, and a waiver."""
    policies = [msgspec.convert(policy, ClusterPodPolicy) for policy in (EVERYTHING, BY_LABELS)]
    return PolicySet.of([*policies, msgspec.convert(WAIVER, PolicyWaiver)])


def answers(policies: PolicySet) -> dict[str, Answer]:
    """What answers each request of `bodies`, by its name."""

    def validate(body: bytes) -> object:
        return admission.validate(admission.decode(body), policies, LABELS, lambda: NOW)

    def mutate(body: bytes) -> object:
        return admission.mutate(admission.decode(body), policies, LABELS)

    def review(body: bytes) -> object:
        return review_policy(decode_policy_review(body), policies, NOW, timedelta(days=90))

    pods: dict[str, Answer] = {"validate": validate, "mutate": mutate, "update": validate, "template": validate}
    return pods | dict.fromkeys(RESOURCES, review)


def bodies(one: Input, size: int) -> Iterator[tuple[str, bytes]]:
    """The requests about an input of about `size` bytes, each with its name in `answers`."""
    made = one.make(size)
    created = review_body(made) if {"validate", "mutate"} & {*one.requests} else b""
    for request in one.requests:
        match request:
            case "validate" | "mutate":
                yield request, created
            case "update":
                yield request, _update_body(one.make(size // 2))
            case "template":
                workload = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}
                template = workload | {"spec": {"template": made}}
                yield request, review_body(template, kind=DEPLOYMENT, resource=DEPLOYMENTS)
            case kind:
                of = {"group": "sekisho.dev", "version": "v1alpha1", "kind": kind}
                yield request, review_body(made, kind=of, name="p")


def _update_body(old: Any) -> bytes:
    """An update of a pod that changes nothing but the image of its first container."""
    new = dict(old, spec=dict(old["spec"]))
    if isinstance(new["spec"].get("containers"), list) and new["spec"]["containers"]:
        first, *rest = new["spec"]["containers"]
        new["spec"]["containers"] = [first | {"image": "other.example/x"}, *rest]
    return review_body(new, old)
