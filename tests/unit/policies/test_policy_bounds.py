"""What a policy or a waiver can cost when it is applied is bounded."""

import gc
import tracemalloc
from random import Random
from time import process_time, thread_time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.images import PatternIndex, RegistryPattern
from sekisho.pods import ObjectMeta, Pod
from sekisho.policies import (
    ClusterPodPolicy,
    ImageAuthority,
    PodPolicy,
    PolicySet,
    PolicyWaiver,
    compile_policy,
    plans,
    waiver_index,
)
from sekisho.policies.advice import advice
from sekisho.policies.compilation import CompiledPolicy
from sekisho.policies.limits import MAX_COST, MAX_POD_POLICIES, limit_problems
from sekisho.policies.loading import verify
from sekisho.policies.schemas import unknown_fields
from sekisho.spelling import did_you_mean


def cluster_policy(name: str, **spec: Any) -> ClusterPodPolicy:
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, ClusterPodPolicy)


# Unknown names in a waiver.


def test_unknown_policies_of_a_waiver_take_bounded_time() -> None:
    policies = PolicySet.of([cluster_policy(f"team-{number:04}-requirements") for number in range(1000)])
    spec = {
        "policies": [f"taem-{number:04}-requirement" for number in range(64)],
        "controls": ["privileged"],
        "expires": "2999-01-01T00:00:00Z",
        "reason": "x",
        "match": {"namespaces": ["a"]},
    }
    waiver = msgspec.convert({"metadata": {"name": "w"}, "spec": spec}, PolicyWaiver)
    started = process_time()
    warnings = advice(waiver, policies)
    assert process_time() - started < 0.2
    assert len(warnings) == 64
    assert "did you mean team-0000-requirements?" in warnings[0]
    assert "did you mean" not in warnings[-1]


# Dry runs of policies.


def test_a_policy_that_is_only_reviewed_leaves_nothing_behind() -> None:
    def review(number: int) -> None:
        patterns = [f"r{number}-{index}.io/{'a' * 400}" for index in range(256)]
        policy = {"metadata": {"name": "p"}, "spec": {"controls": {"images": {"trustedRegistries": patterns}}}}
        verify(msgspec.convert(policy, ClusterPodPolicy))

    review(0)
    tracemalloc.start()
    try:
        for number in range(1, 20):
            review(number)
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 200_000


def test_policies_that_require_the_same_share_the_check() -> None:
    same = [compile_policy(cluster_policy(name, controls={"hostPorts": {"allowed": []}})) for name in ("a", "b")]
    other = compile_policy(cluster_policy("c", controls={"hostPorts": {"allowed": [{"min": 1, "max": 2}]}}))
    [one], [also], [different] = (policy.rules for policy in (*same, other))
    assert one.check is also.check
    assert one.check is not different.check


def test_a_long_name_gets_no_suggestion() -> None:
    assert did_you_mean("privilegd", ["privileged"]) == "; did you mean privileged?"
    assert did_you_mean("privilegd" * 100_000, ["privileged" * 100_000]) == ""


def test_suggestions_take_little_time_whatever_the_names_are() -> None:
    known = [f"{'ab' * 60}{number:b}".replace("1", "a").replace("0", "b") for number in range(256)]
    started = thread_time()
    did_you_mean("ba" * 32, known)
    did_you_mean("ba" * 60, known)
    assert thread_time() - started < 0.05


def test_the_closest_of_many_names_is_suggested() -> None:
    known = [f"team-{number}-restricted" for number in range(200)]
    assert did_you_mean("team-17-restrictd", known) == "; did you mean team-17-restricted?"


def test_only_the_first_unknown_fields_get_a_suggestion() -> None:
    policy: dict[str, Any] = {"spec": {"controls": {f"privileged{number}": {} for number in range(100)}}}
    messages = [message for _, message in unknown_fields(policy, "ClusterPodPolicy")]
    assert messages[0] == "unknown field; did you mean privileged?"
    assert messages[8:] == ["unknown field"] * 92


def test_unknown_fields_of_very_many_items_get_no_more_suggestions_together() -> None:
    rules = [{"image": ["registry.example.com"]} for _ in range(1000)]
    policy: dict[str, Any] = {"spec": {"controls": {"images": {"signatures": rules}}}}
    messages = [message for _, message in unknown_fields(policy, "ClusterPodPolicy")]
    assert len(messages) == 1000
    assert messages[8:] == ["unknown field"] * 992


def test_unknown_authorities_of_a_policy_take_bounded_time() -> None:
    names = [f"{number:09b}".replace("1", "a").replace("0", "b") * 2 for number in range(512)]
    rules = [{"images": ["r.io"], "by": {"anyOf": names[at : at + 16]}} for at in range(0, 480, 16)]
    keyless = {"issuer": "https://ci.example.com", "identities": ["https://ci.example.com/web"]}
    known = [{"metadata": {"name": f"{name}a"}, "spec": {"keyless": keyless}} for name in names[::16]]
    policies = PolicySet.of(msgspec.convert(one, ImageAuthority) for one in known)
    policy = pod_policy("own", "shop", images={"signatures": rules})
    advice(policy, policies)  # loads difflib
    started = thread_time()
    warnings = advice(policy, policies)
    assert thread_time() - started < 0.05
    unknown = [warning for warning in warnings if "there is no ImageAuthority" in warning]
    assert len(unknown) == 480
    assert ["did you mean" in warning for warning in unknown] == [True] * 2 + [False] * 478


# Trusted and denied registries.

SEGMENTS = st.lists(st.sampled_from(["a", "b", "*", "a*"]), min_size=1, max_size=4).map(tuple)


@given(st.lists(SEGMENTS, max_size=6), SEGMENTS)
def test_the_index_finds_the_first_containing_pattern(patterns: list[tuple[str, ...]], other: tuple[str, ...]) -> None:
    expected = [
        place
        for place, pattern in enumerate(patterns)
        if len(pattern) <= len(other)
        and all(mine in (theirs, "*") for mine, theirs in zip(pattern, other, strict=False))
    ]
    first = PatternIndex([RegistryPattern(pattern) for pattern in patterns]).containing(RegistryPattern(other))
    assert first == (expected[0] if expected else None)


def test_a_stored_policy_takes_little_more_memory_than_its_bytes() -> None:
    def stored(number: int) -> tuple[CompiledPolicy, int]:
        patterns = [f"p{number}-{index}.io/{'a' * 480}" for index in range(256)]
        policy = cluster_policy(f"p{number}", controls={"images": {"trustedRegistries": patterns}})
        return compile_policy(policy), sum(map(len, patterns))

    stored(0)
    tracemalloc.start()
    try:
        held = [stored(number) for number in range(1, 11)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 3 * sum(size for _, size in held)


def test_many_long_patterns_compile_in_bounded_time() -> None:
    def patterns(last: str) -> list[str]:
        return [f"r.io/{'a/' * 230}{last}{number:03}" for number in range(256)]

    policy = cluster_policy(
        "p", controls={"images": {"trustedRegistries": patterns("t"), "deniedRegistries": patterns("d")}}
    )
    started = process_time()
    compile_policy(policy)
    assert process_time() - started < 0.5


# Plans of policies that select pods by label.


def test_plans_of_random_labels_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MAX_BYTES", 1 << 20)
    policies = PolicySet.of(
        [
            cluster_policy(
                f"p{number:02}",
                podSecurityStandard={"level": "restricted"},
                match={"podSelector": {"matchLabels": {f"l{number}": "x"}}},
            )
            for number in range(20)
        ]
    )
    chance = Random(7)  # noqa: S311 - not a secret
    policies.plan("a", None, Pod())
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            labels = {f"l{number}": "x" for number in range(20) if chance.random() < 0.5}
            policies.plan("a", None, Pod(ObjectMeta(labels=labels)))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 3 << 20


def test_plans_of_namespaces_share_their_steps() -> None:
    base = [cluster_policy(f"p{number:02}", podSecurityStandard={"level": "restricted"}) for number in range(10)]
    own = [
        cluster_policy(f"q{number}", match={"namespaces": [f"n{number}"]}, controls={"images": {"deniedTags": ["a"]}})
        for number in range(200)
    ]
    policies = PolicySet.of([*base, *own])
    policies.plan("n0", None, Pod())
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        plans = [policies.plan(f"n{number}", None, Pod()) for number in range(200)]
        gc.collect()  # what only circles hold would count or not, as the collector runs
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown / 200 < 4096
    assert all(any(f"q{n}" in r.policies for s in plan.steps for r in s.required_by) for n, plan in enumerate(plans))


# The PodPolicies of a namespace.


def pod_policy(name: str, namespace: str = "shop", **controls: Any) -> PodPolicy:
    raw = {"metadata": {"name": name, "namespace": namespace}, "spec": {"controls": controls or {"privileged": {}}}}
    return msgspec.convert(raw, PodPolicy)


def registries(count: int) -> dict[str, list[str]]:
    return {"trustedRegistries": [f"r{number}.io" for number in range(count)]}


def limits(policy: PodPolicy, *in_effect: PodPolicy) -> list[str]:
    return [str(problem) for problem in limit_problems(policy, PolicySet.of(in_effect))]


def test_a_namespace_has_a_bounded_number_of_pod_policies() -> None:
    full = [pod_policy(f"p{number}") for number in range(MAX_POD_POLICIES)]
    expected = ["metadata.namespace: namespace shop has 32 PodPolicies; the maximum is 32"]
    assert limits(pod_policy("one-more"), *full) == expected
    assert limits(pod_policy("one-more", namespace="other"), *full) == []
    assert limits(pod_policy("one-more"), *full[1:]) == []
    assert limits(pod_policy("p0", hostNamespaces={}), *full) == []


def test_the_pod_policies_of_a_namespace_have_a_bounded_total_cost() -> None:
    large = [pod_policy(f"p{number}", images=registries(250)) for number in range(8)]
    expected = (
        "spec: the PodPolicies of namespace shop would have 2259 checks and entries, 251 of them in this one; "
        "the maximum is 2048"
    )
    assert limits(pod_policy("one-more", images=registries(250)), *large) == [expected]
    assert limits(pod_policy("one-more", namespace="other", images=registries(250)), *large) == []
    assert limits(pod_policy("p0", images=registries(250)), *large) == []


@pytest.mark.parametrize(
    ("match", "entries"),
    [
        ({"podSelector": {"matchLabels": {f"l{number}": "x" for number in range(64)}}}, 64),
        ({"podSelector": {"matchExpressions": [{"key": "l", "operator": "In", "values": ["a", "b"]}]}}, 3),
        ({"excludeSubjects": {"users": ["x" * 512], "groups": ["g"]}}, 10),
        ({"excludeSubjects": {"serviceAccounts": ["ns/name"]}, "excludeRuntimeClasses": ["gvisor"]}, 2),
    ],
)
def test_what_a_pod_policy_selects_and_excludes_counts(match: Any, entries: int) -> None:
    def matching(name: str, match: Any) -> PodPolicy:
        spec = {"match": match, "controls": {"privileged": {}}}
        return msgspec.convert({"metadata": {"name": name, "namespace": "shop"}, "spec": spec}, PodPolicy)

    full = [pod_policy(f"p{number}", images=registries(255)) for number in range(7)]  # 1,792
    free = MAX_COST - 1792 - entries - 2
    assert limits(matching("one-more", match), *full, pod_policy("p7", images=registries(free))) == []
    too_many = limits(matching("one-more", match), *full, pod_policy("p7", images=registries(free + 1)))
    assert f"2049 checks and entries, {entries + 1} of them in this one" in too_many[0]


def test_a_change_above_the_maximum_may_only_lower_the_cost() -> None:
    large = [pod_policy(f"p{number}", images=registries(250)) for number in range(9)]
    assert limits(pod_policy("p0", images=registries(249)), *large) == []
    assert len(limits(pod_policy("p0", images=registries(251)), *large)) == 1


# Many namespaces with PodPolicies of their own.


def many_policies(namespaces: int) -> PolicySet:
    """100 ClusterPodPolicies for all namespaces, and a PodPolicy in each."""
    cluster = [
        cluster_policy(
            f"cluster-{number:03}",
            podSecurityStandard={"level": "restricted"},
            controls={"images": {"trustedRegistries": [f"r{number}.io"]}},
            defaults={"profile": "restricted"},
        )
        for number in range(100)
    ]
    own = [pod_policy("own", f"ns-{number}", runAsUser={}, privileged={}) for number in range(namespaces)]
    return PolicySet.of([*cluster, *own])


def test_a_namespace_with_a_policy_of_its_own_costs_little_beside_many_others() -> None:
    policies = many_policies(100)
    policies.plan("ns-0", None, Pod())
    tracemalloc.start()
    try:
        for number in range(1, 100):
            policies.plan(f"ns-{number}", None, Pod())
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 99 * 24_000
    longest = 0.0
    for number in range(100):
        started = process_time()
        policies.plan(f"none-{number}", {"a": str(number)}, Pod())
        longest = max(longest, process_time() - started)
    assert longest < 0.05


def test_plans_of_namespaces_that_share_policies_do_not_mix() -> None:
    shared = cluster_policy("shared", controls={"privileged": {}, "hostPorts": {"allowed": []}})
    warning = pod_policy("own", "b", privileged={"enforcement": "Warn"})
    policies = PolicySet.of([shared, pod_policy("own", "a", privileged={}, sysctls={}), warning])

    def required(namespace: str) -> list[list[tuple[str, tuple[str, ...]]]]:
        steps = policies.plan(namespace, None, Pod()).steps
        return [[(str(group.enforcement), group.policies) for group in step.required_by] for step in steps]

    for _ in range(2):
        assert required("a") == [[("Deny", ("a/own", "shared"))], [("Deny", ("shared",))], [("Deny", ("a/own",))]]
        assert required("b") == [[("Deny", ("shared",)), ("Warn", ("b/own",))], [("Deny", ("shared",))]]
        assert required("c") == [[("Deny", ("shared",))], [("Deny", ("shared",))]]


def test_every_pattern_and_authority_of_a_signature_rule_counts() -> None:
    def signatures(count: int) -> dict[str, Any]:
        images = [f"ghcr.io/acme/{number}" for number in range(60)]
        return {"signatures": [{"images": images, "by": {"anyOf": ["release", "scanner"]}}] * count}

    expected = (
        "spec: the PodPolicies of namespace shop would have 2142 checks and entries, 2017 of them in this "
        "one; the maximum is 2048"
    )
    assert limits(pod_policy("p", images=signatures(32)), pod_policy("q", images=registries(124))) == [expected]
    assert limits(pod_policy("p", images=signatures(32))) == []


def test_waivers_of_many_namespaces_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiver_index, "MAX_ENTRIES", 20_000)
    spec = {"policies": [f"p{number}" for number in range(64)], "controls": ["privileged"], "reason": "x"}
    waivers = [
        msgspec.convert(
            {"metadata": {"name": f"w{number}"}, "spec": spec | {"expires": "2999-01-01T00:00:00Z"}}, PolicyWaiver
        )
        for number in range(100)
    ]
    policies = PolicySet.of(waivers)
    assert policies.exemptions == 6400
    policies.waivers_of("p0", "n")
    tracemalloc.start()
    try:
        for number in range(100):
            assert len(policies.waivers_of("p0", f"n{number}")) == 100
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 1 << 20
