"""runAsNonRoot: pods that it denies, beside near-twins that it allows."""

import pytest

from tests.pods import container, restricted_pod
from tests.unit.controls.twins import (
    LISTS,
    Container,
    ContainerTwin,
    Pod,
    PodTwin,
    at_level,
    check_container_twin,
    check_inheritance,
    check_pod_twin,
    check_user_namespace,
    security,
    windows,
)

CONTAINER_TWINS: list[ContainerTwin] = [
    (security(runAsNonRoot=False), security(runAsNonRoot=True), "securityContext.runAsNonRoot", "false"),
]


@pytest.mark.parametrize("where", LISTS)
@pytest.mark.parametrize(("bad", "good", "field", "value"), CONTAINER_TWINS)
def test_container_field_is_denied_in_every_list(
    bad: Container, good: Container, field: str, value: str, where: str
) -> None:
    check_container_twin("runAsNonRoot", bad, good, field, value, where)


POD_TWINS: list[PodTwin] = [
    (
        {"securityContext": {"runAsNonRoot": False}},
        {"securityContext": {"runAsNonRoot": True}},
        "spec.securityContext.runAsNonRoot",
    ),
]


@pytest.mark.parametrize(("bad", "good", "field"), POD_TWINS)
def test_pod_field_is_denied(bad: Pod, good: Pod, field: str) -> None:
    check_pod_twin("runAsNonRoot", bad, good, field)


def test_value_of_the_pod_applies_to_containers_that_set_none() -> None:
    unset = restricted_pod(container("a"), container("b"), securityContext={"runAsNonRoot": None})
    assert [finding.container for finding in at_level("runAsNonRoot", unset)] == ["a", "b"]
    assert at_level("runAsNonRoot", restricted_pod(container("a"), container("b"))) == []


def test_false_of_the_pod_is_denied_even_where_every_container_says_true() -> None:
    pod = restricted_pod(security(runAsNonRoot=True), securityContext={"runAsNonRoot": False})
    assert [finding.field for finding in at_level("runAsNonRoot", pod)] == ["spec.securityContext.runAsNonRoot"]


def test_windows_pods_are_not_exempt() -> None:
    assert at_level("runAsNonRoot", windows()) != []


def test_user_namespace_relaxes_from_1_35() -> None:
    check_user_namespace("runAsNonRoot")


def test_ephemeral_container_that_inherits_a_denied_value_is_named_itself() -> None:
    check_inheritance("runAsNonRoot", {"runAsNonRoot": False})
