"""How long one request holds the loop in a large cluster: 1,000 policies that all differ, and 1,000 waivers."""

import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import pytest

from sekisho.policies import ClusterPodPolicy, PolicySet, PolicyWaiver
from sekisho.webhook.http_shell import Deadline
from sekisho.webhook.metrics import Metrics
from sekisho.webhook.pod_reviews import PodReviews
from sekisho.webhook.policies import Enforced
from sekisho.webhook.policy_reviews import PolicyReviews
from sekisho.webhook.review_cost import MAX_SMALL_BYTES
from tests.reviews import review_body

COUNT: Final = 1000
MAX_SECONDS: Final = 0.05
ATTEMPTS: Final = 3
NOW: Final = datetime(2026, 11, 26, tzinfo=UTC)
Handler = Callable[[bytes, Deadline], bytes | Coroutine[Any, Any, bytes]]


def policy(number: int) -> ClusterPodPolicy:
    """A policy of which no check is shared with another one."""
    controls = {
        "privileged": {},
        "runAsUser": {"rule": "MustRunAs", "ranges": [{"min": number + 1, "max": number + 1}]},
        "runAsGroup": {"rule": "MustRunAs", "ranges": [{"min": number + 1, "max": number + 1}]},
        "images": {"trustedRegistries": [f"r{number}.example/*"], "deniedTags": [f"t{number}"]},
        "sysctls": {"forbidden": [f"kernel.x{number}"]},
        "criSockets": {"furtherSockets": [f"/run/x{number}.sock"]},
    }
    return msgspec.convert({"metadata": {"name": f"policy-{number}"}, "spec": {"controls": controls}}, ClusterPodPolicy)


WAIVES: Final = {"policies": ["policy-1"], "controls": ["privileged"], "reason": "x", "expires": "2027-01-01T00:00:00Z"}


def waiver(number: int) -> PolicyWaiver:
    """A waiver of images that no pod has."""
    spec = {"policies": [f"policy-{number}"], "controls": ["images"], "reason": "x", "expires": "2027-01-01T00:00:00Z"}
    match = {"images": [f"waived{number}.example/x"]}
    return msgspec.convert({"metadata": {"name": f"waiver-{number}"}, "spec": spec | {"match": match}}, PolicyWaiver)


@pytest.fixture(scope="module")
def enforced() -> Enforced:
    numbers = range(COUNT)
    return Enforced(PolicySet.of([*map(policy, numbers), *map(waiver, numbers)]))


def pods(enforced: Enforced) -> PodReviews:
    return PodReviews(enforced, lambda: NOW, None, Metrics(), lambda outcome: None)


def pod(containers: int, **labels: str) -> bytes:
    privileged = {"securityContext": {"privileged": True}}
    listed = [{"name": f"c{number}", "image": "evil.example/x:t0"} | privileged for number in range(containers)]
    return review_body({"metadata": {"name": "pod", "labels": labels}, "spec": {"containers": listed}})


async def test_no_list_of_a_container_holds_the_loop_however_many_problems_it_has() -> None:
    control = {"metadata": {"name": "p"}, "spec": {"controls": {"capabilities": {}}}}
    reviews = pods(Enforced(PolicySet.of([msgspec.convert(control, ClusterPodPolicy)])))
    added = {"name": "c", "image": "x", "securityContext": {"capabilities": {"add": ["X"] * 15_900}}}
    body = review_body({"metadata": {"name": "pod"}, "spec": {"containers": [added]}})
    assert len(body) <= MAX_SMALL_BYTES
    try:
        assert await held(reviews.validate, body) < MAX_SECONDS
    finally:
        reviews.close()


def same_policy(number: int) -> ClusterPodPolicy:
    """A policy that shares all of its checks with the others, so that each finding names all of them."""
    spec = {"podSecurityStandard": {"level": "restricted"}, "defaults": {"profile": "restricted"}}
    return msgspec.convert({"metadata": {"name": f"policy-{number}"}, "spec": spec}, ClusterPodPolicy)


async def test_no_pod_holds_the_loop_where_each_of_its_policies_has_a_message() -> None:
    spec = {"podSecurityStandard": {"level": "restricted"}}
    policies = [
        {"metadata": {"name": f"policy-{number}"}, "spec": spec | {"message": f"ask team {number}"}}
        for number in range(COUNT)
    ]
    reviews = pods(Enforced(PolicySet.of(msgspec.convert(one, ClusterPodPolicy) for one in policies)))
    try:
        assert await held(reviews.validate, pod(95)) < MAX_SECONDS
    finally:
        reviews.close()


MATCHES: Final[dict[str, Callable[[int], dict[str, Any]]]] = {
    "images": lambda number: {"images": [f"*-{number}-{one}.example/*a*a*b" for one in range(32)]},
    "names": lambda number: {"names": [f"*{one}-{number}" for one in range(64)]},
    "labels": lambda number: {
        "podSelector": {"matchExpressions": [{"key": f"k{one}", "operator": "DoesNotExist"} for one in range(8)]}
    },
}


@pytest.mark.parametrize("match", MATCHES.values(), ids=MATCHES)
async def test_no_denied_pod_holds_the_loop_with_any_waivers(match: Callable[[int], dict[str, Any]]) -> None:
    waivers = [
        msgspec.convert({"metadata": {"name": f"w{number}"}, "spec": WAIVES | {"match": match(number)}}, PolicyWaiver)
        for number in range(COUNT)
    ]
    reviews = pods(Enforced(PolicySet.of([*map(same_policy, range(COUNT)), *waivers])))
    try:
        for containers in (1, 4, 12):
            assert await held(reviews.validate, pod(containers, x="y")) < MAX_SECONDS
            assert await held(reviews.mutate, pod(containers, x="y")) < MAX_SECONDS
    finally:
        reviews.close()


def resource(kind: str, spec: dict[str, Any]) -> bytes:
    body = {"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": {"name": "new"}, "spec": spec}
    of = {"group": "sekisho.dev", "version": "v1alpha1", "kind": kind}
    return review_body(body, kind=of, name="new")


async def held(handler: Handler, body: bytes) -> float:
    """CPU seconds of the loop's thread for one request, the least of some attempts."""
    taken: list[float] = []
    for _ in range(ATTEMPTS):
        began = time.thread_time()
        answer = handler(body, Deadline(time.perf_counter(), 30.0))
        assert b'"allowed"' in (answer if isinstance(answer, bytes) else await answer)
        taken.append(time.thread_time() - began)
    return min(taken)


@pytest.mark.parametrize("containers", [1, 4, 100])
async def test_no_pod_holds_the_loop(enforced: Enforced, containers: int) -> None:
    reviews = pods(enforced)
    try:
        for handler in (reviews.validate, reviews.mutate):
            assert await held(handler, pod(containers)) < MAX_SECONDS
    finally:
        reviews.close()


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("ClusterPodPolicy", {"controls": {"images": {"trustedRegistries": ["r1.example/*"]}}}),
        ("PodPolicy", {"controls": {"runAsUser": {"rule": "MustRunAs", "ranges": [{"min": 1, "max": 1}]}}}),
        (
            "PolicyWaiver",
            {
                "policies": [f"polizy-{number}" for number in range(64)],
                "controls": ["privileged"],
                "reason": "x",
                "expires": "2027-01-01T00:00:00Z",
            },
        ),
    ],
)
async def test_no_policy_or_waiver_holds_the_loop(enforced: Enforced, kind: str, spec: dict[str, Any]) -> None:
    reviews = PolicyReviews(enforced, lambda: NOW, timedelta(days=90))
    try:
        assert await held(reviews.validate, resource(kind, spec)) < MAX_SECONDS
    finally:
        reviews.close()
