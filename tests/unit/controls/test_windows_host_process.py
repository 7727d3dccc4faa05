"""windowsHostProcess: pods that it denies, beside near-twins that it allows."""

import pytest

from tests.unit.controls.twins import (
    LISTS,
    Container,
    ContainerTwin,
    Pod,
    PodTwin,
    check_container_twin,
    check_pod_twin,
    security,
)

CONTAINER_TWINS: list[ContainerTwin] = [
    (
        security(windowsOptions={"hostProcess": True}),
        security(windowsOptions={"hostProcess": False}),
        "securityContext.windowsOptions.hostProcess",
        "true",
    ),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(("bad", "good", "field", "value"), CONTAINER_TWINS)
def test_container_field_is_denied_in_every_list(
    bad: Container, good: Container, field: str, value: str, where: str
) -> None:
    check_container_twin("windowsHostProcess", bad, good, field, value, where)


POD_TWINS: list[PodTwin] = [
    (
        {"securityContext": {"windowsOptions": {"hostProcess": True}}},
        {"securityContext": {"windowsOptions": {}}},
        "spec.securityContext.windowsOptions.hostProcess",
    ),
]


@pytest.mark.parametrize(("bad", "good", "field"), POD_TWINS)
def test_pod_field_is_denied(bad: Pod, good: Pod, field: str) -> None:
    check_pod_twin("windowsHostProcess", bad, good, field)
