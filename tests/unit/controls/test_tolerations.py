"""tolerations: pods that it denies, beside near-twins that it allows."""

from typing import Any

import msgspec
import pytest

from sekisho.controls import CONTROLS, ParameterError
from tests.unit.controls.twins import ParameterTwin, Pod, check_parameter_twin, spec, with_parameters

MASTER = "node-role.kubernetes.io/master"
FIELD = "spec.tolerations[0]"


def tolerating(**toleration: Any) -> Pod:
    return spec(tolerations=[toleration])


TEAM: dict[str, Any] = {"allowed": [{"key": "team", "values": ["shop"]}, {"key": "gpu"}]}
NOT_READY = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}
PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, tolerating(key=MASTER, operator="Exists"), tolerating(key=f"{MASTER}s", operator="Exists"), FIELD),
    ({}, tolerating(operator="Exists"), tolerating(**NOT_READY), FIELD),
    ({}, tolerating(operator="Exists", effect="NoExecute"), spec(), FIELD),
    ({"denied": ["gpu"]}, tolerating(key="gpu", value="1"), tolerating(key=MASTER, value="1"), FIELD),
    ({"denied": ["gpu"]}, tolerating(operator="Exists"), tolerating(key="team", operator="Exists"), FIELD),
    (TEAM, tolerating(key="team", value="search"), tolerating(key="team", value="shop"), FIELD),
    (TEAM, tolerating(key="team", operator="Exists"), tolerating(key="team", operator="Equal", value="shop"), FIELD),
    (TEAM, tolerating(key="team", operator="Gt", value="shop"), tolerating(key="gpu", operator="Gt", value="1"), FIELD),
    (
        TEAM,
        tolerating(key="team", operator="Lt", value="shop"),
        tolerating(key="team", operator="", value="shop"),
        FIELD,
    ),
    (TEAM, tolerating(key="gpus", operator="Exists"), tolerating(key="gpu", operator="Exists"), FIELD),
    (TEAM, tolerating(operator="Exists"), tolerating(**NOT_READY), FIELD),
    (TEAM | {"denied": ["gpu"]}, tolerating(key="gpu", value="1"), tolerating(key="team", value="shop"), FIELD),
    ({"allowed": []}, tolerating(key="gpu", value="1"), spec(), FIELD),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("tolerations", parameters, bad, good, field)


@pytest.mark.parametrize(
    ("parameters", "toleration", "value", "allowed"),
    [
        ({"denied": ["a", "b"]}, {"operator": "Exists"}, '"every taint"', "any key but a and b"),
        (TEAM, {"key": "team", "operator": "Exists"}, '"team with any value"', "team=shop or gpu"),
        (TEAM, {"key": "team", "value": "search"}, '"team=search"', "team=shop or gpu"),
        (TEAM, {"key": "team", "operator": "Gt", "value": "shop"}, '"team Gt shop"', "team=shop or gpu"),
        ({"allowed": []}, {"key": "team", "value": "a"}, '"team=a"', "no toleration"),
    ],
)
def test_finding_says_what_is_tolerated_and_what_may_be(
    parameters: Any, toleration: Any, value: str, allowed: str
) -> None:
    (finding,) = with_parameters("tolerations", parameters, tolerating(**toleration))
    assert (finding.value, finding.allowed) == (value, allowed)


def test_two_entries_of_a_key_are_an_error() -> None:
    parameters = msgspec.convert({"allowed": [{"key": "a"}, {"key": "a"}]}, CONTROLS["tolerations"].parameters)
    with pytest.raises(ParameterError, match=r"allowed\[1\].key: 'a' is a duplicate"):
        CONTROLS["tolerations"].verify(parameters)
