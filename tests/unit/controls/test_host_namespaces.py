"""hostNamespaces: pods that it denies, beside near-twins that it allows."""

import pytest

from tests.unit.controls.twins import (
    Pod,
    PodTwin,
    check_pod_twin,
)

POD_TWINS: list[PodTwin] = [
    ({"hostNetwork": True}, {"hostNetwork": False}, "spec.hostNetwork"),
    ({"hostPID": True}, {"hostPID": False}, "spec.hostPID"),
    ({"hostIPC": True}, {"hostIPC": None}, "spec.hostIPC"),
]


@pytest.mark.parametrize(("bad", "good", "field"), POD_TWINS)
def test_pod_field_is_denied(bad: Pod, good: Pod, field: str) -> None:
    check_pod_twin("hostNamespaces", bad, good, field)
