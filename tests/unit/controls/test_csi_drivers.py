"""csiDrivers: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    spec,
)


def csi(driver: str) -> Pod:
    return spec(volumes=[{"name": "v", "csi": {"driver": driver}}])


PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, csi("a.io"), spec(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]), "csi.driver"),
    ({"allowed": ["a.io"]}, csi("a.io.evil"), csi("a.io"), "spec.volumes[0].csi.driver"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("csiDrivers", parameters, bad, good, field)
