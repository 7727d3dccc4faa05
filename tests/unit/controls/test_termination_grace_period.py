"""terminationGracePeriod: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    rejected_parameter,
    spec,
    with_parameters,
)

FIELD = "spec.terminationGracePeriodSeconds"


def grace(seconds: int) -> Pod:
    return spec(terminationGracePeriodSeconds=seconds)


PARAMETER_TWINS: list[ParameterTwin] = [
    ({"maxSeconds": 60}, grace(61), grace(60), FIELD),
    ({"minSeconds": 10}, grace(9), grace(10), FIELD),
    ({"minSeconds": 10}, grace(0), spec(), FIELD),
    ({"maxSeconds": 29}, spec(), grace(29), FIELD),
    ({"minSeconds": 31}, spec(), grace(31), FIELD),
    ({"maxSeconds": 30}, grace(31), spec(), FIELD),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("terminationGracePeriod", parameters, bad, good, field)


@pytest.mark.parametrize(
    ("parameters", "seconds", "allowed", "fix"),
    [
        ({"maxSeconds": 60}, 3600, "at most 60", "set it to 60"),
        ({"minSeconds": 60}, 5, "at least 60", "set it to 60"),
        ({"minSeconds": 5, "maxSeconds": 60}, 1, "5 to 60", "set it to 5"),
    ],
)
def test_finding_says_what_is_allowed(parameters: Any, seconds: int, allowed: str, fix: str) -> None:
    (finding,) = with_parameters("terminationGracePeriod", parameters, grace(seconds))
    assert (finding.allowed, finding.fix) == (allowed, fix)


def test_least_time_above_the_most_is_an_error() -> None:
    error = rejected_parameter("terminationGracePeriod", {"minSeconds": 2, "maxSeconds": 1})
    assert str(error) == "minSeconds: 2 is above maxSeconds 1"
