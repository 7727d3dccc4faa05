"""Reviews of policies and waivers: what is denied, with all its problems, and what passes."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from sekisho.admission import MalformedReviewError
from sekisho.admission.policy_review import MAX_ENTRIES, decode_policy_review, review_policy
from sekisho.policies import ClusterPodPolicy, PolicySet
from sekisho.policies.idle import REQUIRES_NOTHING
from tests.reviews import UID, review_body

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MAX_LENGTH = timedelta(days=90)
IN_FORCE = PolicySet.of(
    [
        msgspec.convert({"metadata": {"name": name}, "spec": spec}, ClusterPodPolicy)
        for name, spec in {
            "restricted": {"podSecurityStandard": {"level": "restricted"}},
            "by-labels": {"podSecurityStandard": {"fromNamespaceLabels": True}},
        }.items()
    ]
)


def answered(
    spec: Any, kind: str = "ClusterPodPolicy", old: Any = None, labels: Any = None, **request: Any
) -> dict[str, Any]:
    def thing(of: Any) -> dict[str, Any]:
        meta = {"name": "p", "namespace": "shop"} if kind == "PodPolicy" else {"name": "p"}
        return {"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": meta | {"labels": labels}, "spec": of}

    body = review_body(
        thing(spec),
        None if old is None else thing(old),
        **{"kind": {"group": "sekisho.dev", "version": "v1alpha1", "kind": kind}, "name": "p"} | request,
    )
    outcome = review_policy(decode_policy_review(body), IN_FORCE, NOW, MAX_LENGTH)
    answer = json.loads(outcome.response)
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert answer["response"]["allowed"] is not bool(outcome.problems)
    response: dict[str, Any] = answer["response"]
    return response


def waiver(**spec: Any) -> dict[str, Any]:
    texts = {"policies": ["restricted"], "controls": ["privileged"], "expires": "2026-12-01T00:00:00Z", "reason": "x"}
    return texts | {"match": {"namespaces": ["shop"]}} | spec


BROKEN = {"controls": {"images": {"trustedRegistries": ["acme/web"]}, "hostPorts": {"allowed": [{"min": 9, "max": 8}]}}}
GOOD = {"podSecurityStandard": {"level": "restricted"}}


def test_everything_that_is_wrong_is_reported_at_once_with_its_field() -> None:
    response = answered(BROKEN | {"match": {"namespaces": ["a"], "excludeNamespaces": ["a"]}})
    assert response["status"]["code"] == 422
    assert response["status"]["reason"] == "Invalid"
    assert response["status"]["details"]["kind"] == "ClusterPodPolicy"
    assert [cause["field"] for cause in response["status"]["details"]["causes"]] == [
        "spec.match.namespaces[0]",
        "spec.controls.hostPorts.allowed[0]",
        "spec.controls.images.trustedRegistries[0]",
    ]
    assert "spec.controls.hostPorts.allowed[0]: min 9 is above max 8; " in response["status"]["message"]


@pytest.mark.parametrize("kind", ["ClusterPodPolicy", "PodPolicy"])
def test_good_policy_passes_without_output(kind: str) -> None:
    assert answered(GOOD, kind) == {"uid": UID, "allowed": True}
    assert answered(GOOD, kind, old=BROKEN) == {"uid": UID, "allowed": True}


def test_an_update_that_keeps_an_invalid_spec_passes() -> None:
    assert answered(BROKEN, old=BROKEN, labels={"a": "b"})["allowed"]
    assert not answered(BROKEN, old=GOOD)["allowed"]
    over = waiver(expires="2020-01-01T00:00:00Z")
    assert answered(over, "PolicyWaiver", old=over, labels={"a": "b"})["allowed"]


@pytest.mark.parametrize("operation", ["DELETE", "CONNECT"])
def test_deleting_passes(operation: str) -> None:
    assert answered(BROKEN, operation=operation, object=None, oldObject=None)["allowed"]


EXPIRES = [
    ("2026-12-01T00:00:00Z", ""),
    ("2026-11-25T12:00:01Z", ""),
    ("2027-02-23T12:00:00Z", ""),
    ("2026-11-25T12:00:00Z", "2026-11-25T12:00:00Z is not in the future"),
    ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z is not in the future"),
    (
        "2027-02-23T12:00:01Z",
        "2027-02-23T12:00:01Z is too late: the latest is 90 days from now, 2027-02-23T12:00:00Z",
    ),
]


@pytest.mark.parametrize(("expires", "said"), EXPIRES)
def test_a_new_waiver_ends_in_the_time_to_come_and_not_too_late(expires: str, said: str) -> None:
    response = answered(waiver(expires=expires), "PolicyWaiver")
    assert response.get("status", {}).get("message", "") == (f"spec.expires: {said}" if said else "")


CHANGED = [
    ({"expires": "2020-01-01T00:00:00Z"}, True),  # ended at once
    ({"expires": "2029-01-01T00:00:00Z"}, False),
    ({"reason": "y"}, True),
]


@pytest.mark.parametrize(("changed", "allowed"), CHANGED)
def test_a_waiver_may_be_ended_and_not_prolonged_beyond_the_longest(changed: dict[str, str], *, allowed: bool) -> None:
    assert answered(waiver() | changed, "PolicyWaiver", old=waiver())["allowed"] is allowed
    over = waiver(expires="2026-01-01T00:00:00Z")
    assert answered(over | changed, "PolicyWaiver", old=over)["allowed"] is allowed


REPLICA_SETS = "kube-system/replicaset-controller"
WARNED = [
    ("PolicyWaiver", waiver(), []),
    ("PolicyWaiver", waiver(policies=["by-labels"], controls=["images"]), []),
    (
        "PolicyWaiver",
        waiver(policies=["restrictd"]),
        ["spec.policies[0]: no policy 'restrictd' is in effect; did you mean restricted?"],
    ),
    (
        "PolicyWaiver",
        waiver(controls=["images"]),
        ["spec.controls[0]: none of these policies has images in effect: restricted"],
    ),
    (
        "PolicyWaiver",
        waiver(controls=["hostNamespaces"], match={"images": ["quay.io/x"]}),
        [
            "spec.controls[0]: hostNamespaces checks the pod as a whole, and a waiver with images or containers does "
            "not apply to that; select the pods by podSelector instead"
        ],
    ),
    (
        "PolicyWaiver",
        waiver(match={}),
        ["spec.match: sets neither namespaces nor images, so everyone who may create pods anywhere can use it"],
    ),
    ("PolicyWaiver", waiver(match={"images": ["quay.io/x"]}), []),
    (
        "ClusterPodPolicy",
        {},
        [REQUIRES_NOTHING],
    ),
    (
        "PodPolicy",
        GOOD | {"match": {"excludeSubjects": {"serviceAccounts": ["kube-system/x", REPLICA_SETS]}}},
        [
            "spec.match.excludeSubjects.serviceAccounts[1]: kube-system/replicaset-controller creates the pods of "
            "every ReplicaSet and Deployment; the policy will not apply to them"
        ],
    ),
    (
        "ClusterPodPolicy",
        GOOD | {"match": {"excludeSubjects": {"groups": ["system:serviceaccounts"]}}},
        [
            "spec.match.excludeSubjects.groups[0]: system:serviceaccounts includes the controllers that create "
            "nearly all pods; the policy will apply to few"
        ],
    ),
    (
        "ClusterPodPolicy",
        {
            "podSecurityStandard": {"level": "restricted"},
            "controls": {"capabilities": {"allowedAdd": ["NET_ADMIN"]}},
        },
        [
            "spec.controls.capabilities.allowedAdd: replaces a list that also allows NET_BIND_SERVICE; use "
            "additionalAllowedAdd to add to it"
        ],
    ),
    (
        "ClusterPodPolicy",
        {
            "podSecurityStandard": {"level": "restricted"},
            "controls": {"capabilities": {"additionalAllowedAdd": ["NET_ADMIN"]}},
        },
        [],
    ),
    (
        "ClusterPodPolicy",
        {"podSecurityStandard": {"level": "restricted"}, "controls": {"capabilities": {"allowedAdd": []}}},
        [],
    ),
    (
        "ImageAuthority",
        {"keys": [{"secret": {"name": "old"}, "until": "2020-01-01T00:00:00Z"}, {"secret": {"name": "new"}}]},
        ["spec.keys[0].until: 2020-01-01T00:00:00Z is not in the future, so signatures by this key do not count"],
    ),
    (
        "ImageAuthority",
        {"keys": [{"secret": {"name": "old"}, "until": "2999-01-01T00:00:00Z"}, {"secret": {"name": "new"}}]},
        [],
    ),
]


@pytest.mark.parametrize(("kind", "spec", "warnings"), WARNED)
def test_likely_mistake_is_a_warning(kind: str, spec: dict[str, Any], warnings: list[str]) -> None:
    response = answered(spec, kind)
    assert response["allowed"]
    assert response.get("warnings", []) == warnings


def test_more_unknown_fields_than_anybody_reads_are_not_all_looked_up() -> None:
    status = answered({"controls": {f"previleged{number}": {} for number in range(19_000)}})["status"]
    assert len(status["details"]["causes"]) == 100
    assert len(status["message"]) <= 8 * 1024


@pytest.mark.parametrize("kind", ["ClusterPodPolicy", "PodPolicy", "PolicyWaiver", "ImageAuthority"])
def test_an_object_with_more_entries_than_any_policy_has_is_not_decoded(kind: str) -> None:
    too_many = {f"k{number}": "" for number in range(MAX_ENTRIES + 2)}
    message = answered({"unknown": too_many}, kind)["status"]["message"]
    assert message == "has more than 40,000 entries in its lists and objects"
    assert answered(GOOD, kind, old={"unknown": too_many})["status"]["message"] == message
    fewer = {f"k{number}": "" for number in range(MAX_ENTRIES - 100)}
    assert "spec.unknown: unknown field" in answered({"unknown": fewer}, kind)["status"]["message"]


def test_many_entries_beside_the_spec_cause_no_denial() -> None:
    labels = {f"k{number}": "" for number in range(MAX_ENTRIES - 100)}
    assert answered(GOOD, labels=labels) == {"uid": UID, "allowed": True}


def test_a_field_that_this_version_does_not_know_is_denied() -> None:
    message = answered({"controls": {"fromTheFuture": {}, "previleged": {}}})["status"]["message"]
    assert message == (
        "spec.controls.fromTheFuture: unknown field; spec.controls.previleged: unknown field; did you mean privileged?"
    )


@pytest.mark.parametrize(
    "kind", [{"group": "", "version": "v1", "kind": "Pod"}, {"group": "evil.dev", "kind": "ClusterPodPolicy"}, {}]
)
def test_other_kinds_are_denied(kind: dict[str, str]) -> None:
    body = review_body({"spec": GOOD}, kind=kind)
    outcome = review_policy(decode_policy_review(body), IN_FORCE, NOW, MAX_LENGTH)
    assert not json.loads(outcome.response)["response"]["allowed"]
    assert "Sekisho reviews its own kinds here" in str(outcome.problems[0])


@pytest.mark.parametrize("thing", [None, [], "x", {}, {"spec": None}, {"spec": []}, {"spec": {}}])
def test_object_that_is_not_a_policy_is_denied(thing: Any) -> None:
    assert not answered(GOOD, object=thing)["allowed"]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"kind":"AdmissionReview"}', b"\xff", b"[" * 100_000])
def test_body_that_is_not_a_review_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedReviewError):
        decode_policy_review(body)
