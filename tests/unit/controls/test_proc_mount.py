"""procMount: pods that it denies, beside near-twins that it allows."""

import pytest

from sekisho.controls import Level
from tests.pods import restricted_pod
from tests.unit.controls.twins import LISTS, Container, ContainerTwin, at_level, check_container_twin, security

CONTAINER_TWINS: list[ContainerTwin] = [
    (security(procMount="Unmasked"), security(procMount="Default"), "securityContext.procMount", '"Unmasked"'),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(("bad", "good", "field", "value"), CONTAINER_TWINS)
def test_container_field_is_denied_in_every_list(
    bad: Container, good: Container, field: str, value: str, where: str
) -> None:
    check_container_twin("procMount", bad, good, field, value, where)


def test_user_namespace_relaxes_at_baseline_only() -> None:
    pod = restricted_pod(security(procMount="Unmasked"), hostUsers=False)
    assert at_level("procMount", pod, Level.BASELINE, 35) == []
    assert at_level("procMount", pod, Level.BASELINE, 34) != []
    assert at_level("procMount", pod, Level.RESTRICTED, 35) != []
