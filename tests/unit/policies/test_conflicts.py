"""Defaults that contradict each other, in policies that may be about the same pod."""

from itertools import product
from typing import Any

import msgspec
import pytest

from sekisho.globs import glob_matches, globs_meet
from sekisho.policies import ClusterPodPolicy, PodPolicy, compile_policy
from sekisho.policies.conflicts import (
    Conflicts,
    Field,
    _cached_pairs,
    _contrary,
    conflicts_between,
    defaulting_of,
    may_meet,
)
from sekisho.policies.status import MAX_CONFLICTS

ONE, TWO = ({"pod": {"securityContext": {"runAsUser": user}}} for user in (1000, 2000))


def cluster(name: str, defaults: Any = ONE, **match: Any) -> Any:
    spec = {"match": match, "defaults": defaults}
    policy = msgspec.convert({"metadata": {"name": name}, "spec": spec}, ClusterPodPolicy)
    return defaulting_of(policy, compile_policy(policy))


def namespaced(name: str, namespace: str, defaults: Any = ONE, **match: Any) -> Any:
    spec = {"match": match, "defaults": defaults}
    metadata = {"name": name, "namespace": namespace}
    policy = msgspec.convert({"metadata": metadata, "spec": spec}, PodPolicy)
    return defaulting_of(policy, compile_policy(policy))


def messages_between(one: Any, other: Any) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    return [
        ((ours.policy, ours.message), (theirs.policy, theirs.message)) for ours, theirs in conflicts_between(one, other)
    ]


def test_both_policies_say_which_value_is_applied() -> None:
    a, b = cluster("a"), cluster("b", TWO)
    of_a = ("b", "pods that both apply to get 1000, not 2000 of b")
    of_b = ("a", "pods that both apply to get 1000 of a, not 2000")
    assert messages_between(a, b) == [(of_a, of_b)]
    assert messages_between(b, a) == [(of_b, of_a)]
    [(ours, _)] = conflicts_between(a, b)
    assert ours.field == "spec.defaults.pod.securityContext.runAsUser"


@pytest.mark.parametrize(
    ("defaults", "conflicting"),
    [
        (ONE, []),
        ({"container": {"securityContext": {"runAsUser": 2000}}}, []),  # a container's own value is another field
        ({"pod": {"securityContext": {"runAsGroup": 2000}}}, []),
        ({"pod": {"automountServiceAccountToken": False}}, []),
        (TWO, ["spec.defaults.pod.securityContext.runAsUser"]),
        (TWO | {"container": {"securityContext": {"runAsUser": 1}}}, ["spec.defaults.pod.securityContext.runAsUser"]),
    ],
)
def test_only_another_value_for_the_same_field_is_a_conflict(defaults: Any, conflicting: list[str]) -> None:
    assert [ours.field for ours, _ in conflicts_between(cluster("a"), cluster("b", defaults))] == conflicting


def test_a_profile_may_conflict_with_a_value() -> None:
    profile = cluster("a", {"profile": "restricted"})
    drops = cluster("b", {"container": {"securityContext": {"capabilities": {"drop": ["NET_RAW"]}}}})
    [(ours, theirs)] = conflicts_between(profile, drops)
    assert ours.field == theirs.field == "spec.defaults.container.securityContext.capabilities"
    assert '{"drop":["ALL"]} of a, not {"drop":["NET_RAW"]}' in theirs.message


def test_cluster_default_overrides_a_namespaces_for_pod_and_containers() -> None:
    of_cluster, own = cluster("z"), namespaced("a", "shop", {"container": {"securityContext": {"runAsUser": 7}}})
    [(ours, theirs)] = conflicts_between(of_cluster, own)
    assert ours.message == "pods that both apply to get 1000, not 7 of shop/a"
    assert (theirs.field, theirs.policy) == ("spec.defaults.container.securityContext.runAsUser", "z")


SELECTED = {"matchLabels": {"app": "x"}}
OTHERWISE = {"matchLabels": {"app": "y"}}
MEETINGS: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {}, True),
    ({"namespaces": ["a"]}, {}, True),
    ({"namespaces": ["a"]}, {"namespaces": ["b"]}, False),
    ({"namespaces": ["a", "b"]}, {"namespaces": ["b"]}, True),
    ({"namespaces": ["team-*"]}, {"namespaces": ["team-a"]}, True),
    ({"namespaces": ["team-*"]}, {"namespaces": ["team"]}, False),
    ({"namespaces": ["team-*"]}, {"namespaces": ["*-prod"]}, True),
    ({"namespaces": ["team-*"]}, {"namespaces": ["prod-*"]}, False),
    ({"namespaces": ["a"]}, {"excludeNamespaces": ["a"]}, False),
    ({"namespaces": ["a"]}, {"excludeNamespaces": ["b"]}, True),
    ({"namespaces": ["a-*"]}, {"excludeNamespaces": ["a-*"]}, True),  # more is not tried to find out
    ({"namespaceSelector": SELECTED}, {"namespaceSelector": OTHERWISE}, False),
    ({"namespaceSelector": SELECTED}, {"namespaceSelector": SELECTED}, True),
    ({"namespaceSelector": SELECTED}, {"podSelector": OTHERWISE}, True),
    ({"podSelector": SELECTED}, {"podSelector": OTHERWISE}, False),
]


@pytest.mark.parametrize(("one", "other", "meets"), MEETINGS)
def test_policies_may_apply_to_one_pod_unless_their_matches_exclude_it(one: Any, other: Any, meets: bool) -> None:
    a, b = cluster("a", **one), cluster("b", TWO, **other)
    assert may_meet(a, b) is may_meet(b, a) is meets
    assert bool(messages_between(a, b)) is meets


def test_pod_policies_apply_together_in_their_own_namespace() -> None:
    own = namespaced("p", "shop", TWO)
    for other, meets in (
        (namespaced("q", "shop"), True),
        (namespaced("q", "pay"), False),
        (cluster("q", namespaces=["sh*"]), True),
        (cluster("q", excludeNamespaces=["shop"]), False),
        (namespaced("q", "shop", podSelector=SELECTED), True),
    ):
        assert bool(messages_between(own, other)) is meets


GLOBS = ("", "a", "ab", "*", "a*", "*b", "a*b", "b*", "*a*", "**", "a*a", "*ab*ba*")
TEXTS = ["".join(letters) for length in range(7) for letters in product("ab", repeat=length)]


def test_patterns_overlap_if_a_text_matches_both() -> None:
    for one in GLOBS:
        for other in GLOBS:
            overlaps = any(glob_matches(one, text) and glob_matches(other, text) for text in TEXTS)
            assert globs_meet(one, other) is overlaps, (one, other)


def test_conflicts_follow_added_changed_and_deleted_policies() -> None:
    book = Conflicts()
    book.update("1", cluster("a"))
    book.update("2", cluster("b", TWO))
    assert [[conflict.policy for conflict in book.of(key)] for key in "12"] == [["b"], ["a"]]
    book.update("3", cluster("c", TWO))
    assert [[conflict.policy for conflict in book.of(key)] for key in "123"] == [["b", "c"], ["a"], ["a"]]
    book.update("1", cluster("a", TWO))
    assert [book.of(key) for key in "123"] == [(), (), ()]
    book.update("2", cluster("b", ONE, namespaces=["x"]))
    assert [[conflict.policy for conflict in book.of(key)] for key in "123"] == [["b"], ["a", "c"], ["b"]]
    book.update("2", None)
    book.update("never-there", None)
    assert [book.of(key) for key in "1234"] == [(), (), (), ()]


def test_policies_of_other_namespaces_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bool] = []

    def count(fields: tuple[Field, ...], others: tuple[Field, ...], across: bool) -> tuple[tuple[Field, Field], ...]:
        compared.append(across)
        return _contrary(fields, others, across)

    monkeypatch.setattr("sekisho.policies.conflicts._contrary", count)
    conflicts = Conflicts()
    for number in range(200):
        user = {"pod": {"securityContext": {"runAsUser": 1000 + number}}}
        conflicts.update(str(number), namespaced("p", f"ns-{number}", user))
    assert [conflicts.of(str(number)) for number in range(200)] == [()] * 200
    assert len(compared) <= 200  # each with its own group only
    conflicts.update("own", namespaced("q", "ns-7", TWO))
    conflicts.update("cluster", cluster("q", TWO))
    assert [conflict.policy for conflict in conflicts.of("7")] == ["q", "ns-7/q"]
    assert len(compared) < 1000


def test_conflicts_of_a_policy_are_bounded_and_in_the_order_of_names() -> None:
    book = Conflicts()
    for number in reversed(range(100)):
        book.update(str(number), cluster(f"p-{number:02}", {"pod": {"securityContext": {"runAsUser": number}}}))
    assert [conflict.policy for conflict in book.of("50")] == [f"p-{number:02}" for number in range(MAX_CONFLICTS)]


@pytest.mark.parametrize(("length", "is_kept"), [(10, True), (1024, False)])
def test_old_versions_of_long_defaults_are_not_kept(length: int, *, is_kept: bool) -> None:
    def annotated(value: str) -> Any:
        return {"pod": {"annotations": {"a": value}}}

    _cached_pairs.cache_clear()
    conflicts = Conflicts()
    conflicts.update("cluster", cluster("all", annotated("other")))
    for version in "abc":
        conflicts.update("own", namespaced("p", "shop", annotated(version * length)))
        assert [conflict.policy for conflict in conflicts.of("own")] == ["all"]
    assert (_cached_pairs.cache_info().currsize > 0) is is_kept
