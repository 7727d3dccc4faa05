"""priorityClass: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import ParameterTwin, Pod, check_parameter_twin, spec, with_parameters

PARAMETER_TWINS: list[ParameterTwin] = [
    (
        {"denied": ["system-node-critical", "urgent"]},
        spec(priorityClassName="urgent"),
        spec(priorityClassName="batch"),
        "spec.priorityClassName",
    ),
    (
        {"allowed": ["batch", "urgent"], "denied": ["urgent"]},
        spec(priorityClassName="urgent"),
        spec(priorityClassName="batch"),
        "spec.priorityClassName",
    ),
    ({}, spec(priorityClassName="high"), spec(), "spec.priorityClassName"),
    ({}, spec(priorityClassName="high"), spec(priorityClassName=""), "spec.priorityClassName"),
    (
        {"allowed": ["high"]},
        spec(priorityClassName="higher"),
        spec(priorityClassName="high"),
        "spec.priorityClassName",
    ),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("priorityClass", parameters, bad, good, field)


def test_fix_names_the_classes_that_are_allowed() -> None:
    (finding,) = with_parameters("priorityClass", {"allowed": ["low", "batch"]}, spec(priorityClassName="high"))
    assert (finding.allowed, finding.fix) == ("unset, low or batch", "remove it or set it to low or batch")
