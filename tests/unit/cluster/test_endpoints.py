"""Which pods a Service sends requests to, and which of them do not report."""

import json

import pytest

from sekisho.cluster.endpoints import Pods, all_pods, pods_of, strangers, unreported


def endpoint(name: str | None = None, kind: str = "Pod", **conditions: bool) -> dict[str, object]:
    return {"conditions": conditions} | ({"targetRef": {"kind": kind, "name": name}} if name else {})


def test_ready_pods_are_those_that_the_service_sends_requests_to() -> None:
    endpoints = [
        endpoint("a", ready=True),
        endpoint("b", ready=False, serving=True),
        endpoint("c"),
        endpoint(ready=True),
        endpoint("n", kind="Node", ready=True),
    ]
    assert pods_of(json.dumps({"endpoints": endpoints}).encode()) == Pods(("a", "c", "", ""), ("b",))
    assert pods_of(b'{"endpoints":null}') == Pods()


@pytest.mark.parametrize(
    ("ready", "reporting", "missing"),
    [
        (("a", "b"), ("a", "b"), 0),
        (("a",), ("a", "b"), 0),  # b is draining, or not ready yet
        (("a", "b"), ("a",), 1),
        (("a", "a"), ("a",), 0),  # of two address families
        (("b",), ("a",), 1),
        (("", ""), ("a", "b"), 0),
        (("", ""), ("a",), 1),
        (("a", ""), ("a",), 1),
        (("a", ""), ("a", "b"), 0),
        ((), ("a",), 0),
    ],
)
def test_a_ready_pod_that_does_not_report_is_listed(
    ready: tuple[str, ...], reporting: tuple[str, ...], missing: int
) -> None:
    assert len(unreported(ready, reporting)) == missing


@pytest.mark.parametrize(
    ("pods", "reporting", "expected"),
    [
        (Pods(("a",), ("b",)), ("a", "b", "c"), {"c"}),
        (Pods(("a",), ("b",)), ("a", "b"), set()),
        (Pods(("a", ""), ()), ("a", "c"), set()),  # the endpoint without a pod may be c's
        (Pods(), ("a",), {"a"}),
    ],
)
def test_holders_that_are_not_pods_of_the_service_are_strangers(
    pods: Pods, reporting: tuple[str, ...], expected: set[str]
) -> None:
    assert strangers(pods, reporting) == expected


def test_the_pods_of_several_slices_are_put_together() -> None:
    assert all_pods([Pods(("a",), ("b",)), Pods(("c",), ())]) == Pods(("a", "c"), ("b",))
