"""probes: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from sekisho.admission.pod_defaults import as_created
from sekisho.controls import CONTROLS, NEWEST
from sekisho.controls.probes import Probes
from sekisho.pods import container_refs
from tests.pods import container, restricted_pod, typed
from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    spec,
    with_parameters,
)

READY = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5}
COMMAND = {"exec": {"command": ["ready", "--all"]}}
PARAMETER_TWINS: list[ParameterTwin] = [
    ({}, spec(), restricted_pod(container(readinessProbe={})), "readinessProbe"),
    (
        {"required": ["livenessProbe"]},
        restricted_pod(container(readinessProbe={})),
        restricted_pod(container(livenessProbe={})),
        "livenessProbe",
    ),
    (
        {"anyOf": ["livenessProbe", "startupProbe"]},
        restricted_pod(container(readinessProbe={})),
        restricted_pod(container(startupProbe={})),
        "livenessProbe",
    ),
    (
        {"anyOf": ["livenessProbe", "startupProbe"], "required": ["readinessProbe"]},
        restricted_pod(container(readinessProbe={})),
        restricted_pod(container(readinessProbe={}, livenessProbe={})),
        "livenessProbe",
    ),
    (
        {"denyEqual": True},
        restricted_pod(container(livenessProbe=READY, readinessProbe=READY)),
        restricted_pod(container(livenessProbe=READY | {"failureThreshold": 9}, readinessProbe=READY)),
        "livenessProbe",
    ),
    (
        {"denyEqual": True, "required": ["livenessProbe"]},
        restricted_pod(container(livenessProbe=COMMAND, readinessProbe=COMMAND)),
        restricted_pod(container(livenessProbe=COMMAND)),
        "livenessProbe",
    ),
    ({"anyOf": ["startupProbe"]}, spec(), restricted_pod(container(startupProbe={})), "startupProbe"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("probes", parameters, bad, good, field)


DIFFERENT: list[tuple[Any, Any]] = [
    ({"httpGet": {"port": 80}}, {"httpGet": {"port": 81}}),
    ({"httpGet": {"port": 80}}, {"httpGet": {"port": "80"}}),
    ({"httpGet": {"port": 80, "path": "/a"}}, {"httpGet": {"port": 80, "path": "/b"}}),
    ({"httpGet": {"port": 80, "scheme": "HTTPS"}}, {"httpGet": {"port": 80}}),
    ({"httpGet": {"port": 80, "httpHeaders": [{"name": "A", "value": "1"}]}}, {"httpGet": {"port": 80}}),
    ({"tcpSocket": {"port": 80}}, {"httpGet": {"port": 80}}),
    ({"tcpSocket": {"port": 80}}, {"tcpSocket": {"port": 81}}),
    ({"grpc": {"port": 80}}, {"grpc": {"port": 80, "service": "ready"}}),
    ({"exec": {"command": ["a", "b"]}}, {"exec": {"command": ["a b"]}}),
    ({"exec": {"command": [""]}}, {"exec": {}}),
    ({"httpGet": {"port": 80, "host": "a"}}, {"httpGet": {"port": 80, "host": ""}}),
    ({"tcpSocket": {"port": 80, "host": "a"}}, {"tcpSocket": {"port": 80, "host": ""}}),
    (COMMAND | {"initialDelaySeconds": 1}, COMMAND),
    (COMMAND | {"initialDelaySeconds": 1}, COMMAND | {"initialDelaySeconds": 0}),
    (COMMAND | {"timeoutSeconds": 2}, COMMAND),
    (COMMAND | {"periodSeconds": 11}, COMMAND),
]
DENY_EQUAL = Probes(deny_equal=True)
DEFAULTED = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
SAME: list[tuple[Any, Any]] = [
    (COMMAND, COMMAND | DEFAULTED),
    ({"httpGet": {"port": 80}}, {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}}),
    ({"grpc": {"port": 80}, "timeoutSeconds": 0}, {"grpc": {"port": 80, "service": ""}}),
    (COMMAND, COMMAND | {"initialDelaySeconds": 0}),
    ({"httpGet": {"port": 80}}, {"httpGet": {"port": 80, "host": "", "httpHeaders": []}}),
    ({"tcpSocket": {"port": 80}}, {"tcpSocket": {"port": 80, "host": ""}}),
    ({"exec": {}}, {"exec": {"command": []}}),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT + SAME)
def test_probes_are_equal_where_the_api_server_makes_them_equal(one: Any, other: Any) -> None:
    parts = [container(livenessProbe=first, readinessProbe=second) for first, second in ((one, other), (other, one))]
    for part in parts:
        pod = as_created(typed(restricted_pod(part))).pod
        findings = CONTROLS["probes"].check(DENY_EQUAL, NEWEST)(pod, container_refs(pod.spec))
        assert bool(findings) is ((one, other) in SAME)


def test_finding_names_the_probes_of_which_one_is_missing() -> None:
    (finding,) = with_parameters("probes", {"anyOf": ["livenessProbe", "readinessProbe"]}, spec())
    assert (finding.allowed, finding.fix) == (
        "a probe, or readinessProbe set",
        "add one of livenessProbe or readinessProbe",
    )


def test_sidecars_need_probes_and_init_containers_do_not() -> None:
    init, sidecar = container("init"), container("side", restartPolicy="Always")
    pod = restricted_pod(
        container(readinessProbe={}), initContainers=[init, sidecar], ephemeralContainers=[container("d")]
    )
    assert [finding.container for finding in with_parameters("probes", {}, pod)] == ["side"]


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
def test_pods_that_end_need_no_probes(policy: str) -> None:
    sidecar = container("side", restartPolicy="Always")
    assert with_parameters("probes", {}, spec(restartPolicy=policy, initContainers=[sidecar])) == []
    assert [f.container for f in with_parameters("probes", {}, spec(restartPolicy="Always"))] == ["app"]


def test_containers_that_end_need_no_probes() -> None:
    pod = restricted_pod(container(), container("task", restartPolicy="OnFailure"))
    assert [finding.container for finding in with_parameters("probes", {}, pod)] == ["app"]
