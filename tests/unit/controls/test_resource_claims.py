"""resourceClaims: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    spec,
)


def claim(**names: str) -> Pod:
    return spec(resourceClaims=[{"name": "gpu"} | names])


PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, claim(resourceClaimName="a"), spec(), "spec.resourceClaims[0].resourceClaimName"),
    ({}, claim(), spec(resourceClaims=[]), "spec.resourceClaims[0].resourceClaimName"),
    (
        {"allowedClaims": ["team-*"]},
        claim(resourceClaimName="other"),
        claim(resourceClaimName="team-a"),
        "resourceClaimName",
    ),
    (
        {"allowedTemplates": ["a"]},
        claim(resourceClaimTemplateName="b"),
        claim(resourceClaimTemplateName="a"),
        "resourceClaimTemplateName",
    ),
    (
        {"allowedTemplates": ["a"], "allowedClaims": ["b"]},
        claim(resourceClaimName="a"),
        claim(resourceClaimTemplateName="a"),
        "resourceClaimName",
    ),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("resourceClaims", parameters, bad, good, field)
