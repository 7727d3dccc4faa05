"""images: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.pods import container, restricted_pod
from tests.unit.controls.twins import (
    ParameterTwin,
    Pod,
    check_parameter_twin,
    image,
    rejected_parameter,
    with_parameters,
)

SHA = "@sha256:" + "0" * 64


def image_volume(reference: str) -> Pod:
    return restricted_pod(
        container(image="a.io/app:1" + SHA, volumeMounts=[{"name": "m", "mountPath": "/m"}]),
        volumes=[{"name": "m", "image": {"reference": reference}}],
    )


PARAMETER_TWINS: list[ParameterTwin] = [
    ({"deniedRegistries": ["evil.io"]}, image("evil.io/x"), image("evil.io.example.com/x"), "image"),
    (
        {"trustedRegistries": ["a.io"], "deniedRegistries": ["a.io/old"]},
        image("a.io/old/x"),
        image("a.io/older/x"),
        "image",
    ),
    ({"requireDigest": True}, image("a.io/x:1"), image("a.io/x:1" + SHA), "image"),
    ({"requireTag": True}, image("a.io/x"), image("a.io/x:1"), "image"),
    ({"requireTag": True}, image("a.io/x"), image("a.io/x" + SHA), "image"),
    ({"deniedTags": ["latest"]}, image("a.io/x:latest"), image("a.io/x:1"), "image"),
    ({"deniedRegistries": ["evil.io"]}, image("evil.io:443/x"), image("evil.io.example.com:443/x"), "image"),
    ({"deniedRegistries": ["docker.io"]}, image("registry-1.docker.io/library/nginx"), image("a.io/nginx"), "image"),
    ({"trustedRegistries": ["a.io"]}, image_volume("evil.io/x:1"), image_volume("a.io/x:1"), "image.reference"),
    (
        {"deniedRegistries": ["evil.io"]},
        image_volume("evil.io/x"),
        image_volume("a.io/x"),
        "volumes[0].image.reference",
    ),
    ({"deniedTags": ["latest"]}, image_volume("trusted.io/x"), image_volume("trusted.io/x:1"), "image.reference"),
    ({"requireTag": True}, image_volume("trusted.io/x"), image_volume("trusted.io/x:1"), "image.reference"),
    ({"requireDigest": True}, image_volume("trusted.io/x:1"), image_volume("trusted.io/x" + SHA), "image.reference"),
    ({}, image_volume("trusted.io/X"), image_volume("trusted.io/x"), "image.reference"),
    ({"deniedTags": ["latest"]}, image("a.io/x"), image("a.io/x:latest" + SHA), "image"),
    ({}, image("a.io/X"), image("a.io/x"), "image"),
]


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("a.io/x", "append the version to run, such as :1.2.3: no tag means latest"),
        ("a.io/x:latest", "name the version to run, such as :1.2.3"),
    ],
)
def test_the_fix_for_an_image_without_a_tag_says_that_it_would_run_latest(name: str, fix: str) -> None:
    (finding,) = with_parameters("images", {"deniedTags": ["latest"]}, image(name))
    assert finding.fix == fix


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("images", parameters, bad, good, field)


def test_pattern_that_is_not_a_registry_is_rejected_with_its_path() -> None:
    assert rejected_parameter("images", {"deniedRegistries": ["evil"]}).where == "deniedRegistries[0]"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("robot:s3cret@registry.example.com/x", "…@registry.example.com/x"),
        ("https://robot:s3@cret@registry.example.com/x", "…@registry.example.com/x"),
        ("robot:s3cret@registry.example.com/x" + SHA, "…@registry.example.com/x" + SHA),
        ("robot:s3cret@registry.example.com", "…@registry.example.com"),
        ("registry.example.com/X" + SHA, "registry.example.com/X" + SHA),
        ("", None),
    ],
)
def test_credentials_before_an_images_host_are_not_shown(written: str, shown: str | None) -> None:
    (finding,) = with_parameters("images", {}, image(written))
    assert finding.value == (f'"{shown}"' if shown else "unset")
    assert "s3" not in repr(finding)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("evil.io/" + "x" * 130 + "/a", "evil.io/" + "x" * 130 + "/b"),
        ("robot:one@evil.io/x", "robot:two@evil.io/x"),
    ],
)
def test_images_that_differ_where_it_is_not_shown_are_different_findings(one: str, other: str) -> None:
    (first,) = with_parameters("images", {"trustedRegistries": ["a.io"]}, image(one))
    (second,) = with_parameters("images", {"trustedRegistries": ["a.io"]}, image(other))
    (again,) = with_parameters("images", {"trustedRegistries": ["a.io"]}, image(one))
    assert first.value == second.value
    assert first.identity == again.identity != second.identity


def test_image_of_a_volume_is_a_finding_about_the_volume() -> None:
    (finding,) = with_parameters("images", {"trustedRegistries": ["a.io"]}, image_volume("robot:s3cret@evil.io/x"))
    assert (finding.subject, finding.container, finding.value) == ('volume "m"', None, '"…@evil.io/x"')
