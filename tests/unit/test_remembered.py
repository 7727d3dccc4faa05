"""What a process remembers: only of pods that were admitted, and a bounded number of bytes."""

import gc
import tracemalloc
from typing import Any

import msgspec
import pytest

from sekisho import admission, quantities
from sekisho.controls import images as control
from sekisho.images import reference
from sekisho.pods import ObjectMeta, Pod
from sekisho.policies import ClusterPodPolicy, PolicySet, compile_policy
from sekisho.policies.plans import PlanCache
from sekisho.quantities import QuantityError, parse_quantity
from sekisho.remembered import MAX_NOTED, Remembered, begin_trial, end_trial
from tests.reviews import DEPLOYMENT, DEPLOYMENTS, review_body

TRUSTED = {"controls": {"images": {"trustedRegistries": ["trusted.io"]}, "privileged": {}}}
MAXIMA = {"controls": {"resources": {"maxLimits": [{"resource": "memory", "quantity": "1Ti"}]}}}
LABELS = 12


def policies(**spec: Any) -> PolicySet:
    return PolicySet.of([msgspec.convert({"metadata": {"name": "p"}, "spec": TRUSTED | spec}, ClusterPodPolicy)])


SELECTING = [
    msgspec.convert({"metadata": {"name": f"p{bit}"}, "spec": TRUSTED | match}, ClusterPodPolicy)
    for bit in range(LABELS)
    for match in ({"match": {"podSelector": {"matchLabels": {f"l{bit}": "x"}}}},)
]


def by_labels() -> PolicySet:
    """A policy for each of some labels, so that a pod's labels choose which policies apply."""
    everywhere = msgspec.convert({"metadata": {"name": "all"}, "spec": TRUSTED}, ClusterPodPolicy)
    return PolicySet.of([everywhere, *SELECTING])


def labelled(number: int) -> dict[str, str]:
    return {f"l{bit}": "x" for bit in range(LABELS) if number >> bit & 1}


def is_admitted(
    by: PolicySet,
    image: str = "trusted.io/app",
    *,
    privileged: bool = False,
    labels: dict[str, str] | None = None,
    memory: str = "1Gi",
    **request: Any,
) -> bool:
    container = {
        "name": "app",
        "image": image,
        "securityContext": {"privileged": privileged},
        "resources": {"limits": {"memory": memory}},
    }
    pod = {"metadata": {"name": "pod", "labels": labels or {}}, "spec": {"containers": [container]}}
    review = admission.decode(review_body(pod, **request))
    admission.mutate(review, by, None)
    outcome = admission.validate(review, by, None)
    return bool(msgspec.json.decode(outcome.response)["response"]["allowed"])


class Stores:
    """What is remembered of images, references and quantities, empty at first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed: Remembered[Any, Any] = Remembered(1 << 20, lambda key, _: 250 + len(key[1]))
        self.references: Remembered[Any, Any] = Remembered(1 << 20, lambda image, _: 500 + len(image))
        self.quantities: Remembered[Any, Any] = Remembered(1 << 20, lambda text, _: 350 + len(text))
        monkeypatch.setattr(control, "_ALLOWED", self.allowed)
        monkeypatch.setattr(reference, "_REFERENCES", self.references)
        monkeypatch.setattr(quantities, "_VALUES", self.quantities)

    @property
    def keys(self) -> list[set[Any]]:
        return [{*self.allowed.known}, {*self.references.known}, {*self.quantities.known}]


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Stores:
    return Stores(monkeypatch)


def test_dry_runs_and_denied_pods_leave_nothing_behind(stores: Stores) -> None:
    by = policies(controls=TRUSTED["controls"] | MAXIMA["controls"])
    before = stores.keys
    for number in range(3):
        of: Any = {"image": f"trusted.io/{number}", "memory": f"{number}.5Gi"}
        assert is_admitted(by, **of, dryRun=True)
        assert not is_admitted(by, **of, privileged=True)
        assert not is_admitted(by, f"evil.io/{number}", memory=f"{number}.5Gi")
        assert not is_admitted(by, **(of | {"memory": f"{number + 2}.5Ti"}))
    assert stores.keys == before
    assert is_admitted(by, "trusted.io/1", memory="1.5Gi")
    allowed, references, known = stores.keys
    assert [image for _, image in allowed] == ["trusted.io/1"]
    assert references == {"trusted.io/1"}
    assert known - before[2] == {"1.5Gi"}


def test_an_admitted_template_is_remembered_and_a_dry_run_of_it_is_not(stores: Stores) -> None:
    container = {"name": "app", "image": "trusted.io/app"}
    workload = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}
    body = workload | {"spec": {"template": {"spec": {"containers": [container]}}}}
    for is_trial, count in ((True, 0), (False, 1)):
        review = review_body(body, kind=DEPLOYMENT, resource=DEPLOYMENTS, dryRun=is_trial)
        admission.validate(admission.decode(review), policies(), None)
        assert len(stores.allowed.known) == count


def planned(by: PolicySet) -> list[int]:
    """The numbers of the labels whose plans are remembered."""
    return [
        number
        for number in range(100)
        if by.is_planned("shop", None, Pod(metadata=ObjectMeta(labels=labelled(number))), None)
    ]


def test_plans_by_the_labels_of_pods_are_remembered_of_admitted_pods_only() -> None:
    by = by_labels()
    for number in range(100):
        assert is_admitted(by, labels=labelled(number), dryRun=True)
        assert not is_admitted(by, privileged=True, labels=labelled(number))
    assert planned(by) == []
    for number in (1, 2, 1):
        assert is_admitted(by, labels=labelled(number))
        assert not is_admitted(by, privileged=True, labels=labelled(number))
    assert planned(by) == [1, 2]


def test_dry_runs_with_random_labels_leave_no_memory_in_use() -> None:
    by = by_labels()
    for number in range(50):  # what is the same for all pods comes into being
        is_admitted(by, labels=labelled(number), dryRun=True)
    tracemalloc.start()
    try:
        for number in range(50, 250):
            is_admitted(by, labels=labelled(number), dryRun=True)
        gc.collect()
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 64 << 10


def test_a_plan_that_was_remembered_late_is_the_same_as_a_new_one() -> None:
    by = by_labels()
    for number in (0, 5, 7, 5):
        assert is_admitted(by, labels=labelled(number))
        for image, expected in (("trusted.io/app", True), ("evil.io/app", False)):
            assert is_admitted(by, image, labels=labelled(number)) is expected
            assert is_admitted(by_labels(), image, labels=labelled(number)) is expected


def test_parts_of_a_plan_in_a_trial_are_its_own_until_it_is_kept() -> None:
    cache = PlanCache()
    some = tuple(map(compile_policy, SELECTING))
    begin_trial()
    first = cache.plan_of_pod(some)
    assert cache.plan_of_pod(some) is first
    end_trial(keep=False)
    assert not cache.parts
    assert not cache.knows(some)
    begin_trial()
    second = cache.plan_of_pod(some)
    end_trial(keep=True)
    assert cache.plan_of_pod(some) is second
    assert cache.bytes > 0


def test_what_one_policy_allows_another_does_not(stores: Stores) -> None:
    for _ in range(3):
        assert is_admitted(policies(), "trusted.io/app")
    assert not is_admitted(policies(controls={"images": {"trustedRegistries": ["other.io"]}}), "trusted.io/app")
    assert not is_admitted(policies(controls={"images": {"requireDigest": True}}), "trusted.io/app")
    assert stores.allowed.bytes


def test_it_is_bounded_in_bytes() -> None:
    store: Remembered[str, int] = Remembered(10_000, lambda key, _: len(key))
    for number in range(1000):
        assert store.get(f"{number:0256}", int) == number
        assert store.bytes == 256 * len(store.known) <= 10_000
    store.add("x" * 20_000, 1)
    assert store.bytes <= 10_000


def test_a_trial_notes_a_bounded_number_of_values() -> None:
    store: Remembered[str, int] = Remembered(1 << 20, lambda key, _: len(key))
    begin_trial()
    assert [store.get(str(number), int) for number in range(2 * MAX_NOTED)] == [*range(2 * MAX_NOTED)]
    end_trial(keep=True)
    assert len(store.known) == MAX_NOTED


def test_long_images_and_invalid_quantities_are_not_remembered(stores: Stores) -> None:
    assert is_admitted(policies(), "trusted.io/" + "a/" * 120 + "a" * 6)
    assert not stores.allowed.known
    assert not stores.references.known
    with pytest.raises(QuantityError):
        parse_quantity("one")
    assert not stores.quantities.known
