"""supplementalGroupsPolicy: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    pod_context,
    spec,
)

PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, spec(), pod_context(supplementalGroupsPolicy="Strict"), "securityContext.supplementalGroupsPolicy"),
    (
        {},
        pod_context(supplementalGroupsPolicy="Merge", supplementalGroups=[2001]),
        pod_context(supplementalGroupsPolicy="Strict", supplementalGroups=[2001]),
        "securityContext.supplementalGroupsPolicy",
    ),
    ({}, spec(os={"name": "linux"}), spec(os={"name": "windows"}), "securityContext.supplementalGroupsPolicy"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("supplementalGroupsPolicy", parameters, bad, good, field)
