"""Which pods a Service sends requests to, and which of them do not report."""

import json

import pytest

from sekisho.cluster.endpoints import ready_pods, unreported


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
    assert ready_pods(json.dumps({"endpoints": endpoints}).encode()) == ("a", "c", "", "")
    assert ready_pods(b'{"endpoints":null}') == ()


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
