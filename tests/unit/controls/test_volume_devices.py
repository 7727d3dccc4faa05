"""volumeDevices: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.pods import container, restricted_pod, with_container_in
from tests.unit.controls.twins import (
    LISTS,
    ParameterTwin,
    Pod,
    check_parameter_twin,
    with_parameters,
)


def with_device(**fields: Any) -> Pod:
    return restricted_pod(container(**fields), volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "c"}}])


DEVICE: dict[str, Any] = {"volumeDevices": [{"name": "d", "devicePath": "/dev/d"}]}

PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, with_device(**DEVICE), with_device(volumeMounts=[{"name": "d", "mountPath": "/d"}]), "volumeDevices[0].name"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("volumeDevices", parameters, bad, good, field)


@pytest.mark.parametrize("where", LISTS)
def test_device_is_denied_in_every_list(where: str) -> None:
    (finding,) = with_parameters("volumeDevices", {}, with_container_in(where, container(**DEVICE)))
    assert (finding.container, finding.value) == ("tested", '"d"')
    assert with_parameters("volumeDevices", {}, with_container_in(where, container(volumeDevices=[]))) == []
