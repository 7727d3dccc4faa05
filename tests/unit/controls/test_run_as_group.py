"""runAsGroup: pods that it denies, beside near-twins that it allows."""

from typing import Any

import msgspec
import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    context,
    spec,
    with_parameters,
)

RANGE = {"ranges": [{"min": 1000, "max": 1999}]}
MUST = RANGE | {"rule": "MustRunAs"}


PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, context(runAsGroup=0), context(runAsGroup=1), "runAsGroup"),
    (MUST, spec(), context(runAsGroup=1000), "runAsGroup"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("runAsGroup", parameters, bad, good, field)


def test_empty_list_of_ranges_is_rejected() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"length >= 1 - at `\$\.ranges`"):
        with_parameters("runAsGroup", {"ranges": []}, spec())
    assert with_parameters("runAsGroup", {"ranges": [{"min": 1, "max": 2}]}, spec()) == []
