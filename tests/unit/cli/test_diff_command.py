"""`sekisho diff`: the lines for policies that differ."""

import msgspec

from sekisho.cli.diff import differences
from sekisho.cli.options import ClusterState
from sekisho.policies import ClusterPodPolicy


def policy(name: str, **spec: object) -> ClusterPodPolicy:
    head = {"apiVersion": "sekisho.dev/v1alpha1", "kind": "ClusterPodPolicy", "metadata": {"name": name}}
    return msgspec.convert({**head, "spec": spec}, ClusterPodPolicy)


def test_each_field_that_differs_is_shown_with_both_values() -> None:
    before = policy("a", podSecurityStandard={"level": "baseline"}, match={"namespaces": ["x"]})
    after = policy("a", podSecurityStandard={"level": "restricted"})
    first = ClusterState((before, policy("b")))
    second = ClusterState((policy("c"), after), exempt=frozenset({"n"}))
    assert list(differences(first, second)) == [
        "  ClusterPodPolicy a: spec.match.namespaces",
        '-   ["x"]',
        "+   unset",
        "  ClusterPodPolicy a: spec.podSecurityStandard.level",
        '-   "baseline"',
        '+   "restricted"',
        "- ClusterPodPolicy b",
        "+ ClusterPodPolicy c",
        "+ namespace n is not judged",
    ]


def test_the_same_policies_in_another_order_do_not_differ() -> None:
    one, other = policy("a"), policy("b", podSecurityStandard={"level": "baseline"})
    assert list(differences(ClusterState((one, other)), ClusterState((other, one)))) == []
