"""imagePullPolicy: pods that it denies, beside near-twins that it allows."""

from typing import Any

import pytest

from tests.pods import container, restricted_pod, with_container_in
from tests.unit.controls.twins import LISTS, ParameterTwin, Pod, check_parameter_twin, with_parameters

DIGEST = "sha256:" + "a" * 64


def pulled(image: str, **policy: str) -> Pod:
    return restricted_pod(container(image=image, **policy))


def volume(reference: str, **policy: str) -> Pod:
    image = {"reference": reference, **policy}
    return restricted_pod(container(imagePullPolicy="Always"), volumes=[{"name": "v", "image": image}])


ANY_NODE: dict[str, Any] = {"allowed": ["Always", "IfNotPresent"]}
PARAMETER_TWINS: list[ParameterTwin] = [
    (
        {},
        pulled("a.io/b:1", imagePullPolicy="IfNotPresent"),
        pulled("a.io/b:1", imagePullPolicy="Always"),
        "containers[0].imagePullPolicy",
    ),
    (
        ANY_NODE,
        pulled("a.io/b:1", imagePullPolicy="Never"),
        pulled("a.io/b:1", imagePullPolicy="IfNotPresent"),
        "imagePullPolicy",
    ),
    ({}, pulled("a.io/b:1"), pulled("a.io/b:latest"), "imagePullPolicy"),
    ({}, pulled(f"a.io/b@{DIGEST}"), pulled("a.io/b"), "imagePullPolicy"),
    ({}, pulled(f"a.io/b:1@{DIGEST}"), pulled(f"a.io/b:latest@{DIGEST}"), "imagePullPolicy"),
    ({"allowed": ["IfNotPresent"]}, pulled("a.io:5000/b"), pulled("a.io:5000/b:1"), "imagePullPolicy"),
    (
        {},
        volume("a.io/b:1", pullPolicy="IfNotPresent"),
        volume("a.io/b:1", pullPolicy="Always"),
        "spec.volumes[0].image.pullPolicy",
    ),
    ({}, volume("a.io/b:1"), volume("a.io/b"), "spec.volumes[0].image.pullPolicy"),
]


@pytest.mark.parametrize(("parameters", "bad", "good", "field"), PARAMETER_TWINS)
def test_parameters_deny_and_allow(parameters: Any, bad: Pod, good: Pod, field: str) -> None:
    check_parameter_twin("imagePullPolicy", parameters, bad, good, field)


@pytest.mark.parametrize("where", LISTS)
def test_containers_of_every_list_are_judged(where: str) -> None:
    def denied(policy: str) -> list[str | None]:
        pod = with_container_in(where, container(imagePullPolicy=policy))
        return [finding.container for finding in with_parameters("imagePullPolicy", {}, pod)]

    assert denied("Never") == (["tested", "app"] if where in ("initContainers", "sidecar") else ["app", "tested"])
    assert denied("Always") == ["app"]
