"""hostPathVolumes: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from sekisho.controls import Level
from tests.pods import container, restricted_pod
from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    at_level,
    check_parameter_twin,
    host_path,
    spec,
)

LOGS = {"allowed": [{"pathPrefix": "/var/log", "readOnly": True}, {"pathPrefix": "/data/"}]}

PROC = {"allowed": [{"pathPrefix": "/proc"}]}


def mounted(path: str, *, read_only: bool) -> Pod:
    mount = {"name": "v", "mountPath": "/x"} | ({"readOnly": True} if read_only else {})
    one = container(volumeMounts=[mount])
    return restricted_pod(one, volumes=[{"name": "v", "hostPath": {"path": path}}])


PARAMETER_TWINS: list[ParameterTwin] = [
    (LOGS, host_path("/var/log-old"), mounted("/var/log/app", read_only=True), "hostPath"),
    (LOGS, host_path("/var/log/../../etc"), mounted("/var/log", read_only=True), "hostPath"),
    (LOGS, mounted("/var/log/app", read_only=False), mounted("/var/log/app", read_only=True), "readOnly"),
    (PROC, host_path("/proc/1/root/etc"), host_path("/proc/1/net"), "hostPath"),
    (LOGS, host_path("/proc/1/root/etc"), mounted("/proc/1/root/var/log/app", read_only=True), "hostPath"),
    (LOGS, host_path("/var//log-old"), mounted("/var//log/./app", read_only=True), "hostPath"),
    (LOGS, host_path("/"), mounted("/data/x", read_only=False), "hostPath"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("hostPathVolumes", parameters, bad, good, field)


def test_baseline_denies_host_path_and_allows_nfs() -> None:
    (finding,) = at_level("hostPathVolumes", host_path("/etc"), Level.BASELINE)
    assert (finding.field, finding.value, finding.subject) == ("spec.volumes[0].hostPath", '"/etc"', 'volume "v"')
    assert at_level("hostPathVolumes", spec(volumes=[{"name": "v", "nfs": {}}]), Level.BASELINE) == []
