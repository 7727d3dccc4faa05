"""supplementalGroups: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    pod_context,
    spec,
)

RANGE = {"ranges": [{"min": 1000, "max": 1999}]}
MUST = RANGE | {"rule": "MustRunAs"}


PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, pod_context(supplementalGroups=[1, 0]), pod_context(supplementalGroups=[1]), "[1]"),
    (MUST, spec(), pod_context(supplementalGroups=[1000]), "supplementalGroups"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("supplementalGroups", parameters, bad, good, field)
