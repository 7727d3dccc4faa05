"""stdinAndTty: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.pods import container, restricted_pod, with_container_in
from tests.unit.controls.twins import ParameterTwin, Pod, check_parameter_twin, with_parameters

PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, restricted_pod(container(stdin=True)), restricted_pod(container(stdin=False)), "containers[0].stdin"),
    ({}, restricted_pod(container(tty=True)), restricted_pod(container(tty=None)), "containers[0].tty"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("stdinAndTty", parameters, bad, good, field)


@pytest.mark.parametrize("where", ["containers", "initContainers", "sidecar"])
def test_both_fields_are_found_in_every_list(where: str) -> None:
    pod = with_container_in(where, container(stdin=True, tty=True))
    fields = [(finding.container, finding.path[-1]) for finding in with_parameters("stdinAndTty", {}, pod)]
    assert fields == [("tested", "stdin"), ("tested", "tty")]


def test_ephemeral_containers_are_exempt() -> None:
    pod = with_container_in("ephemeralContainers", container(stdin=True, tty=True))
    assert with_parameters("stdinAndTty", {}, pod) == []
