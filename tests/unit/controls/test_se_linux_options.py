"""seLinuxOptions: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import (
    LISTS,
    Container,
    ContainerTwin,
    ParameterTwin,
    Pod,
    PodTwin,
    check_container_twin,
    check_inheritance,
    check_parameter_twin,
    check_pod_twin,
    context,
    security,
)

CONTAINER_TWINS: list[ContainerTwin] = [
    (
        security(seLinuxOptions={"type": "spc_t"}),
        security(seLinuxOptions={"type": "container_t", "level": "s0"}),
        "securityContext.seLinuxOptions.type",
        '"spc_t"',
    ),
    (
        security(seLinuxOptions={"user": "system_u"}),
        security(seLinuxOptions={"user": ""}),
        "securityContext.seLinuxOptions.user",
        '"system_u"',
    ),
    (
        security(seLinuxOptions={"role": "system_r"}),
        security(seLinuxOptions={}),
        "securityContext.seLinuxOptions.role",
        '"system_r"',
    ),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(("bad", "good", "field", "value"), CONTAINER_TWINS)
def test_container_field_is_denied_in_every_list(
    bad: Container, good: Container, field: str, value: str, where: str
) -> None:
    check_container_twin("seLinuxOptions", bad, good, field, value, where)


POD_TWINS: list[PodTwin] = [
    (
        {"securityContext": {"seLinuxOptions": {"type": "init_t"}}},
        {"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}},
        "spec.securityContext.seLinuxOptions.type",
    ),
]


@pytest.mark.parametrize(("bad", "good", "field"), POD_TWINS)
def test_pod_field_is_denied(bad: Pod, good: Pod, field: str) -> None:
    check_pod_twin("seLinuxOptions", bad, good, field)


PARAMETER_TWINS: list[ParameterTwin] = [
    (
        {"allowedTypes": ["my_t"]},
        context(seLinuxOptions={"type": "container_t"}),
        context(seLinuxOptions={"type": "my_t"}),
        "type",
    ),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("seLinuxOptions", parameters, bad, good, field)


def test_ephemeral_container_that_inherits_a_denied_value_is_named_itself() -> None:
    check_inheritance("seLinuxOptions", {"seLinuxOptions": {"type": "spc_t"}})
