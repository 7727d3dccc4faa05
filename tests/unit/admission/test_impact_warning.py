"""A user who makes a policy deny is warned about running pods that it would deny, by the policy's status alone."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sekisho.admission.policy_review import decode_policy_review, review_policy
from sekisho.policies import PolicySet
from tests.reviews import review_body

Json = dict[str, Any]

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
IMPACT: Json = {
    "observedGeneration": 4,
    "pods": 10_000,
    "violating": 3_000,
    "wouldBeDenied": 2_000,
    "owners": 80,
    "idleTemplates": 3,
    "examples": [{"owner": f"Deployment team-{n}/d{n}", "pods": 25, "controls": ["privileged"]} for n in range(2)],
}
WARNING = (
    'policy "p" denies 2,000 of 10,000 running pods when they are created again: Deployment team-0/d0, Deployment '
    "team-1/d1 and 81 more"
)
AUDITING: Json = {"enforcement": "Audit", "controls": {"privileged": {}}}
DENYING: Json = {"enforcement": "Deny", "controls": {"privileged": {}}}


def warnings(old: Json | None, new: Json, status: object, kind: str = "ClusterPodPolicy") -> list[str]:
    """The warnings of a change; `old` is None for a new policy."""
    meta = {"name": "p", "generation": 4} | ({"namespace": "shop"} if kind == "PodPolicy" else {})
    head: Json = {"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": meta, "status": status}
    body = review_body(
        {**head, "spec": new},
        None if old is None else {**head, "spec": old},
        kind={"group": "sekisho.dev", "version": "v1alpha1", "kind": kind},
        name="p",
    )
    outcome = review_policy(decode_policy_review(body), PolicySet.of([]), NOW, timedelta(days=90))
    response = json.loads(outcome.response)["response"]
    assert response["allowed"]
    texts: list[str] = response.get("warnings", [])
    return texts


@pytest.mark.parametrize("enforcement", ["Audit", "Warn"])
def test_policy_that_denies_from_now_on_says_whose_pods(enforcement: str) -> None:
    assert warnings({**AUDITING, "enforcement": enforcement}, DENYING, {"impact": IMPACT}) == [WARNING]


def test_enforcement_that_is_left_out_is_deny() -> None:
    assert warnings(AUDITING, {"controls": {"privileged": {}}}, {"impact": IMPACT}) == [WARNING]
    assert warnings({"controls": {"hostPorts": {}}}, DENYING, {"impact": IMPACT}) == []


def test_pod_policy_is_named_with_its_namespace() -> None:
    (warning,) = warnings(AUDITING, DENYING, {"impact": IMPACT}, "PodPolicy")
    assert warning.startswith('policy "shop/p" denies 2,000 of 10,000 running pods')


def test_older_audit_is_said_to_be_older() -> None:
    (warning,) = warnings(AUDITING, DENYING, {"impact": IMPACT | {"observedGeneration": 3}})
    assert "when they are created again, as of generation 3: Deployment" in warning


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"audited": 1_700}, "1,700 requests in the last hour"),
        ({"warnings": 1}, "1 request in the last hour"),
        ({"warnings": 2, "audited": 3}, "5 requests in the last hour"),
    ],
)
def test_requests_of_the_last_hour_are_named_also_where_nothing_runs(counts: Json, text: str) -> None:
    warning = f'policy "p" denies what it warned about or audited: {text}'
    assert warnings(AUDITING, DENYING, counts) == [warning]
    assert warnings(AUDITING, DENYING, counts | {"impact": IMPACT}) == [WARNING, warning]
    assert warnings(None, DENYING, counts) == []
    assert warnings(AUDITING, DENYING, {"denials": 5, "warnings": 0}) == []


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (DENYING, {**DENYING, "controls": {"hostPorts": {}}}, {"impact": IMPACT}),
        (AUDITING, {**AUDITING, "enforcement": "Warn"}, {"impact": IMPACT}),
        (None, DENYING, {"impact": IMPACT}),
        (AUDITING, DENYING, {}),
        (AUDITING, DENYING, None),
        (AUDITING, DENYING, {"impact": None}),
        (AUDITING, DENYING, {"impact": {"pods": "many"}}),
        (AUDITING, DENYING, {"impact": IMPACT | {"wouldBeDenied": 0, "owners": 0, "idleTemplates": 0}}),
    ],
)
def test_nothing_is_said_without_an_audit_or_without_pods(old: Json | None, new: Json, status: object) -> None:
    assert warnings(old, new, status) == []
