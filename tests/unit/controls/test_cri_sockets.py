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
    ({}, host_path("/proc/1/root/run/crio"), host_path("/proc/1/root/srv"), "path"),
    ({}, host_path("/proc/self/root"), host_path("/srv/proc/self/root"), "path"),
    ({}, host_path("/proc/1/task/1/cwd/var/run/docker.sock"), host_path("/proc/sys"), "path"),
    ({}, host_path("/proc"), host_path("/procfs"), "path"),
    ({}, host_path("/proc/1/fd/7"), host_path("/proc/1/maps"), "path"),
    ({}, host_path("/run//containerd"), host_path("/run//containers"), "path"),
    ({"furtherSockets": ["/opt/rt.sock"]}, host_path("/opt"), host_path("/opt2"), "path"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("criSockets", parameters, bad, good, field)
