"""Reviews of policies over real TLS: what is answered, whatever is sent."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sekisho.admission.policy_review import review_policy
from sekisho.policies import PolicySet
from sekisho.webhook import bodies
from sekisho.webhook import policy_reviews as module
from sekisho.webhook.http_shell import Deadline
from sekisho.webhook.policies import Enforced
from sekisho.webhook.policy_reviews import PolicyReviews
from tests.reviews import review, review_body
from tests.unit.webhook.serving_reviews import BAD, GOOD, Served, pod, policy, serving_reviews

TARGET = "/validate-policies?timeout=3s"


def policy_review(spec: Any, kind: str = "ClusterPodPolicy") -> dict[str, Any]:
    return review({"metadata": {"name": "p"}, "spec": spec}, kind={"group": "sekisho.dev", "kind": kind})


BROKEN = {"controls": {"images": {"trustedRegistries": ["acme/web"]}}}
SOUND = {"controls": {"images": {"trustedRegistries": ["docker.io/acme/web"]}}}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving_reviews(policy()) as served:
        yield served


async def allowed(served: Served, thing: Any) -> bool:
    status, answer = await served.send(thing, TARGET)
    assert status == 200
    return bool(answer["response"]["allowed"])


async def test_broken_policy_is_denied_and_sound_one_passes_beside_pods(served: Served) -> None:
    assert not await allowed(served, policy_review(BROKEN))
    assert await allowed(served, policy_review(SOUND))
    assert not await served.allowed(review(pod(BAD)))
    assert await served.allowed(review(pod(GOOD)))
    metrics = served.metrics.render().decode()
    for decision in ("allow", "deny"):
        line = f'sekisho_policy_reviews_total{{decision="{decision}",kind="ClusterPodPolicy"}} 1.0'
        assert line in metrics


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("GET", TARGET, b"", 405),
        ("POST", "/validate-policies/", b"{}", 404),
        ("POST", "/nothing", b"{}", 404),
        ("POST", TARGET, b"{}", 400),
        ("POST", TARGET, b"hello", 400),
    ],
)
async def test_request_without_a_review_gets_the_reason_in_json(
    served: Served, method: str, target: str, body: bytes, status: int
) -> None:
    code, answer = await served.send(body, target, method)
    assert code == status
    assert answer["error"]
    assert await allowed(served, policy_review(SOUND))


async def test_body_over_the_limit_is_413(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_BODY_BYTES", 1000)
    assert (await served.send(policy_review({"reason": "x" * 2000}), TARGET))[0] == 413


async def test_error_inside_is_a_no_with_an_id_that_the_log_explains(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("a bug")

    monkeypatch.setattr(module, "review_policy", fail)
    _, answer = await served.send(policy_review(SOUND), TARGET)
    assert answer["response"]["allowed"] is False
    message = answer["response"]["status"]["message"]
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.__dict__["incident"] in message
    assert "a bug" not in message


def large_review(namespace: str) -> bytes:
    padding = {"name": "p", "annotations": {"a": "x" * module.MAX_SMALL_BYTES}}
    body = {"metadata": padding, "spec": {"podSecurityStandard": {"level": "baseline"}}}
    return review_body(body, kind={"group": "sekisho.dev", "kind": "PodPolicy"}, namespace=namespace)


async def test_namespaces_take_turns_at_large_policies_and_late_ones_are_denied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reviewed: list[str | None] = []
    goes_on = threading.Event()

    def noting(review: Any, *others: Any, **named: Any) -> Any:
        reviewed.append(review.namespace)
        assert goes_on.wait(20)
        return review_policy(review, *others, **named)

    monkeypatch.setattr(module, "review_policy", noting)
    reviews = PolicyReviews(Enforced(PolicySet.of([])), lambda: datetime.now(UTC), timedelta(days=90))
    try:
        now = time.perf_counter()
        waiting = [
            asyncio.ensure_future(reviews.validate(large_review(namespace), Deadline(now, 60.0)))
            for namespace in ("many", "many", "many", "alone")
        ]
        await asyncio.sleep(0)  # they begin
        late = await reviews.validate(large_review("late"), Deadline(now, 0.0))
        assert b"other policies took longer to review than the API server waits" in late
        goes_on.set()
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*waiting)
        assert all(b'"allowed":' in answer for answer in answers)
        assert reviewed == ["many", "many", "alone", "many"]
    finally:
        goes_on.set()
        reviews.close()
