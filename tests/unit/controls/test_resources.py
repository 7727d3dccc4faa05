"""resources: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.pods import container, restricted_pod
from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    with_parameters,
)


def resources(**amounts: Any) -> Pod:
    return restricted_pod(container(resources=amounts))


PARAMETER_TWINS: list[ParameterTwin] = [
    ({"requiredRequests": ["cpu"]}, resources(requests={"memory": "1Gi"}), resources(requests={"cpu": "1m"}), "cpu"),
    ({"requiredLimits": ["memory"]}, resources(requests={"memory": "1Gi"}), resources(limits={"memory": 1}), "memory"),
    (
        {"maxLimits": [{"resource": "memory", "quantity": "1Gi"}]},
        resources(limits={"memory": "1073741825"}),
        resources(limits={"memory": "1024Mi"}),
        "memory",
    ),
    (
        {"maxRequests": [{"resource": "cpu", "quantity": "1"}]},
        resources(requests={"cpu": "1001m"}),
        resources(requests={"cpu": 1}),
        "cpu",
    ),
    (
        {"maxRequests": [{"resource": "cpu", "quantity": "1"}]},
        resources(requests={"cpu": "lots"}),
        resources(requests={"cpu": "1e0"}),
        "cpu",
    ),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("resources", parameters, bad, good, field)


def test_ephemeral_containers_are_exempt() -> None:
    pod = restricted_pod(container(resources={"requests": {"cpu": "1"}}), ephemeralContainers=[container("d")])
    assert with_parameters("resources", {"requiredRequests": ["cpu"]}, pod) == []
