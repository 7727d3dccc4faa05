"""resources: pods that it denies, beside near-twins that it allows."""

from typing import Any

import msgspec
import pytest

from sekisho.controls import CONTROLS, ParameterError
from sekisho.findings import set_to
from tests.pods import container, restricted_pod
from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    rejected_parameter,
    with_parameters,
)


def at_most(resource: str, quantity: str | int) -> dict[str, Any]:
    return {"maxLimits": [{"resource": resource, "quantity": quantity}]}


def pod_with_resources(own: dict[str, Any] | None = None, **amounts: Any) -> Pod:
    return restricted_pod(container(resources=own or {}), container("b"), resources=amounts)


def resources(**amounts: Any) -> Pod:
    return restricted_pod(container(resources=amounts))


def at_least(parameter: str, resource: str, quantity: str) -> dict[str, Any]:
    return {parameter: [{"resource": resource, "quantity": quantity}]}


def ratio(resource: str, maximum: str) -> dict[str, Any]:
    return {"maxLimitRequestRatios": [{"resource": resource, "ratio": maximum}]}


def burst(request: str, limit: str, resource: str = "cpu") -> Pod:
    return resources(requests={resource: request}, limits={resource: limit})


PARAMETER_TWINS: list[ParameterTwin] = [
    (ratio("cpu", "2"), burst("100m", "201m"), burst("100m", "0.2"), "spec.containers[0].resources.limits.cpu"),
    (ratio("memory", "1"), burst("1Gi", "1025Mi", "memory"), burst("1Gi", "1024Mi", "memory"), "limits.memory"),
    (ratio("cpu", "2"), resources(requests={"cpu": "1"}), resources(limits={"cpu": "1"}), "limits.cpu"),
    (ratio("cpu", "2"), burst("1", "0"), burst("1", "2"), "limits.cpu"),
    (ratio("cpu", "2"), burst("0", "1"), burst("1", "1"), "limits.cpu"),
    (ratio("cpu", "2"), burst("1", "lots"), burst("1", "1e0"), "limits.cpu"),
    (ratio("nvidia.com/gpu", "1"), burst("1", "2", "nvidia.com/gpu"), resources(), "gpu]"),
    (
        ratio("cpu", "2"),
        pod_with_resources(requests={"cpu": "1"}, limits={"cpu": "3"}),
        pod_with_resources(requests={"cpu": "1"}, limits={"cpu": "2"}),
        "spec.resources.limits.cpu",
    ),
    (
        at_least("minRequests", "cpu", "10m"),
        resources(requests={"cpu": "9m"}),
        resources(requests={"cpu": "0.01"}),
        "spec.containers[0].resources.requests.cpu",
    ),
    (at_least("minRequests", "cpu", "10m"), resources(), resources(requests={"cpu": "10m"}), "requests.cpu"),
    (at_least("minRequests", "cpu", "0"), resources(), resources(requests={"cpu": "0"}), "requests.cpu"),
    (at_least("minLimits", "memory", "32Mi"), resources(limits={"memory": "1Mi"}), resources(), "limits.memory"),
    (
        at_least("minRequests", "cpu", "1"),
        pod_with_resources(requests={"cpu": "0.9"}),
        pod_with_resources(requests={"cpu": "1"}),
        "spec.resources.requests.cpu",
    ),
    (
        {"requiredRequests": ["cpu"]},
        resources(requests={"cpu": "0m"}),
        resources(requests={"cpu": "1m"}),
        "requests.cpu",
    ),
    ({"requiredRequests": ["cpu"]}, resources(requests={"cpu": 0}), resources(requests={"cpu": 0.5}), "requests.cpu"),
    ({"requiredLimits": ["memory"]}, resources(limits={"memory": "0"}), resources(limits={"memory": "1"}), "memory"),
    ({"requiredLimits": ["cpu"]}, resources(limits={"cpu": "0m"}), resources(limits={"cpu": "1m"}), "cpu"),
    (at_most("memory", "1Gi"), resources(limits={"memory": 0}), resources(limits={"memory": 1}), "memory"),
    (at_most("memory", "1Gi"), resources(), resources(limits={"memory": "1Gi"}), "limits.memory"),
    (at_most("nvidia.com/gpu", "1"), resources(limits={"nvidia.com/gpu": 2}), resources(), "gpu]"),
    (
        at_most("memory", "4Gi"),
        pod_with_resources(limits={"memory": "900Gi"}),
        pod_with_resources(limits={"memory": "4Gi"}),
        "limits.memory",
    ),
    (
        {"maxRequests": [{"resource": "memory", "quantity": "4Gi"}]},
        pod_with_resources(requests={"memory": "8Gi"}),
        pod_with_resources(requests={"memory": "4Gi"}),
        "spec.resources.requests.memory",
    ),
    ({"requiredRequests": ["cpu"]}, resources(requests={"memory": "1Gi"}), resources(requests={"cpu": "1m"}), "cpu"),
    ({"requiredLimits": ["memory"]}, resources(requests={"memory": "1Gi"}), resources(limits={"memory": 1}), "memory"),
    (
        {"maxLimits": [{"resource": "memory", "quantity": "1Gi"}]},
        resources(limits={"memory": "1073741825"}),
        resources(limits={"memory": "1024Mi"}),
        "memory",
    ),
    (
        {"maxRequests": [{"resource": "cpu", "quantity": "1"}]},
        resources(requests={"cpu": "1001m"}),
        resources(requests={"cpu": 1}),
        "cpu",
    ),
    (
        {"maxRequests": [{"resource": "cpu", "quantity": "1"}]},
        resources(requests={"cpu": "lots"}),
        resources(requests={"cpu": "1e0"}),
        "cpu",
    ),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("resources", parameters, bad, good, field)


def test_limit_that_is_unset_is_one_finding_whatever_requires_it() -> None:
    required = ratio("memory", "2") | at_most("memory", "1Gi") | {"requiredLimits": ["memory"]}
    assert len(with_parameters("resources", required, resources(requests={"memory": "1Gi"}))) == 1
    required = at_least("minRequests", "cpu", "1") | {"requiredRequests": ["cpu"]}
    assert len(with_parameters("resources", required, resources())) == 1


def test_request_of_zero_is_one_finding_unless_the_pod_requests_more() -> None:
    required = at_least("minRequests", "cpu", "1") | {"requiredRequests": ["cpu"]}
    (finding,) = with_parameters("resources", required, resources(requests={"cpu": "0"}))
    assert (finding.value, finding.allowed) == ('"0"', "more than 0")
    zero = container(resources={"requests": {"cpu": "0"}})
    pod = restricted_pod(zero, resources={"requests": {"cpu": "1"}})
    assert with_parameters("resources", {"requiredRequests": ["cpu"]}, pod) == []
    pod = restricted_pod(zero, resources={"requests": {"cpu": "0"}})
    assert len(with_parameters("resources", {"requiredRequests": ["cpu"]}, pod)) == 1


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        (
            at_most("cpu", "1") | at_least("minLimits", "cpu", "2"),
            "minLimits[0].quantity: 2 is above the 1 of maxLimits",
        ),
        (
            {"minRequests": [{"resource": "cpu", "quantity": "1"}, {"resource": "cpu", "quantity": "2"}]},
            "minRequests[1].resource: 'cpu' is a duplicate",
        ),
    ],
)
def test_bounds_that_contradict_each_other_are_errors(parameters: Any, error: str) -> None:
    with pytest.raises(ParameterError) as raised:
        CONTROLS["resources"].verify(msgspec.convert(parameters, CONTROLS["resources"].parameters))
    assert str(raised.value) == error


def test_limit_of_zero_is_shown_as_it_is_written() -> None:
    for limits, value, fix in (({"memory": 0}, "0", "set it to more than 0"), ({}, "unset", "set it")):
        (finding,) = with_parameters("resources", ratio("memory", "2"), resources(limits=limits))
        assert (finding.value, finding.fix) == (value, fix)
    assert with_parameters("resources", ratio("memory", "2"), resources(limits={"memory": 1})) == []


def test_ratio_below_one_is_an_error() -> None:
    error = rejected_parameter("resources", ratio("cpu", "0.9"))
    assert str(error).startswith("maxLimitRequestRatios[0].ratio: must be at least 1")


def test_ephemeral_containers_are_exempt() -> None:
    pod = restricted_pod(container(resources={"requests": {"cpu": "1"}}), ephemeralContainers=[container("d")])
    assert with_parameters("resources", {"requiredRequests": ["cpu"]}, pod) == []


def test_resources_of_the_pod_satisfy_what_containers_must_set() -> None:
    required = {"requiredRequests": ["cpu", "memory"], "requiredLimits": ["memory"]}
    requests, limits = {"cpu": "1", "memory": "512Mi"}, {"cpu": "2", "memory": "1Gi"}
    assert with_parameters("resources", required, pod_with_resources(requests=requests, limits=limits)) == []
    without = with_parameters(
        "resources", required, pod_with_resources(requests=requests, limits={"cpu": "2", "memory": "0"})
    )
    assert [finding.field for finding in without] == [
        "spec.containers[0].resources.limits.memory",
        "spec.containers[1].resources.limits.memory",
    ]


def test_limit_of_the_pod_above_the_maximum_is_one_finding() -> None:
    maximum = {"maxLimits": [{"resource": "memory", "quantity": "4Gi"}, {"resource": "cpu", "quantity": "4"}]}
    huge = pod_with_resources(limits={"cpu": "200", "memory": "900Gi"})
    findings = with_parameters("resources", maximum, huge)
    assert [finding.field for finding in findings] == ["spec.resources.limits.memory", "spec.resources.limits.cpu"]
    assert {finding.subject for finding in findings} == {"the pod"}


def test_limit_that_is_required_and_has_a_maximum_is_one_finding() -> None:
    parameters = at_most("memory", "1Gi") | {"requiredLimits": ["memory"]}
    (finding,) = with_parameters("resources", parameters, resources(limits={"memory": "0"}))
    assert (finding.value, finding.allowed) == ('"0"', "a quantity")


@pytest.mark.parametrize(
    ("own", "fix"),
    [
        ("3Gi", "lower it to 4Gi, and the request and the containers' requests with it"),
        ("2Gi", "lower it to 4Gi, and the request with it"),
    ],
)
def test_fix_of_the_pods_limit_names_requests_that_add_up_to_more(own: str, fix: str) -> None:
    pod = restricted_pod(
        container(resources={"requests": {"memory": own}}),
        container("b", resources={"requests": {"memory": own}}),
        resources={"limits": {"memory": "9Gi"}, "requests": {"memory": "6Gi"}},
    )
    assert with_parameters("resources", at_most("memory", "4Gi"), pod)[0].fix == fix


@pytest.mark.parametrize("limits", [{}, {"memory": "16Gi"}])
@pytest.mark.parametrize(("request_", "is_above"), [("9Gi", True), ("8Gi", False)])
def test_fix_names_a_request_below_which_the_api_server_rejects_a_limit(
    request_: str, is_above: bool, limits: dict[str, str]
) -> None:
    pod = resources(requests={"memory": request_}, limits=limits)
    (finding,) = with_parameters("resources", at_most("memory", "8Gi"), pod)
    assert finding.change == (None if is_above else set_to(finding.path, "8Gi"))
    assert ("the request" in finding.fix) is is_above


@pytest.mark.parametrize(
    ("key", "own", "fits"),
    [
        ("limits", {"requests": {"memory": "5Gi"}, "limits": {"memory": "6Gi"}}, False),
        ("limits", {"requests": {"memory": "4Gi"}, "limits": {"memory": "4Gi"}}, True),
        ("requests", {"requests": {"memory": "3Gi"}}, False),
        ("requests", {"requests": {"memory": "2Gi"}}, True),
        ("requests", {}, True),
    ],
)
def test_fix_of_the_pods_resources_leaves_room_for_those_of_its_containers(
    key: str, own: dict[str, Any], fits: bool
) -> None:
    parameters = {f"max{key.title()}": [{"resource": "memory", "quantity": "4Gi"}]}
    pod = restricted_pod(container(resources=own), container("b", resources=own), resources={key: {"memory": "9Gi"}})
    finding = with_parameters("resources", parameters, pod)[0]
    assert finding.field == f"spec.resources.{key}.memory"
    assert finding.change == (set_to(finding.path, "4Gi") if fits else None)
    assert finding.fix == ("lower it to 4Gi" if fits else "lower it to 4Gi, and the containers' requests with it")


@pytest.mark.parametrize("quantity", [2, "2", "2000m"])
def test_quantity_of_a_policy_may_be_a_whole_number(quantity: Any) -> None:
    for parameters, bad, good in (
        (at_most("cpu", quantity), "3", "2"),
        ({"minLimits": [{"resource": "cpu", "quantity": quantity}]}, "1", "2"),
        ({"maxLimitRequestRatios": [{"resource": "cpu", "ratio": quantity}]}, "3", "2"),
    ):
        key = "resources"
        denied, allowed = (
            with_parameters(key, parameters, resources(requests={"cpu": "1"}, limits={"cpu": limit}))
            for limit in (bad, good)
        )
        assert (len(denied), allowed) == (1, [])
