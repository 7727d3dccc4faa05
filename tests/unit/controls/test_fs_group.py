"""fsGroup: pods that it denies, beside near-twins that it allows."""

from typing import Any

import msgspec
import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    pod_context,
    rejected_parameter,
    spec,
    with_parameters,
)

RANGE = {"ranges": [{"min": 1000, "max": 1999}]}
MUST = RANGE | {"rule": "MustRunAs"}


PARAMETER_TWINS: list[ParameterTwin] = [
    (RANGE, pod_context(fsGroup=0), pod_context(fsGroup=1000), "fsGroup"),
    (MUST, spec(), pod_context(fsGroup=1000), "fsGroup"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("fsGroup", parameters, bad, good, field)


def test_range_that_makes_no_sense_is_rejected_with_its_path() -> None:
    assert rejected_parameter("fsGroup", {"ranges": [{"min": 1, "max": 1}, {"min": 2, "max": 1}]}).where == "ranges[1]"


def test_empty_list_of_ranges_is_rejected() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"length >= 1 - at `\$\.ranges`"):
        with_parameters("fsGroup", {"ranges": []}, spec())
    assert with_parameters("fsGroup", {"ranges": [{"min": 1, "max": 2}]}, spec()) == []
