"""The index of policies: it leaves out only what cannot match, and leaves out much where there is much."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.policies.index import NamespaceIndex, cues_of
from sekisho.policies.matching import compile_namespaces, compile_selector
from sekisho.policies.selectors import Match

NAMES = st.text("ab", min_size=1, max_size=4)
PATTERNS = st.text("ab*", min_size=1, max_size=4)
LABELS = st.dictionaries(st.sampled_from(["team", "tier"]), st.sampled_from(["a", "b"]))
MATCHES = st.builds(
    lambda patterns, labels: {"namespaces": patterns, "namespaceSelector": labels and {"matchLabels": labels}},
    st.none() | st.lists(PATTERNS, min_size=1, max_size=3),
    st.none() | LABELS,
)


def cues(match: dict[str, Any]) -> Any:
    return cues_of(match.get("namespaces"), (match.get("namespaceSelector") or {}).get("matchLabels"))


@given(st.lists(MATCHES, max_size=8), NAMES, LABELS)
def test_policies_that_match_are_found_in_their_order(
    matches: list[dict[str, Any]], namespace: str, labels: dict[str, str]
) -> None:
    index = NamespaceIndex((cues(match), place) for place, match in enumerate(matches))
    candidates = index.candidates(namespace, labels)
    assert candidates == sorted(set(candidates))
    for place, of_policy in enumerate(matches):
        match = msgspec.convert(of_policy, Match)
        selects = compile_selector(match.namespace_selector, "")
        if compile_namespaces(match)(namespace) and (selects is None or selects(labels)):
            assert place in candidates


def team(number: int, **more: Any) -> dict[str, Any]:
    return {"namespaces": [f"team-{number}-*"], **more}


@pytest.mark.parametrize(
    ("matches", "namespace", "labels", "expected"),
    [
        ([team(number) for number in range(100)], "team-7-web", {}, [7]),
        ([team(number) for number in range(100)], "team-100-web", {}, []),
        ([{"namespaces": [f"team-{number}"]} for number in range(100)], "team-77", {}, [7, 77]),
        ([{}, team(1), {}, {"namespaces": ["*-1"]}, team(2)], "team-1-web", {}, [0, 1, 2, 3]),
        ([{"namespaceSelector": {"matchLabels": {"team": f"{n}"}}} for n in range(9)], "any", {"team": "3"}, [3]),
        ([{"namespaceSelector": {"matchLabels": {"team": f"{n}"}}} for n in range(9)], "any", {}, []),
        # Filed under what sets them apart: here the names, then the second label.
        (
            [team(number, namespaceSelector={"matchLabels": {"tier": "prod"}}) for number in range(100)],
            "team-7-web",
            {"tier": "prod"},
            [7],
        ),
        (
            [{"namespaceSelector": {"matchLabels": {"tier": "prod", "team": f"{n}"}}} for n in range(100)],
            "any",
            {"tier": "prod", "team": "7"},
            [7],
        ),
    ],
)
def test_policies_for_other_namespaces_are_not_evaluated(
    matches: list[dict[str, Any]], namespace: str, labels: dict[str, str], expected: list[int]
) -> None:
    index = NamespaceIndex((cues(match), place) for place, match in enumerate(matches))
    assert index.candidates(namespace, labels) == expected
