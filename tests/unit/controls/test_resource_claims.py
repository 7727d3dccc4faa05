"""resourceClaims: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.pods import container, restricted_pod
from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    spec,
)


def claim(**names: str) -> Pod:
    return spec(resourceClaims=[{"name": "gpu"} | names])


def requests(resource: str, key: str = "limits") -> Pod:
    return restricted_pod(container(resources={key: {resource: "1"}}))


CLASS = "deviceclass.resource.kubernetes.io/"
PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, requests(CLASS + "gpu"), requests("cpu"), "gpu]"),
    ({}, requests(CLASS + "gpu", "requests"), requests("memory", "requests"), "gpu]"),
    ({}, spec(resources={"limits": {CLASS + "gpu": "1"}}), spec(resources={"limits": {"cpu": "1"}}), "gpu]"),
    ({"allowedDeviceClasses": ["small-*"]}, requests(CLASS + "large"), requests(CLASS + "small-gpu"), "large]"),
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
