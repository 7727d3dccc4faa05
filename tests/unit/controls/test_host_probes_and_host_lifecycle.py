"""hostProbesAndHostLifecycle: pods that it denies, beside near-twins that it allows."""

import pytest

from tests.pods import container
from tests.unit.controls.twins import LISTS, Container, ContainerTwin, check_container_twin

CONTAINER_TWINS: list[ContainerTwin] = [
    (
        container(livenessProbe={"httpGet": {"host": "169.254.169.254", "port": 80}}),
        container(livenessProbe={"httpGet": {"host": "", "port": 80}}),
        "livenessProbe.httpGet.host",
        '"169.254.169.254"',
    ),
    (
        container(lifecycle={"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}}),
        container(lifecycle={"preStop": {"tcpSocket": {"port": 80}}}),
        "lifecycle.preStop.tcpSocket.host",
        '"10.0.0.1"',
    ),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(("bad", "good", "field", "value"), CONTAINER_TWINS)
def test_container_field_is_denied_in_every_list(
    bad: Container, good: Container, field: str, value: str, where: str
) -> None:
    check_container_twin("hostProbesAndHostLifecycle", bad, good, field, value, where)
