"""The time that an audit gives to namespaces."""

import time

import pytest

from sekisho.admission import UnjudgedError
from sekisho.cluster import live_audit as module
from sekisho.cluster.live_audit import Clocks


def judge(clocks: Clocks, namespace: str, seconds: float) -> None:
    """Take so much CPU for a pod of a namespace, as long as its clock permits it."""
    with clocks.of(namespace) as check_time:
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            check_time()


def test_a_costly_namespace_takes_no_time_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SECONDS_OF_NAMESPACE", 0.02)
    clocks = Clocks()
    judge(clocks, "costly", 0.05)
    with pytest.raises(UnjudgedError, match="its namespace has taken too much CPU time"):
        judge(clocks, "costly", 0.0)
    judge(clocks, "other", 0.0)


def test_a_namespace_has_more_time_for_more_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SECONDS_OF_NAMESPACE", 0.0)
    monkeypatch.setattr(module, "MAX_SECONDS_OF_OBJECT", 0.005)
    clocks = Clocks()
    for _ in range(10):
        judge(clocks, "large", 0.002)


def test_a_pod_that_takes_too_long_is_not_judged_and_counts_for_its_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SECONDS_OF_POD", 0.02)
    monkeypatch.setattr(module, "MAX_SECONDS_OF_NAMESPACE", 0.0)
    clocks = Clocks()
    for message in ("it takes more than", "its namespace has taken"):
        with pytest.raises(UnjudgedError, match=message):
            judge(clocks, "shop", 5.0)
