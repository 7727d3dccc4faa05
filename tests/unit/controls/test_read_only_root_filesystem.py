"""readOnlyRootFilesystem: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    context,
    spec,
)

PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, context(readOnlyRootFilesystem=False), context(readOnlyRootFilesystem=True), "readOnlyRootFilesystem"),
    ({}, spec(), context(readOnlyRootFilesystem=True), "readOnlyRootFilesystem"),
    ({}, spec(), spec(os={"name": "windows"}), "readOnlyRootFilesystem"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("readOnlyRootFilesystem", parameters, bad, good, field)
