"""How long one request keeps all others waiting, with 1,000 policies and 1,000 waivers that all apply to its pod."""

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from sekisho.policies import ClusterPodPolicy, PolicySet, PolicyWaiver
from sekisho.policies.loading import from_object
from sekisho.webhook.http_shell import Deadline
from sekisho.webhook.metrics import Metrics
from sekisho.webhook.pod_reviews import PodReviews
from sekisho.webhook.policies import Enforced
from sekisho.webhook.policy_reviews import PolicyReviews
from tests.load.policies import documents
from tests.load.reviews import pod
from tests.reviews import review_body

COUNT: Final = 1000
MAX_HELD_SECONDS: Final = 0.05
ROUNDS: Final = 3
NOW: Final = datetime(2026, 11, 26, tzinfo=UTC)
Case = Callable[[int], Coroutine[Any, Any, bytes] | bytes]
"""Sends one request, in another namespace in each round."""


def waiver(number: int, **spec: Any) -> PolicyWaiver:
    match = (
        {"podSelector": {"matchLabels": {"app": f"a{number}"}}} if number % 2 else {"images": [f"x.example/a{number}"]}
    )
    of_all = {"policies": [f"policy-{number:02}"], "controls": ["privileged"], "match": match, "reason": "r"}
    return from_object(
        stored("PolicyWaiver", f"w-{number}", of_all | {"expires": "2026-12-20T00:00:00Z"} | spec), PolicyWaiver
    )


def stored(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"u-{name}", "generation": 1, "resourceVersion": "1"}
    return {"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


@pytest.fixture(scope="module")
def enforced() -> Enforced:
    policies = [from_object(one, ClusterPodPolicy) for one in documents(COUNT, alike=False)]
    return Enforced(PolicySet.of([*policies, *map(waiver, range(COUNT))]))


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The CPU seconds of each step of the event loop: this thread's, so that a busy machine adds little."""
    seconds: list[float] = []
    run = asyncio.Handle._run  # noqa: SLF001 - what asyncio calls for each step

    def measured(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        seconds.append(time.thread_time() - began)

    monkeypatch.setattr(asyncio.Handle, "_run", measured)
    return seconds


def deadline() -> Deadline:
    return Deadline(time.perf_counter(), 60.0)


def cases(enforced: Enforced) -> dict[str, Case]:
    pods = PodReviews(enforced, lambda: NOW, None, Metrics(), lambda outcome: None)
    policies = PolicyReviews(enforced, lambda: NOW, timedelta(days=90))

    def of_pod(answer: Callable[..., Any], body: dict[str, Any]) -> Case:
        return lambda number: answer(review_body(body, namespace=f"shop-{number}"), deadline())

    def of_policy(kind: str, spec: dict[str, Any]) -> Case:
        body = stored(kind, "new", spec)
        request_kind = {"group": "sekisho.dev", "version": "v1alpha1", "kind": kind}
        return lambda number: policies.validate(review_body(body, kind=request_kind, name="new"), deadline())

    unknown = {"policies": [f"polcy-{number}x" for number in range(64)], "controls": ["privileged"], "reason": "r"}
    violating = pod(violates=True)
    good = of_pod(pods.validate, pod())
    return {
        "a good pod": good,
        "a violating pod": of_pod(pods.validate, violating),
        "a pod to fill": of_pod(pods.mutate, pod(with_defaults=False)),
        "a good pod again": good,
        "a waiver of unknown policies": of_policy("PolicyWaiver", unknown | {"expires": "2026-12-20T00:00:00Z"}),
        "a policy": of_policy("ClusterPodPolicy", documents(1)[0]["spec"]),
    }


async def test_no_request_holds_the_loop(enforced: Enforced, held: list[float]) -> None:
    for name, case in cases(enforced).items():
        longest = []
        for number in range(ROUNDS):
            await asyncio.sleep(0)  # ends the turn of the loop that belongs to the round before
            held.clear()
            await asyncio.create_task(_answered(case, number))
            await asyncio.sleep(0)  # ends the turn that answered, so that its time is noted
            longest.append(max(held))
        assert min(longest) <= MAX_HELD_SECONDS, f"{name}: {longest}"


async def _answered(case: Case, number: int) -> bytes:
    answer = case(number)
    return await answer if inspect.isawaitable(answer) else answer
