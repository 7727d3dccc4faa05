"""privileged: pods that it denies, beside near-twins that it allows."""

import pytest

from tests.unit.controls.twins import (
    LISTS,
    Container,
    ContainerTwin,
    check_container_twin,
    security,
)

CONTAINER_TWINS: list[ContainerTwin] = [
    (security(privileged=True), security(privileged=False), "securityContext.privileged", "true"),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(("bad", "good", "field", "value"), CONTAINER_TWINS)
def test_container_field_is_denied_in_every_list(
    bad: Container, good: Container, field: str, value: str, where: str
) -> None:
    check_container_twin("privileged", bad, good, field, value, where)
