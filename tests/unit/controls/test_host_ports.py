"""hostPorts: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.pods import container, restricted_pod
from tests.unit.controls.twins import (
    LISTS,
    Container,
    ContainerTwin,
    ParameterTwin,
    Pod,
    check_container_twin,
    check_parameter_twin,
    with_parameters,
)

CONTAINER_TWINS: list[ContainerTwin] = [
    (
        container(ports=[{"containerPort": 80}, {"containerPort": 81, "hostPort": 81}]),
        container(ports=[{"containerPort": 80, "hostPort": 0}]),
        "ports[1].hostPort",
        "81",
    ),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(("bad", "good", "field", "value"), CONTAINER_TWINS)
def test_container_field_is_denied_in_every_list(
    bad: Container, good: Container, field: str, value: str, where: str
) -> None:
    check_container_twin("hostPorts", bad, good, field, value, where)


PARAMETER_TWINS: list[ParameterTwin] = [
    (
        {"allowed": [{"min": 80, "max": 81}]},
        restricted_pod(container(ports=[{"hostPort": 82}])),
        restricted_pod(container(ports=[{"hostPort": 81}])),
        "hostPort",
    ),
    (
        {"allowed": [{"min": 300, "max": 310}, {"min": 85, "max": 86}, {"min": 80, "max": 100}]},
        restricted_pod(container(ports=[{"hostPort": 101}])),
        restricted_pod(container(ports=[{"hostPort": port} for port in (80, 86, 87, 100, 300, 310)])),
        "hostPort",
    ),
    (
        {"allowed": [{"min": 80, "max": 81}]},
        restricted_pod(container(ports=[{"hostPort": -80}])),
        restricted_pod(container(ports=[{"hostPort": 80}])),
        "hostPort",
    ),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("hostPorts", parameters, bad, good, field)


def test_range_of_one_port_is_named_as_that_port() -> None:
    ranges = {"allowed": [{"min": 9100, "max": 9100}, {"min": 80, "max": 81}]}
    (finding,) = with_parameters("hostPorts", ranges, restricted_pod(container(ports=[{"hostPort": 82}])))
    assert finding.allowed == "unset, 9100 or 80 to 81"
