"""Mirrors: images of a registry are pulled from another one, whatever list they are in, and only once."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.policies import ClusterPodPolicy, PodPolicy, PolicyError, PolicySet, PolicyWaiver, compile_policy
from sekisho.policies.advice import advice
from tests.unit.admission.test_applied_defaults import denies, plain_pod, policy, waiver, with_defaults

DIGEST = "sha256:" + "0" * 64
HUB = policy("hub", defaults={"mirrors": {"docker.io": "mirror.example.com/hub"}})


def image(written: str, *policies: ClusterPodPolicy | PodPolicy | PolicyWaiver) -> str:
    """The image that a container gets."""
    pod = plain_pod({"name": "a", "image": written})
    changed: str = with_defaults(pod, *(policies or (HUB,)))["spec"]["containers"][0]["image"]
    return changed


@pytest.mark.parametrize(
    ("written", "mirrored"),
    [
        ("nginx", "mirror.example.com/hub/library/nginx"),
        ("nginx:1.27", "mirror.example.com/hub/library/nginx:1.27"),
        (f"nginx:1.27@{DIGEST}", f"mirror.example.com/hub/library/nginx:1.27@{DIGEST}"),
        (f"acme/app@{DIGEST}", f"mirror.example.com/hub/acme/app@{DIGEST}"),
        ("docker.io/acme/app", "mirror.example.com/hub/acme/app"),
        ("index.docker.io/nginx", "mirror.example.com/hub/library/nginx"),
        ("registry-1.docker.io:443/library/nginx", "mirror.example.com/hub/library/nginx"),
        ("DOCKER.IO/library/nginx", "mirror.example.com/hub/library/nginx"),
    ],
)
def test_an_image_of_the_registry_is_pulled_from_its_mirror(written: str, mirrored: str) -> None:
    assert image(written) == mirrored


@pytest.mark.parametrize(
    "written",
    [
        "ghcr.io/acme/app",
        "docker.io.example.com/acme/app",
        "mirror.example.com/hub/library/nginx",
        "localhost/nginx",
        "not a reference",
        "acme/" + "a" * 250,
    ],
)
def test_any_other_image_stays(written: str) -> None:
    assert image(written) == written


def test_images_of_all_containers_and_volumes_are_pulled_from_the_mirror() -> None:
    pod = plain_pod(
        {"name": "a", "image": "nginx"},
        initContainers=[{"name": "b", "image": "nginx"}],
        ephemeralContainers=[{"name": "c", "image": "nginx"}],
        volumes=[{"name": "v", "image": {"reference": "nginx"}}, {"name": "e", "emptyDir": {}}],
    )
    spec = with_defaults(pod, HUB)["spec"]
    images = [spec[field][0]["image"] for field in ("containers", "initContainers", "ephemeralContainers")]
    assert {*images, spec["volumes"][0]["image"]["reference"]} == {"mirror.example.com/hub/library/nginx"}


def test_an_image_that_a_mirror_serves_already_stays_even_where_that_registry_has_a_mirror_too() -> None:
    onward = policy("onward", defaults={"mirrors": {"mirror.example.com": "other.example.com"}})
    assert image("nginx", HUB, onward) == "mirror.example.com/hub/library/nginx"
    assert image("mirror.example.com/hub/library/nginx", HUB, onward) == "mirror.example.com/hub/library/nginx"
    assert image("mirror.example.com/own/app", HUB, onward) == "other.example.com/own/app"


def test_a_mirror_may_be_a_path_of_the_same_registry() -> None:
    within = policy("within", defaults={"mirrors": {"docker.io": "docker.io/acme"}})
    assert image("other/app", within) == "docker.io/acme/other/app"
    assert image("docker.io/acme/app", within) == "docker.io/acme/app"


def test_the_new_image_is_judged() -> None:
    trusted = policy("trusted", controls={"images": {"trustedRegistries": ["mirror.example.com/hub"]}})
    pod = plain_pod({"name": "a", "image": "nginx"})
    assert denies(pod, trusted, HUB)
    assert not denies(with_defaults(pod, trusted, HUB), trusted, HUB)


def test_a_mirror_that_a_policy_denies_is_not_used() -> None:
    trusted = policy("trusted", controls={"images": {"trustedRegistries": ["docker.io"]}})
    assert image("nginx", trusted, HUB) == "nginx"
    assert not denies(plain_pod({"name": "a", "image": "nginx"}), trusted, HUB)


SIGNED = {"images": ["docker.io/acme/*"], "by": {"anyOf": ["ci"]}}


@pytest.mark.parametrize(
    "images",
    [
        {"signatures": [SIGNED]},
        {"signatures": [SIGNED], "resolveTags": True},
        {"attestations": [{**SIGNED, "sbom": {"formats": ["cyclonedx"]}}]},
        {"deniedRegistries": ["docker.io/acme"]},
    ],
)
def test_an_image_that_a_rule_names_stays_where_the_rule_applies(images: dict[str, Any]) -> None:
    named = policy("named", controls={"images": images})
    for written in ("acme/app:1", f"index.docker.io/acme/app@{DIGEST}"):
        assert image(written, named, HUB) == written
        assert denies(plain_pod({"name": "a", "image": written}), named, HUB)
    assert image("other/app", named, HUB) == "mirror.example.com/hub/other/app"


def test_a_denied_registry_may_have_a_mirror() -> None:
    denied = policy("denied", controls={"images": {"deniedRegistries": ["docker.io"]}})
    assert image("acme/app", denied, HUB) == "mirror.example.com/hub/acme/app"


def test_a_mirror_of_a_registry_that_rules_name_is_warned_about() -> None:
    mirrors = {"index.docker.io": "mirror.example.com", "ghcr.io": "mirror.example.com"}
    both = policy(controls={"images": {"signatures": [SIGNED]}}, defaults={"mirrors": mirrors})
    [warning] = [line for line in advice(both, PolicySet.of([])) if "mirrors" in line]
    assert warning.startswith("spec.defaults.mirrors[index.docker.io]: images that spec.controls.images.signatures")


def test_an_image_that_waivers_exempt_stays() -> None:
    exempt = waiver(["images"], policies=("hub",), match={"images": ["docker.io/acme"]})
    assert image("acme/app", HUB, exempt) == "acme/app"
    assert image("other/app", HUB, exempt) == "mirror.example.com/hub/other/app"


def test_the_first_policy_by_name_has_the_mirror_and_a_pod_policy_only_where_no_cluster_policy_has_one() -> None:
    second = policy(
        "second", defaults={"mirrors": {"docker.io": "second.example.com", "ghcr.io": "second.example.com"}}
    )
    own = msgspec.convert(
        {
            "metadata": {"name": "own", "namespace": "shop"},
            "spec": {"defaults": {"mirrors": {"docker.io": "own.example.com", "quay.io": "own.example.com"}}},
        },
        PodPolicy,
    )
    assert image("acme/app", second, own, HUB) == "mirror.example.com/hub/acme/app"
    assert image("ghcr.io/acme/app", second, own, HUB) == "second.example.com/acme/app"
    assert image("quay.io/acme/app", second, own, HUB) == "own.example.com/acme/app"


@pytest.mark.parametrize(
    ("mirrors", "field", "message"),
    [
        ({"docker.io/acme": "mirror.example.com"}, "docker.io/acme", "must be the host of one registry"),
        ({"*": "mirror.example.com"}, "*", "must be the host of one registry"),
        ({"acme": "mirror.example.com"}, "acme", "which is not a registry host"),
        ({"docker.io": "acme/app"}, "docker.io", "which is not a registry host"),
        ({"docker.io": "mirror.example.com/*"}, "docker.io", "must be a registry with an optional path"),
        ({"docker.io": "mirror.example.com/hub:1"}, "docker.io", "without a tag"),
        ({"docker.io": "https://mirror.example.com"}, "docker.io", "which is not a registry host"),
        ({"docker.io": "a.example", "index.docker.io": "b.example"}, "index.docker.io", "has a mirror already"),
    ],
)
def test_a_mirror_that_names_no_registry_is_denied(mirrors: dict[str, str], field: str, message: str) -> None:
    with pytest.raises(PolicyError) as error:
        compile_policy(policy(defaults={"mirrors": mirrors}))
    [problem] = error.value.problems
    assert problem.where == f"spec.defaults.mirrors[{field}]"
    assert message in problem.message


SEGMENTS = st.sampled_from(["docker.io", "a.example", "b.example:5000", "acme", "x", "hub"])
MIRRORS = st.dictionaries(
    st.sampled_from(["docker.io", "a.example", "b.example:5000"]),
    st.sampled_from(["docker.io/hub", "a.example", "a.example/hub", "b.example:5000/x/y", "c.example"]),
)


@given(st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join), st.lists(MIRRORS, min_size=1, max_size=3))
def test_an_image_that_was_changed_is_not_changed_again(written: str, mirrors: list[dict[str, Any]]) -> None:
    policies = [policy(f"p{number}", defaults={"mirrors": mirrors_of}) for number, mirrors_of in enumerate(mirrors)]
    once = image(written, *policies)
    assert image(once, *policies) == once
