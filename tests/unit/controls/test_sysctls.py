"""sysctls: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.controls import CONTROLS, Level, ParameterError
from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    PodTwin,
    at_level,
    check_parameter_twin,
    check_pod_twin,
    pod_context,
    with_parameters,
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
    assert at_level("sysctls", pod, Level.BASELINE, since) == []
    assert since == 0 or at_level("sysctls", pod, Level.BASELINE, since - 1) != []


def named(*names: str) -> Pod:
    return pod_context(sysctls=[{"name": name, "value": "1"} for name in names])


def test_forbidden_sysctl_is_forbidden_in_either_spelling() -> None:
    parameters = {"allowed": ["*"], "forbidden": ["kernel.*", "net.core.somaxconn"]}
    slashes = with_parameters("sysctls", parameters, named("kernel/msgmax", "net/core/somaxconn", "net/ipv4/tcp_rmem"))
    dots = with_parameters("sysctls", parameters, named("kernel.msgmax", "net.core.somaxconn", "net.ipv4.tcp_rmem"))
    assert [finding.path[3] for finding in slashes] == [finding.path[3] for finding in dots] == [0, 1]
    reverse = {"allowed": ["*"], "forbidden": ["kernel/*", "net/core/somaxconn"]}
    assert with_parameters("sysctls", reverse, named("kernel.msgmax", "net.core.somaxconn", "net.ipv4.tcp_rmem"))[1:]


def test_standard_allows_the_spelling_with_dots_only() -> None:
    assert at_level("sysctls", named("net/ipv4/tcp_syncookies")) != []
    assert at_level("sysctls", named("net.ipv4.tcp_syncookies")) == []


SEPARATORS = st.lists(st.sampled_from("./"), min_size=3, max_size=3)


@given(SEPARATORS, SEPARATORS)
def test_forbidden_sysctl_is_forbidden_in_every_spelling(written: list[str], forbidden: list[str]) -> None:
    def spelled(separators: list[str], last: str) -> str:
        return "net{}ipv4{}conf{}{}".format(*separators, last)

    parameters = {"allowed": ["*"], "forbidden": [spelled(forbidden, "forwarding")]}
    assert len(with_parameters("sysctls", parameters, named(spelled(written, "forwarding")))) == 1
    assert with_parameters("sysctls", parameters, named(spelled(written, "forwarding2"))) == []


def test_name_that_is_allowed_and_forbidden_in_another_spelling_is_rejected() -> None:
    parameters = CONTROLS["sysctls"].parameters(allowed=("kernel.msgmax",), forbidden=("kernel/msgmax",))
    with pytest.raises(ParameterError, match="takes precedence"):
        CONTROLS["sysctls"].verify(parameters)
