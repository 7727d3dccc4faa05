"""allowPrivilegeEscalation: pods that it denies, beside near-twins that it allows."""

import pytest

from tests.unit.controls.twins import (
    LISTS,
    Container,
    ContainerTwin,
    check_container_twin,
    check_windows_exemption,
    security,
)

CONTAINER_TWINS: list[ContainerTwin] = [
    (
        security(allowPrivilegeEscalation=True),
        security(allowPrivilegeEscalation=False),
        "securityContext.allowPrivilegeEscalation",
        "true",
    ),
    (
        security(allowPrivilegeEscalation=None),
        security(allowPrivilegeEscalation=False),
        "securityContext.allowPrivilegeEscalation",
        "unset",
    ),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(("bad", "good", "field", "value"), CONTAINER_TWINS)
def test_container_field_is_denied_in_every_list(
    bad: Container, good: Container, field: str, value: str, where: str
) -> None:
    check_container_twin("allowPrivilegeEscalation", bad, good, field, value, where)


def test_windows_pods_are_exempt_from_1_25() -> None:
    check_windows_exemption("allowPrivilegeEscalation")
