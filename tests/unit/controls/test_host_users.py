"""hostUsers: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    spec,
)

PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, spec(), spec(hostUsers=False), "spec.hostUsers"),
    ({}, spec(hostUsers=True), spec(hostUsers=False), "spec.hostUsers"),
    ({}, spec(os={"name": "linux"}), spec(os={"name": "windows"}), "spec.hostUsers"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("hostUsers", parameters, bad, good, field)
