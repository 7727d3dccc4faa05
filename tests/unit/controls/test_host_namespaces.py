"""hostNamespaces: pods that it denies, beside near-twins that it allows."""

import pytest

from sekisho.findings import set_to
from tests.pods import container, restricted_pod
from tests.unit.controls.twins import (
    Pod,
    PodTwin,
    at_level,
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


@pytest.mark.parametrize("is_of_pod", [True, False])
@pytest.mark.parametrize("host_process", [True, False])
def test_fix_names_host_processes_which_the_api_server_rejects_without_host_network(
    host_process: bool, is_of_pod: bool
) -> None:
    context = {"windowsOptions": {"hostProcess": host_process}}
    own, of_pod = ({}, context) if is_of_pod else (context, {})
    pod = restricted_pod(container(securityContext=own), securityContext=of_pod, hostNetwork=True, hostPID=True)
    network, pid = at_level("hostNamespaces", pod)
    assert pid.change == set_to(("spec", "hostPID"), False)
    assert network.change == (None if host_process else set_to(("spec", "hostNetwork"), False))
    assert network.fix.endswith(", and hostProcess with it") is host_process
