"""sysctls: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    PodTwin,
    at_level,
    check_parameter_twin,
    check_pod_twin,
    pod_context,
)

POD_TWINS: list[PodTwin] = [
    (
        {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
        {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}]}},
        "spec.securityContext.sysctls[0].name",
    ),
]


@pytest.mark.parametrize(("bad", "good", "field"), POD_TWINS)
def test_pod_field_is_denied(bad: Pod, good: Pod, field: str) -> None:
    check_pod_twin("sysctls", bad, good, field)


PARAMETER_TWINS: list[ParameterTwin] = [
    (
        {"allowed": ["kernel.msgmax"]},
        pod_context(sysctls=[{"name": "net.ipv4.tcp_rmem", "value": "1"}]),
        pod_context(sysctls=[{"name": "kernel.msgmax", "value": "1"}]),
        "name",
    ),
    (
        {"allowed": ["net.*"], "forbidden": ["net.core.*"]},
        pod_context(sysctls=[{"name": "net.core.somaxconn", "value": "1"}]),
        pod_context(sysctls=[{"name": "net.ipv4.tcp_rmem", "value": "1 2 3"}]),
        "name",
    ),
    (
        {},
        pod_context(sysctls=[{"name": "kernel.shm_rmid_forced", "value": "1+kernel.core_pattern=|/x"}]),
        pod_context(sysctls=[{"name": "kernel.shm_rmid_forced", "value": "1"}]),
        "value",
    ),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("sysctls", parameters, bad, good, field)


@pytest.mark.parametrize(
    ("name", "since"),
    [
        ("net.ipv4.ip_unprivileged_port_start", 0),
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_rmem", 32),
        ("net.ipv4.tcp_notsent_lowat", 37),
    ],
)
def test_sysctls_become_safe_with_a_version(name: str, since: int) -> None:
    pod = pod_context(sysctls=[{"name": name, "value": "1"}])
    assert at_level("sysctls", pod, "baseline", since) == []
    assert since == 0 or at_level("sysctls", pod, "baseline", since - 1) != []
