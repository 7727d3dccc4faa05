"""capabilities: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from sekisho.controls import CONTROLS, Level, ParameterError, complete
from sekisho.standards import controls_of
from tests.unit.controls.twins import (
    LISTS,
    Container,
    ContainerTwin,
    ParameterTwin,
    Pod,
    at_level,
    check_container_twin,
    check_parameter_twin,
    check_windows_exemption,
    context,
    security,
    with_parameters,
)

CONTAINER_TWINS: list[ContainerTwin] = [
    (
        security(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
        security(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}),
        "securityContext.capabilities.add[0]",
        '"SYS_ADMIN"',
    ),
    (
        security(capabilities={"drop": ["all"]}),
        security(capabilities={"drop": ["NET_RAW", "ALL"]}),
        "securityContext.capabilities.drop",
        '["all"]',
    ),
    (
        security(capabilities=None),
        security(capabilities={"drop": ["ALL"]}),
        "securityContext.capabilities.drop",
        "unset",
    ),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(("bad", "good", "field", "value"), CONTAINER_TWINS)
def test_container_field_is_denied_in_every_list(
    bad: Container, good: Container, field: str, value: str, where: str
) -> None:
    check_container_twin("capabilities", bad, good, field, value, where)


PARAMETER_TWINS: list[ParameterTwin] = [
    (
        {"allowedAdd": ["SYS_TIME"]},
        context(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}),
        context(capabilities={"drop": ["ALL"], "add": ["SYS_TIME"]}),
        "add[0]",
    ),
    (
        {"requiredDrop": ["NET_RAW"]},
        context(capabilities={"drop": ["KILL"]}),
        context(capabilities={"drop": ["NET_RAW"]}),
        "drop",
    ),
    (
        {"requiredDrop": ["NET_RAW", "KILL"]},
        context(capabilities={"drop": ["all"]}),
        context(capabilities={"drop": ["ALL"]}),
        "drop",
    ),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("capabilities", parameters, bad, good, field)


@pytest.mark.parametrize(
    "name", ["\u017fYS_ADMIN", "CAP_SYS_ADMIN", "sys_admin", "CAP_NET_BIND_SERVICE", "net_bind_service"]
)
def test_names_must_be_spelled_as_in_the_api(name: str) -> None:
    (finding,) = at_level("capabilities", context(capabilities={"drop": ["ALL"], "add": [name]}))
    assert finding.field.endswith("add[0]")


def test_named_control_takes_what_it_leaves_unset_from_the_standard() -> None:
    control = CONTROLS["capabilities"]
    assert (
        complete(control, control.parameters(), Level.RESTRICTED, 37)
        == controls_of(Level.RESTRICTED, 37)["capabilities"]
    )
    assert (
        complete(control, control.parameters(), Level.BASELINE, 37) == controls_of(Level.BASELINE, 37)["capabilities"]
    )
    assert (
        complete(control, control.parameters(), Level.PRIVILEGED, 37)
        == controls_of(Level.RESTRICTED, 37)["capabilities"]
    )


def test_windows_pods_are_exempt_from_1_25() -> None:
    check_windows_exemption("capabilities")


@pytest.mark.parametrize("added", ["SETUID", "ALL"])
def test_capability_that_must_be_dropped_may_not_be_added_back(added: str) -> None:
    parameters = {"requiredDrop": ["SETUID"], "allowedAdd": ["SETUID", "ALL", "KILL"]}
    for dropped in (["ALL"], ["SETUID"], ["ALL", "SETUID"]):
        bad = context(capabilities={"drop": dropped, "add": ["KILL", added]})
        (finding,) = with_parameters("capabilities", parameters, bad)
        assert (finding.path[-1], finding.value) == (1, f'"{added}"')
    assert with_parameters("capabilities", parameters, context(capabilities={"drop": ["ALL"], "add": ["KILL"]})) == []


@pytest.mark.parametrize("parameter", ["allowed_add", "additional_allowed_add"])
def test_capability_that_must_be_dropped_cannot_be_allowed(parameter: str) -> None:
    control = CONTROLS["capabilities"]
    with pytest.raises(ParameterError, match="NET_RAW is in requiredDrop too"):
        control.verify(control.parameters(required_drop=("NET_RAW",), **{parameter: ("KILL", "NET_RAW")}))
    control.verify(control.parameters(required_drop=("NET_RAW",), **{parameter: ("KILL",)}))


def test_all_that_must_be_dropped_leaves_room_for_what_may_be_added() -> None:
    parameters = {"requiredDrop": ["ALL"], "allowedAdd": ["SETUID"]}
    assert with_parameters("capabilities", parameters, context(capabilities={"drop": ["ALL"], "add": ["SETUID"]})) == []
    assert with_parameters("capabilities", parameters, context(capabilities={"drop": ["ALL"], "add": ["KILL"]})) != []
