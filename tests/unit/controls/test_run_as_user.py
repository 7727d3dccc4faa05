"""runAsUser: pods that it denies, beside near-twins that it allows."""

from typing import Any

import msgspec
import pytest

from sekisho.findings import remove
from tests.pods import with_container_in
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
    check_user_namespace,
    context,
    pod_context,
    rejected_parameter,
    security,
    spec,
    with_parameters,
)

RANGE = {"ranges": [{"min": 1000, "max": 1999}]}
MUST = RANGE | {"rule": "MustRunAs"}


CONTAINER_TWINS: list[ContainerTwin] = [
    (security(runAsUser=0), security(runAsUser=1000), "securityContext.runAsUser", "0"),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(("bad", "good", "field", "value"), CONTAINER_TWINS)
def test_container_field_is_denied_in_every_list(
    bad: Container, good: Container, field: str, value: str, where: str
) -> None:
    check_container_twin("runAsUser", bad, good, field, value, where)


POD_TWINS: list[PodTwin] = [
    ({"securityContext": {"runAsUser": 0}}, {"securityContext": {"runAsUser": 1}}, "spec.securityContext.runAsUser"),
]


@pytest.mark.parametrize(("bad", "good", "field"), POD_TWINS)
def test_pod_field_is_denied(bad: Pod, good: Pod, field: str) -> None:
    check_pod_twin("runAsUser", bad, good, field)


@pytest.mark.parametrize("where", LISTS)
def test_a_containers_user_0_is_removed_only_where_the_pods_user_applies_then(where: str) -> None:
    pod = with_container_in(where, security(runAsUser=0), securityContext={"runAsUser": 1000})
    (finding,) = at_level("runAsUser", pod)
    assert (finding.fix, finding.change) == ("remove it: the pod's user applies then", remove(finding.path))
    # Without the field the image's user would apply, which may be root.
    (finding,) = at_level("runAsUser", with_container_in(where, security(runAsUser=0)))
    assert (finding.fix, finding.change) == ("set an id above 0, here or only in the image", None)


def test_a_person_decides_which_user_a_pod_runs_as() -> None:
    (finding,) = at_level("runAsUser", pod_context(runAsUser=0))
    assert (finding.fix, finding.change) == ("set an id above 0, here or only in the image", None)


PARAMETER_TWINS: list[ParameterTwin] = [
    (RANGE, context(runAsUser=999), context(runAsUser=1000), "runAsUser"),
    (RANGE, pod_context(runAsUser=2000), pod_context(runAsUser=1999), "runAsUser"),
    (MUST, spec(), pod_context(runAsUser=1000), "runAsUser"),
    ({}, context(runAsUser=0), context(runAsUser=1), "runAsUser"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("runAsUser", parameters, bad, good, field)


def test_user_namespace_relaxes_from_1_35() -> None:
    check_user_namespace("runAsUser")


def test_ephemeral_container_that_inherits_a_denied_value_is_named_itself() -> None:
    check_inheritance("runAsUser", {"runAsUser": 0})


@pytest.mark.parametrize(
    ("parameters", "where"),
    [({"ranges": [{"min": 2, "max": 1}]}, "ranges[0]"), ({"rule": "MustRunAs"}, "ranges")],
)
def test_parameter_that_makes_no_sense_is_rejected_with_its_path(parameters: Any, where: str) -> None:
    assert rejected_parameter("runAsUser", parameters).where == where


def test_empty_list_of_ranges_is_rejected() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"length >= 1 - at `\$\.ranges`"):
        with_parameters("runAsUser", {"ranges": []}, spec())
    assert with_parameters("runAsUser", {"ranges": [{"min": 1, "max": 2}]}, spec()) == []
