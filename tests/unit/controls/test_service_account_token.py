"""serviceAccountToken: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    spec,
)

PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, spec(), spec(automountServiceAccountToken=False), "automountServiceAccountToken"),
    (
        {"allowedServiceAccounts": ["ci"]},
        spec(serviceAccountName="cin"),
        spec(serviceAccountName="ci"),
        "automountServiceAccountToken",
    ),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("serviceAccountToken", parameters, bad, good, field)
