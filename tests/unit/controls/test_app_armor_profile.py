"""appArmorProfile: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from sekisho.controls import Level
from tests.pods import restricted_pod
from tests.unit.controls.twins import (
    LISTS,
    Container,
    ContainerTwin,
    ParameterTwin,
    Pod,
    PodTwin,
    at_level,
    check_container_twin,
    check_inheritance,
    check_parameter_twin,
    check_pod_twin,
    context,
    security,
)

CONTAINER_TWINS: list[ContainerTwin] = [
    (
        security(appArmorProfile={"type": "Unconfined"}),
        security(appArmorProfile={"type": "RuntimeDefault"}),
        "securityContext.appArmorProfile.type",
        '"Unconfined"',
    ),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(("bad", "good", "field", "value"), CONTAINER_TWINS)
def test_container_field_is_denied_in_every_list(
    bad: Container, good: Container, field: str, value: str, where: str
) -> None:
    check_container_twin("appArmorProfile", bad, good, field, value, where)


POD_TWINS: list[PodTwin] = [
    (
        {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
        {"securityContext": {"appArmorProfile": {"type": "Localhost"}}},
        "spec.securityContext.appArmorProfile.type",
    ),
]


@pytest.mark.parametrize(("bad", "good", "field"), POD_TWINS)
def test_pod_field_is_denied(bad: Pod, good: Pod, field: str) -> None:
    check_pod_twin("appArmorProfile", bad, good, field)


PARAMETER_TWINS: list[ParameterTwin] = [
    (
        {"allowedTypes": []},
        context(appArmorProfile={"type": "RuntimeDefault"}),
        context(),
        "containers[0].securityContext.appArmorProfile.type",
    ),
    (
        {"localhostProfiles": ["k8s-*"]},
        context(appArmorProfile={"type": "Localhost", "localhostProfile": "x"}),
        context(appArmorProfile={"type": "Localhost", "localhostProfile": "k8s-x"}),
        "localhostProfile",
    ),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("appArmorProfile", parameters, bad, good, field)


def test_annotations_count_in_every_version() -> None:
    pod = restricted_pod()
    pod["metadata"]["annotations"] = {"container.apparmor.security.beta.kubernetes.io/app": "unconfined"}
    assert len(at_level("appArmorProfile", pod, Level.BASELINE, 0)) == 1
    assert len(at_level("appArmorProfile", pod, Level.BASELINE, 37)) == 1
    pod["metadata"]["annotations"] = {"container.apparmor.security.beta.kubernetes.io/app": "runtime/default"}
    assert at_level("appArmorProfile", pod) == []


def test_ephemeral_container_that_inherits_a_denied_value_is_named_itself() -> None:
    check_inheritance("appArmorProfile", {"appArmorProfile": {"type": "Unconfined"}})
