"""seccompProfile: pods that it denies, beside near-twins that it allows."""

from typing import Any

import msgspec
import pytest

from sekisho.controls import CONTROLS, Level, ParameterError
from sekisho.findings import remove, set_to
from tests.pods import container, restricted_pod
from tests.unit.controls.twins import (
    LISTS,
    Container,
    ContainerTwin,
    ParameterTwin,
    Pod,
    PodTwin,
    at_level,
    check_container_twin,
    check_inheritance,
    check_parameter_twin,
    check_pod_twin,
    check_windows_exemption,
    context,
    pod_context,
    security,
    spec,
    with_parameters,
)

CONTAINER_TWINS: list[ContainerTwin] = [
    (
        security(seccompProfile={"type": "Unconfined"}),
        security(seccompProfile={"type": "Localhost", "localhostProfile": "p.json"}),
        "securityContext.seccompProfile.type",
        '"Unconfined"',
    ),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(("bad", "good", "field", "value"), CONTAINER_TWINS)
def test_container_field_is_denied_in_every_list(
    bad: Container, good: Container, field: str, value: str, where: str
) -> None:
    check_container_twin("seccompProfile", bad, good, field, value, where)


POD_TWINS: list[PodTwin] = [
    (
        {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
        {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
        "spec.securityContext.seccompProfile.type",
    ),
]


@pytest.mark.parametrize(("bad", "good", "field"), POD_TWINS)
def test_pod_field_is_denied(bad: Pod, good: Pod, field: str) -> None:
    check_pod_twin("seccompProfile", bad, good, field)


PARAMETER_TWINS: list[ParameterTwin] = [
    (
        {"allowedTypes": []},
        {"spec": {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}, "containers": [container()]}},
        {"spec": {"securityContext": {}, "containers": [container()]}},
        "spec.securityContext.seccompProfile.type",
    ),
    (
        {"localhostProfiles": ["team/*.json"]},
        context(seccompProfile={"type": "Localhost", "localhostProfile": "x.json"}),
        context(seccompProfile={"type": "Localhost", "localhostProfile": "team/x.json"}),
        "localhostProfile",
    ),
    (
        {"localhostProfiles": []},
        context(seccompProfile={"type": "Localhost", "localhostProfile": "x.json"}),
        context(seccompProfile={"type": "RuntimeDefault"}),
        "localhostProfile",
    ),
    ({"allowedTypes": ["Localhost"]}, spec(), pod_context(seccompProfile={"type": "Localhost"}), "type"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("seccompProfile", parameters, bad, good, field)


def test_windows_pods_are_exempt_from_1_25() -> None:
    check_windows_exemption("seccompProfile")


def test_annotations_count_before_1_19_only() -> None:
    pod = restricted_pod()
    pod["metadata"]["annotations"] = {"container.seccomp.security.alpha.kubernetes.io/app": "unconfined"}
    (finding,) = at_level("seccompProfile", pod, Level.BASELINE, 18)
    assert finding.field == "metadata.annotations[container.seccomp.security.alpha.kubernetes.io/app]"
    assert (finding.subject, finding.container) == ('container "app"', None)
    assert at_level("seccompProfile", pod, Level.BASELINE, 19) == []
    pod["metadata"]["annotations"] = {"seccomp.security.alpha.kubernetes.io/pod": "localhost/x"}
    assert at_level("seccompProfile", pod, Level.BASELINE, 18) == []


def test_ephemeral_container_that_inherits_a_denied_value_is_named_itself() -> None:
    check_inheritance("seccompProfile", {"seccompProfile": {"type": "Unconfined"}})


def test_fix_replaces_the_whole_profile_because_a_file_is_rejected_beside_another_type() -> None:
    path = ("spec", "containers", 0, "securityContext", "seccompProfile")
    profile = {"type": "Localhost", "localhostProfile": "a.json"}
    pod = restricted_pod(security(seccompProfile=profile), securityContext={"seccompProfile": None})
    of_type: tuple[tuple[dict[str, Any], Any], ...] = (
        ({"allowedTypes": ["RuntimeDefault"]}, set_to(path, {"type": "RuntimeDefault"})),
        ({"allowedTypes": ["Localhost"], "localhostProfiles": ["b.json"]}, None),
    )
    for parameters, change in of_type:
        (finding,) = with_parameters("seccompProfile", parameters, pod)
        assert finding.change == change


def test_profile_where_none_is_allowed_can_be_removed_by_a_program() -> None:
    pod = restricted_pod(security(seccompProfile={"type": "Localhost", "localhostProfile": "x"}))
    of_pod, of_container = with_parameters("seccompProfile", {"allowedTypes": []}, pod)
    assert (of_pod.allowed, of_pod.fix) == ("unset", "remove it")
    assert of_container.change == remove(("spec", "containers", 0, "securityContext", "seccompProfile"))


def test_profile_that_is_required_and_of_no_type_is_an_error() -> None:
    parameters = msgspec.convert({"allowedTypes": [], "required": True}, CONTROLS["seccompProfile"].parameters)
    with pytest.raises(ParameterError, match="required: needs a type of profile"):
        CONTROLS["seccompProfile"].verify(parameters)
