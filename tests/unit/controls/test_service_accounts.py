"""serviceAccounts: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import ParameterTwin, Pod, check_parameter_twin, spec, with_parameters

FIELD = "spec.serviceAccountName"
PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, spec(), spec(serviceAccountName="app"), FIELD),
    ({}, spec(serviceAccountName="default"), spec(serviceAccountName="default2"), FIELD),
    ({}, spec(serviceAccount="default"), spec(serviceAccount="app"), FIELD),
    ({"allowed": ["app"]}, spec(serviceAccountName="apps"), spec(serviceAccountName="app"), FIELD),
    ({"allowed": ["app"]}, spec(), spec(serviceAccountName="app"), FIELD),
    ({"denied": ["deployer"]}, spec(serviceAccountName="deployer"), spec(), FIELD),
    (
        {"allowed": ["app", "deployer"], "denied": ["deployer"]},
        spec(serviceAccountName="deployer"),
        spec(serviceAccountName="app"),
        FIELD,
    ),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("serviceAccounts", parameters, bad, good, field)


@pytest.mark.parametrize(
    ("parameters", "allowed"),
    [
        ({}, "any but default"),
        ({"denied": ["default", "deployer"]}, "any but default and deployer"),
        ({"allowed": ["app", "job"]}, "app or job"),
        ({"allowed": ["default"], "denied": ["default"]}, "no service account"),
    ],
)
def test_finding_says_which_accounts_are_allowed(parameters: Any, allowed: str) -> None:
    (finding,) = with_parameters("serviceAccounts", parameters, spec())
    assert (finding.value, finding.allowed) == ("unset", allowed)
