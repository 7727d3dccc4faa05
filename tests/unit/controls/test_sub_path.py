"""subPath: pods that it denies, beside near-twins that it allows."""

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


def mount(**fields: str) -> Pod:
    return restricted_pod(container(volumeMounts=[{"name": "v", "mountPath": "/v"} | fields]))


PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, mount(subPath="a"), mount(), "volumeMounts[0].subPath"),
    ({}, mount(subPathExpr="$(POD)"), mount(subPathExpr=""), "volumeMounts[0].subPathExpr"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("subPath", parameters, bad, good, field)


@pytest.mark.parametrize("where", LISTS)
def test_part_of_a_volume_is_denied_in_every_list(where: str) -> None:
    whole = {"name": "v", "mountPath": "/v"}
    (finding,) = with_parameters(
        "subPath", {}, with_container_in(where, container(volumeMounts=[whole | {"subPath": "a"}]))
    )
    assert (finding.container, finding.value) == ("tested", '"a"')
    assert with_parameters("subPath", {}, with_container_in(where, container(volumeMounts=[whole]))) == []
