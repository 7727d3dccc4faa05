"""Every field of `match` is read and explained, and it and every field of a waiver are in docs/policies.md."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from sekisho.admission.review import UserInfo
from sekisho.pods import ObjectMeta, Pod, PodSpec
from sekisho.policies import ClusterPodPolicy, PolicySet
from sekisho.policies.advice import advice
from sekisho.policies.matching import entries_of_match, mismatch
from sekisho.policies.selectors import Match, PodMatch
from sekisho.policies.waivers import PolicyWaiverSpec, WaiverMatch

PAGE = Path(__file__).parents[3] / "docs/policies.md"

# For each field a value that the pod below matches, and a near-twin that it does not match.
MATCHES: dict[str, tuple[Any, Any]] = {
    "namespaces": (["shop"], ["shop2"]),
    "excludeNamespaces": (["shop2"], ["shop"]),
    "namespaceSelector": ({"matchLabels": {"tier": "prod"}}, {"matchLabels": {"tier": "test"}}),
    "podSelector": ({"matchLabels": {"app": "web"}}, {"matchLabels": {"app": "db"}}),
    "excludeSubjects": ({"users": ["alice2"]}, {"users": ["alice"]}),
    "excludeRuntimeClasses": (["kata"], ["gvisor"]),
}
NOT_OF_THE_POD = {"excludeSubjects"}
"""Fields that users cannot meet by writing another pod."""
POD = Pod(ObjectMeta(labels={"app": "web"}), PodSpec(runtime_class_name="gvisor"))


def test_every_field_of_match_has_a_case() -> None:
    assert set(MATCHES) == set(Match.__struct_encode_fields__), "add a case to MATCHES"


@pytest.mark.parametrize("field", MATCHES)
def test_every_field_of_match_decides(field: str) -> None:
    for value, expected in zip(MATCHES[field], (True, False), strict=True):
        raw: Any = {"metadata": {"name": "p"}, "spec": {"match": {field: value}, "controls": {"privileged": {}}}}
        policies = PolicySet.of([msgspec.convert(raw, ClusterPodPolicy)])
        labels, user = {"tier": "prod"}, UserInfo(username="alice")
        assert bool(policies.plan("shop", labels, POD, user).steps) is expected, value
        match = msgspec.convert(raw["spec"]["match"], Match)
        assert (mismatch(match, "shop", labels, POD, user) is None) is expected, value


@pytest.mark.parametrize("field", PodMatch.__struct_encode_fields__)
def test_every_field_that_is_compared_with_a_pod_counts_as_an_entry(field: str) -> None:
    match = msgspec.convert({field: MATCHES[field][0]}, PodMatch)
    assert entries_of_match(match) > 0, "count it in entries_of_match"


@pytest.mark.parametrize("field", sorted({*PodMatch.__struct_encode_fields__} - NOT_OF_THE_POD))
def test_every_field_by_which_users_take_their_pods_out_of_a_policy_has_a_warning(field: str) -> None:
    spec = {"match": {field: MATCHES[field][0]}, "controls": {"privileged": {}}}
    policy = msgspec.convert({"metadata": {"name": "p"}, "spec": spec}, ClusterPodPolicy)
    warned = [text for text in advice(policy, PolicySet()) if text.startswith(f"spec.match.{field}: users choose")]
    assert len(warned) == 1, "warn in policies/advice.py, or say in NOT_OF_THE_POD that it is not about the pod"


@pytest.mark.parametrize("kind", [Match, PolicyWaiverSpec, WaiverMatch], ids=lambda kind: kind.__name__)
def test_every_field_is_documented(kind: type[Struct]) -> None:
    page = PAGE.read_text()
    assert [name for name in kind.__struct_encode_fields__ if name not in page] == [], "describe it in docs/policies.md"
