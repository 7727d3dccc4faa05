"""What is remembered about images: only of pods that were admitted, and a bounded number of bytes."""

from typing import Any

import msgspec
import pytest

from sekisho import admission
from sekisho.controls import images as control
from sekisho.images.remembered import MAX_BYTES, MAX_LENGTH, Remembered
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.reviews import review_body

TRUSTED = {"controls": {"images": {"trustedRegistries": ["trusted.io"]}, "privileged": {}}}


def policies(**spec: Any) -> PolicySet:
    return PolicySet.of([msgspec.convert({"metadata": {"name": "p"}, "spec": TRUSTED | spec}, ClusterPodPolicy)])


def is_admitted(by: PolicySet, image: str, *, privileged: bool = False, **request: Any) -> bool:
    container = {"name": "app", "image": image, "securityContext": {"privileged": privileged}}
    pod = {"metadata": {"name": "pod"}, "spec": {"containers": [container]}}
    outcome = admission.validate(admission.decode(review_body(pod, **request)), by, None)
    return bool(msgspec.json.decode(outcome.response)["response"]["allowed"])


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> Remembered:
    fresh = Remembered()
    monkeypatch.setattr(control, "REMEMBERED", fresh)
    monkeypatch.setattr(admission.answer, "REMEMBERED", fresh)
    return fresh


def test_dry_runs_and_denied_pods_leave_nothing_behind(remembered: Remembered) -> None:
    by = policies()
    for number in range(3):
        assert is_admitted(by, f"trusted.io/{number}", dryRun=True)
        assert not is_admitted(by, f"trusted.io/{number}", privileged=True)
        assert not is_admitted(by, f"evil.io/{number}")
    assert remembered.bytes == 0


def test_an_admitted_pod_is_remembered_once(remembered: Remembered) -> None:
    by = policies()
    assert is_admitted(by, "trusted.io/app")
    once = remembered.bytes
    assert is_admitted(by, "trusted.io/app")  # now what the rules say of it is remembered, too
    twice = remembered.bytes
    assert once < twice
    for _ in range(3):
        assert is_admitted(by, "trusted.io/app")
    assert remembered.bytes == twice


def test_what_one_policy_allows_another_does_not(remembered: Remembered) -> None:
    for _ in range(3):
        assert is_admitted(policies(), "trusted.io/app")
    assert not is_admitted(policies(controls={"images": {"trustedRegistries": ["other.io"]}}), "trusted.io/app")
    assert not is_admitted(policies(controls={"images": {"requireDigest": True}}), "trusted.io/app")
    assert remembered.bytes


def test_it_is_bounded_in_bytes(remembered: Remembered) -> None:
    for number in range(2 * MAX_BYTES // MAX_LENGTH):
        remembered.admit(f"{number:0{MAX_LENGTH}}")
        remembered.allow(1, f"{number:0{MAX_LENGTH}}")
        assert remembered.bytes <= MAX_BYTES
    before = remembered.bytes
    remembered.admit("x" * (MAX_LENGTH + 1))
    assert remembered.bytes == before
