"""annotations: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from sekisho.pods import OWN_ANNOTATIONS
from tests.pods import restricted_pod
from tests.unit.controls.twins import ParameterTwin, Pod, check_parameter_twin, with_parameters


def annotated(key: str, value: str) -> Pod:
    pod = restricted_pod()
    pod["metadata"]["annotations"] = {key: value}
    return pod


OWNER: dict[str, Any] = {"allowedValues": [{"key": "owner", "values": ["*@example.com"]}]}
PARAMETER_TWINS: list[ParameterTwin] = [
    ({"required": ["owner"]}, annotated("owner", ""), annotated("owner", "a"), "metadata.annotations.owner"),
    (OWNER, annotated("owner", "a@example.org"), annotated("owner", "a@example.com"), "metadata.annotations.owner"),
    ({"denied": ["a.io/*"]}, annotated("a.io/b", "c"), annotated("b.io/b", "c"), "metadata.annotations[a.io/b]"),
    *(
        ({"denied": ["*"]}, annotated("sekisho.dev/x", "{}"), annotated(own, "{}"), "[sekisho.dev/x]")
        for own in sorted(OWN_ANNOTATIONS)
    ),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("annotations", parameters, bad, good, field)


@pytest.mark.parametrize(("parameters", "shown"), [(OWNER, "another value"), ({"denied": ["owner"]}, "set")])
def test_values_are_not_shown(parameters: Any, shown: str) -> None:
    (finding,) = with_parameters("annotations", parameters, annotated("owner", "hunter2"))
    assert finding.value == shown
    assert "hunter2" not in repr(finding)
