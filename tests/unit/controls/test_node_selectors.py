"""nodeSelectors: pods that it denies, beside near-twins that it allows."""

from typing import Any

import msgspec
import pytest

from sekisho import admission
from sekisho.controls import CONTROLS, ParameterError
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.reviews import review_body
from tests.unit.controls.twins import ParameterTwin, Pod, check_parameter_twin, spec, with_parameters

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
SELECTOR = "spec.nodeSelector.team"
AFFINITY = "spec.affinity.nodeAffinity"
REQUIRED = f"{AFFINITY}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
PREFERRED = f"{AFFINITY}.preferredDuringSchedulingIgnoredDuringExecution"


def selecting(**labels: str) -> Pod:
    return spec(nodeSelector=labels)


def condition(key: str, operator: str = "In", *values: str) -> Any:
    return {"key": key, "operator": operator, "values": list(values)}


def required(*terms: Any) -> Pod:
    return spec(
        affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    )


def matching(*conditions: Any) -> Any:
    return {"matchExpressions": conditions}


def preferred(*conditions: Any) -> Pod:
    term = {"weight": 1, "preference": matching(*conditions)}
    return spec(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}})


TEAM: dict[str, Any] = {"allowed": [{"key": "team", "values": ["shop", "web"]}, {"key": "gpu"}]}
SHOP, BANK = condition("team", "In", "shop"), condition("team", "In", "bank")
NODE = {"matchFields": [condition("metadata.name", "In", "node-1")]}
PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, selecting(**{CONTROL_PLANE: ""}), selecting(team="shop"), f"spec.nodeSelector[{CONTROL_PLANE}]"),
    (
        {},
        required(matching(condition(CONTROL_PLANE, "Exists"))),
        required(matching(condition(CONTROL_PLANE, "DoesNotExist"))),
        f"{REQUIRED}[0].matchExpressions[0]",
    ),
    ({}, required(matching(condition(CONTROL_PLANE, "NotIn", "x"))), required(NODE), "matchExpressions[0]"),
    ({"denied": ["team"]}, selecting(team="shop"), selecting(**{CONTROL_PLANE: ""}), SELECTOR),
    ({"denied": ["metadata.name"]}, required(NODE), selecting(team="shop"), f"{REQUIRED}[0].matchFields[0]"),
    (TEAM, selecting(team="bank"), selecting(team="shop"), SELECTOR),
    (TEAM, selecting(zone="a"), selecting(gpu="a"), "spec.nodeSelector.zone"),
    (
        TEAM,
        required(matching(SHOP), matching(BANK)),
        required(matching(SHOP), matching(SHOP)),
        "[1].matchExpressions[0]",
    ),
    (TEAM, required(matching(SHOP, BANK)), required(matching(SHOP, SHOP)), f"{REQUIRED}[0].matchExpressions[1]"),
    (
        TEAM,
        required(matching(condition("team", "In", "shop", "bank"))),
        required(matching(condition("team", "In", "shop", "web"))),
        f"{REQUIRED}[0].matchExpressions[0]",
    ),
    (TEAM, required(matching(condition("team", "Exists"))), required(matching(condition("gpu", "Exists"))), "[0]"),
    (TEAM, required(matching(condition("team", "NotIn", "shop"))), required(matching(SHOP)), "[0]"),
    (TEAM, required(matching(condition("zone", "DoesNotExist"))), required(matching(SHOP)), "[0]"),
    (TEAM, preferred(BANK), preferred(SHOP), f"{PREFERRED}[0].preference.matchExpressions[0]"),
    (TEAM, required(NODE), spec(), f"{REQUIRED}[0].matchFields[0]"),
    (
        {"allowed": [{"key": "metadata.name"}]},
        required(NODE | matching(SHOP)),
        required(NODE),
        f"{REQUIRED}[0].matchExpressions[0]",
    ),
    ({"allowed": []}, selecting(team="shop"), spec(), SELECTOR),
    (TEAM | {"denied": ["gpu"]}, selecting(gpu="1"), selecting(team="shop"), "spec.nodeSelector.gpu"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("nodeSelectors", parameters, bad, good, field)


@pytest.mark.parametrize(
    ("parameters", "pod", "value", "allowed"),
    [
        ({"denied": ["a", "team"]}, selecting(team="shop"), '"team=shop"', "any key but a and team"),
        (TEAM, selecting(team="bank"), '"team=bank"', "team=shop|web or gpu"),
        (TEAM, required(matching(condition("zone", "NotIn", "a", "b"))), '"zone NotIn a, b"', "team=shop|web or gpu"),
        (TEAM, required(matching(condition("zone", "Exists"))), '"zone Exists"', "team=shop|web or gpu"),
        ({"allowed": []}, selecting(team="a"), '"team=a"', "no label"),
    ],
)
def test_finding_says_what_is_selected_and_what_may_be(parameters: Any, pod: Pod, value: str, allowed: str) -> None:
    (finding,) = with_parameters("nodeSelectors", parameters, pod)
    assert (finding.value, finding.allowed) == (value, allowed)


def test_selector_that_an_update_adds_is_judged() -> None:
    """Pods that wait for a scheduling gate may get selectors."""
    policy = {"metadata": {"name": "p"}, "spec": {"controls": {"nodeSelectors": TEAM}}}
    policies = PolicySet.of([msgspec.convert(policy, ClusterPodPolicy)])
    for old, new, decision in (
        (spec(), selecting(team="bank"), "deny"),
        (selecting(team="bank"), required(matching(BANK)), "deny"),
        (spec(), selecting(team="shop"), "allow"),
        (selecting(team="bank"), selecting(team="bank"), "allow"),
    ):
        assert admission.validate(admission.decode(review_body(new, old)), policies, {}).decision == decision


def test_two_entries_of_a_key_are_an_error() -> None:
    parameters = msgspec.convert({"allowed": [{"key": "a"}, {"key": "a"}]}, CONTROLS["nodeSelectors"].parameters)
    with pytest.raises(ParameterError, match=r"allowed\[1\].key: 'a' is a duplicate"):
        CONTROLS["nodeSelectors"].verify(parameters)
