"""criSockets: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    host_path,
)

PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, host_path("/var/run/docker.sock"), host_path("/var/run/docker.socket"), "path"),
    ({}, host_path("/run/containerd/"), host_path("/run/containers"), "path"),
    ({}, host_path("//run/../run/crio/./crio.sock"), host_path("/opt/run/crio/crio.sock"), "path"),
    ({}, host_path("/"), host_path("/srv"), "path"),
    ({"furtherSockets": ["/opt/rt.sock"]}, host_path("/opt"), host_path("/opt2"), "path"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("criSockets", parameters, bad, good, field)
