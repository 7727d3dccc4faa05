"""Updates of objects that are over a bound: those pass that change nothing that policies judge, so that they can be
deleted."""

import copy
from typing import Any, Final

import msgspec
import pytest
from msgspec import structs

from sekisho import admission
from sekisho.admission import Decision, unchanged
from sekisho.admission.bounds import MAX_CONTAINERS, MAX_OBJECTS, MAX_OF_METADATA, MAX_STRING_LENGTH
from sekisho.admission.unchanged import is_unchanged
from sekisho.pods import ObjectMeta, PodSpec, WorkloadSpec
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.pods import restricted_pod
from tests.reviews import DEPLOYMENT, DEPLOYMENTS, review_body
from tests.worst.judging import EVERYTHING

POLICIES: Final = PolicySet.of(
    [msgspec.convert({"metadata": {"name": "p"}, "spec": {"controls": {"privileged": {}}}}, ClusterPodPolicy)]
)
META: Final = {"name": "old", "namespace": "shop", "labels": {"a": "b"}, "finalizers": ["example.com/x"]}
FINALIZED: Final = META | {"finalizers": [], "deletionTimestamp": "2026-11-27T00:00:00Z"}


def pod(containers: int = 1, metadata: dict[str, Any] = META, **spec: Any) -> dict[str, Any]:
    listed = [{"name": f"c{number}", "image": "x"} for number in range(containers)]
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"containers": listed} | spec}


def deployment(containers: int = 1, metadata: dict[str, Any] = META, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {}, "spec": pod(containers)["spec"]}
    return {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": metadata, "spec": spec | {"template": template}}


OF_DEPLOYMENT: Final[dict[str, Any]] = {"kind": DEPLOYMENT, "resource": DEPLOYMENTS}


def decisions(new: Any, old: Any, **request: Any) -> set[Decision]:
    review = admission.decode(review_body(new, old, **request))
    return {admission.validate(review, POLICIES, {}).decision, admission.mutate(review, POLICIES, {}).decision}


OVER: Final = {
    "containers": pod(MAX_CONTAINERS + 1),
    "a long string": pod(priorityClassName="x" * (MAX_STRING_LENGTH + 1)),
    "labels": pod(metadata=META | {"labels": {f"k{number}": "" for number in range(MAX_OF_METADATA + 1)}}),
    "objects, so many that the review is not decoded": pod(readinessGates=[{}] * MAX_OBJECTS),
}


@pytest.mark.parametrize("old", OVER.values(), ids=OVER)
def test_finalizers_of_a_pod_over_a_bound_can_be_removed_and_labels_cannot_be_changed(old: dict[str, Any]) -> None:
    metadata = old["metadata"]
    finalized = old | {"metadata": metadata | {"finalizers": [], "deletionTimestamp": "2026-11-27T00:00:00Z"}}
    assert decisions(finalized, old) == {Decision.ALLOW}
    relabelled = finalized | {"metadata": finalized["metadata"] | {"labels": metadata["labels"] | {"more": ""}}}
    assert decisions(relabelled, old) == {Decision.ERROR}
    assert decisions(old, None) == {Decision.ERROR}


CHANGES: Final[dict[str, tuple[dict[str, Any], bool, bool]]] = {
    "nothing": ({}, True, True),
    "status": ({"status": {"phase": "Failed"}}, True, True),
    "finalizers": ({"metadata": FINALIZED}, True, True),
    "owners": ({"metadata": META | {"ownerReferences": []}}, True, False),
    "annotations": ({"metadata": META | {"annotations": {"a": "b"}}}, False, False),
    "replicas": ({"spec": {"replicas": 0}}, False, True),
    "the template": ({"spec": {"template": {"metadata": {}, "spec": pod(MAX_CONTAINERS + 2)["spec"]}}}, False, False),
    "the template of a PodTemplate": ({"template": {"spec": {}}}, False, False),
}
"""What changes, and whether a pod and a Deployment over a bound may be updated so."""


@pytest.mark.parametrize(("change", "of_pod", "of_deployment"), CHANGES.values(), ids=CHANGES)
def test_only_changes_of_what_no_policy_judges_pass(
    change: dict[str, Any], *, of_pod: bool, of_deployment: bool
) -> None:
    for old, passes, request in (
        (pod(MAX_CONTAINERS + 1), of_pod, {}),
        (deployment(MAX_CONTAINERS + 1, replicas=3), of_deployment, OF_DEPLOYMENT),
    ):
        new = copy.deepcopy(old) | {key: value for key, value in change.items() if key != "spec"}
        new["spec"] |= change.get("spec", {})
        assert decisions(new, old, **request) == {Decision.ALLOW if passes else Decision.ERROR}


def test_an_update_with_a_duplicate_key_does_not_pass() -> None:
    old = pod(MAX_CONTAINERS + 1)
    body = review_body(old, old)
    assert is_unchanged(body)
    for text in (b'"finalizers"', b'"spec"', b'"object"'):
        assert not is_unchanged(body.replace(text, text + b":1," + text, 1))


def test_a_body_that_would_hold_up_others_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    body = review_body(pod(600), pod(600))
    assert is_unchanged(body)
    monkeypatch.setattr(unchanged, "MAX_PARTS", 600)
    assert not is_unchanged(body)


def test_an_object_that_is_not_judged_at_all_does_not_pass() -> None:
    node = {"kind": {"group": "", "version": "v1", "kind": "Node"}, "resource": {"group": "", "resource": "nodes"}}
    assert decisions(pod(MAX_CONTAINERS + 1), pod(MAX_CONTAINERS + 1), **node) == {Decision.ERROR}


def test_what_passes_unjudged_would_have_passed_every_policy() -> None:
    strict = PolicySet.of([msgspec.convert(EVERYTHING, ClusterPodPolicy)])
    bad = pod(2, hostNetwork=True, securityContext={"runAsUser": 0})
    bad["status"] = {}
    for key in (*unchanged.MAY_CHANGE, unchanged.OWNERS):
        value: Any = {"finalizers": [], "generation": 2, "deletionGracePeriodSeconds": 0}.get(key, "x")
        metadata = META | {key: [] if key in (unchanged.OWNERS, "managedFields") else value}
        body = review_body(bad | {"metadata": metadata}, bad)
        assert is_unchanged(body)
        review = admission.decode(body)
        assert not review.is_unchanged
        assert admission.validate(review, strict, {}).decision is Decision.ALLOW
    assert admission.validate(admission.decode(review_body(bad)), strict, {}).decision is Decision.DENY


def test_all_that_judging_reads_is_compared() -> None:
    read = {field.encode_name for field in structs.fields(ObjectMeta)}
    assert read & unchanged.MAY_CHANGE == set()
    assert unchanged.OWNERS in read
    of_pod = {field.encode_name for field in structs.fields(PodSpec)}
    assert {field.encode_name for field in structs.fields(WorkloadSpec)} - of_pod == set(unchanged.TEMPLATES)


def test_where_only_the_old_object_is_over_a_bound_the_new_one_is_judged_whole() -> None:
    old = OVER["labels"]
    assert decisions(restricted_pod(), old) == {Decision.ALLOW}
    bad = pod(securityContext={})
    bad["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    assert decisions(bad, bad) == {Decision.ALLOW}
    assert decisions(bad, bad | {"metadata": old["metadata"]}) == {Decision.DENY, Decision.ALLOW}


def test_a_workload_over_a_bound_can_be_changed_to_one_within_it() -> None:
    assert decisions(deployment(1), deployment(MAX_CONTAINERS + 1), **OF_DEPLOYMENT) == {Decision.ALLOW}
    assert decisions(deployment(MAX_CONTAINERS + 1), deployment(1), **OF_DEPLOYMENT) == {Decision.ERROR}
