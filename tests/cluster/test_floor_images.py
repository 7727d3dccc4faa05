"""The floor and the engine agree on every reference of an image, whatever registries are trusted or denied."""

import string
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import pytest

from sekisho.policies import PolicySet
from tests.controlplane.plane import ControlPlane
from tests.controlplane.waiting import wait_until
from tests.differential.floor import (
    Images,
    Json,
    floor_for,
    images_denied_by_engine,
    images_denied_by_floor,
    install,
    path_of,
    policies_of,
    type_problems,
)
from tests.differential.image_references import image_references

SOON = 60.0
IN_A_POD: Final = 8
RULES: Final[Sequence[Json]] = (
    {"trustedRegistries": ["ghcr.io", "docker.io/library", "localhost:5000/acme"]},
    {"trustedRegistries": ["ghcr.io/acme/*", "*.evil.io", "*.io:5000", "d*.io", "localhost/*/web"]},
    {"trustedRegistries": ["docker.io/library/nginx", "docker.io/acme", "ghcr.io:5000", "ghcr.io:0"]},
    {"trustedRegistries": ["*"]},
    {"deniedRegistries": ["docker.io/nginx", "evil.io", "ghcr.io:5000"]},
    {"deniedRegistries": ["docker.io/library/*", "*.evil.io/acme", "localhost"]},
    {"deniedRegistries": ["docker.io/library", "d*.io/lib*/web", "ghcr.io/acme"]},
    {"deniedRegistries": ["index.docker.io/ngin*", "*.io/acme", "g*.io*/library", "docker.io/*/nginx/x"]},
    {"requireTag": True, "trustedRegistries": ["*"], "deniedRegistries": ["*:5000"]},
    {"requireDigest": True},
    {"deniedTags": ["latest", "1.2", "5000"]},
)  # fmt: skip

POLICIES = policies_of(
    {"kind": "ClusterPodPolicy", "metadata": {"name": f"p{number}"}, "spec": {"controls": {"images": rules}}}
    for number, rules in enumerate(RULES)
)


def pods_of_images() -> Iterator[Images]:
    """The references, as many as fit in a pod together."""
    references = image_references()
    while batch := dict(zip(string.ascii_lowercase, islice(references, IN_A_POD), strict=False)):
        yield batch


@pytest.fixture
def plane(bare_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane without Sekisho; removes the floor after the test."""
    yield bare_plane
    for one in reversed(floor_for(POLICIES).objects):
        bare_plane.call("DELETE", path_of(one))
    wait_until(lambda: not images_denied_by_floor(bare_plane, "default", {"a": "Nginx"}), SOON, "the floor is gone")


def test_floor_and_engine_agree_on_every_image_reference(plane: ControlPlane) -> None:
    known = PolicySet.of(POLICIES)
    [path, _binding] = install(plane, floor_for(POLICIES), ["Warn"])
    assert type_problems(plane, path) == {}
    wait_until(lambda: images_denied_by_floor(plane, "default", {"a": "Nginx"}), SOON, "the floor warns")
    count, denied, differences = 0, 0, []
    for images in pods_of_images():
        floor, engine = (
            images_denied_by_floor(plane, "default", images),
            images_denied_by_engine(known, "default", images),
        )
        count, denied = count + len(images), denied + len(engine)
        differences += [(images[name], policy, (policy, name) in floor) for policy, name in floor ^ engine]
    assert differences == []
    assert (count >= 2268, 0.3 < denied / (count * len(RULES)) < 0.9) == (True, True)
