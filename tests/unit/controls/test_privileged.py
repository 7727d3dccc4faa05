"""privileged: pods that it denies, beside near-twins that it allows."""

import pytest

from sekisho.findings import set_to
from tests.pods import with_container_in
from tests.unit.controls.twins import (
    LISTS,
    Container,
    ContainerTwin,
    at_level,
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


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize("propagation", [None, "None", "HostToContainer", "Bidirectional"])
def test_a_person_decides_about_a_mount_that_only_a_privileged_container_may_have(
    propagation: str | None, where: str
) -> None:
    mounts = [{"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/b", "mountPropagation": propagation}]
    (finding,) = at_level("privileged", with_container_in(where, security(privileged=True) | {"volumeMounts": mounts}))
    if propagation == "Bidirectional":
        assert finding.fix == "remove it or set it to false, and mountPropagation Bidirectional with it"
        assert finding.change is None
    else:
        assert (finding.fix, finding.change) == ("remove it or set it to false", set_to(finding.path, False))
