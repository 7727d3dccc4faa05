"""probes: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.pods import container, restricted_pod
from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    spec,
    with_parameters,
)

PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, spec(), restricted_pod(container(readinessProbe={})), "readinessProbe"),
    (
        {"required": ["livenessProbe"]},
        restricted_pod(container(readinessProbe={})),
        restricted_pod(container(livenessProbe={})),
        "livenessProbe",
    ),
    (
        {"anyOf": ["livenessProbe", "startupProbe"]},
        restricted_pod(container(readinessProbe={})),
        restricted_pod(container(startupProbe={})),
        "livenessProbe",
    ),
    (
        {"anyOf": ["livenessProbe", "startupProbe"], "required": ["readinessProbe"]},
        restricted_pod(container(readinessProbe={})),
        restricted_pod(container(readinessProbe={}, livenessProbe={})),
        "livenessProbe",
    ),
    ({"anyOf": ["startupProbe"]}, spec(), restricted_pod(container(startupProbe={})), "startupProbe"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("probes", parameters, bad, good, field)


def test_finding_names_the_probes_of_which_one_is_missing() -> None:
    (finding,) = with_parameters("probes", {"anyOf": ["livenessProbe", "readinessProbe"]}, spec())
    assert (finding.allowed, finding.fix) == (
        "a probe, or readinessProbe set",
        "add one of livenessProbe or readinessProbe",
    )


def test_sidecars_need_probes_and_init_containers_do_not() -> None:
    init, sidecar = container("init"), container("side", restartPolicy="Always")
    pod = restricted_pod(
        container(readinessProbe={}), initContainers=[init, sidecar], ephemeralContainers=[container("d")]
    )
    assert [finding.container for finding in with_parameters("probes", {}, pod)] == ["side"]


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
def test_pods_that_end_need_no_probes(policy: str) -> None:
    sidecar = container("side", restartPolicy="Always")
    assert with_parameters("probes", {}, spec(restartPolicy=policy, initContainers=[sidecar])) == []
    assert [f.container for f in with_parameters("probes", {}, spec(restartPolicy="Always"))] == ["app"]


def test_containers_that_end_need_no_probes() -> None:
    pod = restricted_pod(container(), container("task", restartPolicy="OnFailure"))
    assert [finding.container for finding in with_parameters("probes", {}, pod)] == ["app"]
