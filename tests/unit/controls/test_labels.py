"""labels: pods that it denies, beside near-twins that it allows."""

from typing import Any

import msgspec
import pytest

from sekisho.controls import CONTROLS, ParameterError
from sekisho.findings import remove
from tests.pods import restricted_pod
from tests.unit.controls.twins import ParameterTwin, Pod, check_parameter_twin, with_parameters


def labelled(**labels: Any) -> Pod:
    pod = restricted_pod()
    pod["metadata"]["labels"] = {key.replace("__", "/"): value for key, value in labels.items()}
    return pod


TEAMS: dict[str, Any] = {"allowedValues": [{"key": "team", "values": ["shop", "search-*"]}]}
PARAMETER_TWINS: list[ParameterTwin] = [
    ({"required": ["team"]}, restricted_pod(), labelled(team="a"), "metadata.labels.team"),
    ({"required": ["team"]}, labelled(team=""), labelled(team="a"), "metadata.labels.team"),
    ({"required": ["example/team"]}, labelled(team="a"), labelled(example__team="a"), "metadata.labels[example/team]"),
    (TEAMS, labelled(team="shops"), labelled(team="shop"), "metadata.labels.team"),
    (TEAMS, labelled(team="search"), labelled(team="search-api"), "metadata.labels.team"),
    (TEAMS, labelled(team=""), labelled(), "metadata.labels.team"),
    (TEAMS | {"required": ["team"]}, labelled(team=""), labelled(team="shop"), "metadata.labels.team"),
    ({"denied": ["team"]}, labelled(team=""), labelled(teams=""), "metadata.labels.team"),
    ({"denied": ["example/*"]}, labelled(example__a="1"), labelled(examples__a="1"), "metadata.labels[example/a]"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("labels", parameters, bad, good, field)


def test_finding_shows_the_value_and_what_is_allowed() -> None:
    (finding,) = with_parameters("labels", TEAMS, labelled(team="other"))
    assert (finding.value, finding.allowed, finding.change) == ('"other"', "shop or search-*", None)


def test_denied_label_can_be_removed_by_a_program() -> None:
    (finding,) = with_parameters("labels", {"denied": ["example/*"]}, labelled(example__a="1"))
    assert finding.change == remove(("metadata", "labels", "example/a"))


@pytest.mark.parametrize("control", ["labels", "annotations"])
def test_two_lists_of_values_for_a_key_are_an_error(control: str) -> None:
    duplicate = {"key": "team", "values": ["a"]}
    parameters = msgspec.convert({"allowedValues": [duplicate, duplicate]}, CONTROLS[control].parameters)
    with pytest.raises(ParameterError, match=r"allowedValues\[1\].key: 'team' is a duplicate"):
        CONTROLS[control].verify(parameters)


@pytest.mark.parametrize(
    ("parameters", "allowed", "fix"),
    [
        ({"required": ["team"]}, "a value", "set it to a value"),
        (TEAMS | {"required": ["team"]}, "shop or search-*", "set it to an allowed value"),
    ],
)
def test_fix_names_allowed_values_where_the_policy_lists_them(parameters: Any, allowed: str, fix: str) -> None:
    (finding,) = with_parameters("labels", parameters, restricted_pod())
    assert (finding.allowed, finding.fix) == (allowed, fix)
