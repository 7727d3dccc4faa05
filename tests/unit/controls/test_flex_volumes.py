"""flexVolumes: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import ParameterTwin, Pod, check_parameter_twin, spec


def flex(driver: str) -> Pod:
    return spec(volumes=[{"name": "v", "flexVolume": {"driver": driver, "options": {"share": "a"}}}])


PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, flex("a.io/b"), spec(volumes=[{"name": "v", "csi": {"driver": "a.io/b"}}]), "flexVolume.driver"),
    ({"allowed": ["a.io/b"]}, flex("a.io/b2"), flex("a.io/b"), "spec.volumes[0].flexVolume.driver"),
    ({"allowed": ["a.io/b"]}, flex(""), flex("a.io/b"), "spec.volumes[0].flexVolume.driver"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("flexVolumes", parameters, bad, good, field)
