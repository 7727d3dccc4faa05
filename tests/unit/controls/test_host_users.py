"""hostUsers: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from sekisho.findings import set_to
from tests.pods import container, restricted_pod
from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    spec,
    with_parameters,
)

PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, spec(), spec(hostUsers=False), "spec.hostUsers"),
    ({}, spec(hostUsers=True), spec(hostUsers=False), "spec.hostUsers"),
    ({}, spec(os={"name": "linux"}), spec(os={"name": "windows"}), "spec.hostUsers"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("hostUsers", parameters, bad, good, field)


def test_fix_names_what_the_api_server_rejects_beside_it() -> None:
    (finding,) = with_parameters("hostUsers", {}, spec(hostPID=True, hostIPC=True))
    assert (finding.fix, finding.change) == ("set it to false and unset hostPID and hostIPC", None)
    device = container(volumeDevices=[{"name": "d", "devicePath": "/d"}])
    (finding,) = with_parameters("hostUsers", {}, restricted_pod(device))
    assert (finding.fix, finding.change) == ("set it to false and unset volumeDevices", None)
    (finding,) = with_parameters("hostUsers", {}, spec())
    assert (finding.fix, finding.change) == ("set it to false", set_to(("spec", "hostUsers"), False))
