"""What docs/api-versions.md promises of the next API version: read in either, an object gives the same policy."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from sekisho.manifests import parse_policies
from tests.chart import CHART
from tests.controlplane.plane import ControlPlane
from tests.controlplane.waiting import wait_until
from tests.policy_library import LIBRARY

SOON = 30.0
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAME = "clusterpodpolicies.sekisho.dev"
Object = dict[str, Any]


def with_beta(storage: str) -> Object:
    """The CRD of ClusterPodPolicies with a version v1beta1 of the same fields, and the version that is stored."""
    definition: Object = yaml.safe_load((CHART / "files/crds/sekisho.dev_clusterpodpolicies.yaml").read_text())
    (alpha,) = definition["spec"]["versions"]
    beta = copy.deepcopy(alpha) | {"name": "v1beta1"}
    definition["spec"]["versions"] = [version | {"storage": version["name"] == storage} for version in (alpha, beta)]
    return definition


def policies_at(version: str) -> str:
    return f"/apis/sekisho.dev/{version}/clusterpodpolicies"


@pytest.fixture
def served_in_both(bare_plane: ControlPlane) -> Iterator[ControlPlane]:
    """A control plane that stores v1alpha1 and serves both versions."""
    assert bare_plane.call("POST", CRDS, with_beta("v1alpha1")).status == 201
    served = [policies_at(version) for version in ("v1alpha1", "v1beta1")]
    wait_until(lambda: all(bare_plane.call("GET", at).status == 200 for at in served), SOON, "both versions are served")
    yield bare_plane
    bare_plane.call("DELETE", f"{CRDS}/{NAME}")
    wait_until(lambda: bare_plane.call("GET", f"{CRDS}/{NAME}").status == 404, SOON, "the definition is deleted")


def read(plane: ControlPlane, version: str, name: str) -> Object:
    at = f"{policies_at(version)}/{name}"
    wait_until(lambda: plane.call("GET", at).status == 200, SOON, f"{name} is served as {version}")
    policy: Object = json.loads(plane.call("GET", at).body)
    assert policy["apiVersion"] == f"sekisho.dev/{version}"
    return policy


def written(plane: ControlPlane, path: str, policy: Object) -> bool:
    return plane.call("PUT", path, policy).status == 200


def test_a_policy_is_the_same_in_either_version_whichever_is_stored(served_in_both: ControlPlane) -> None:
    plane = served_in_both
    names = ("restricted", "strict-groups", "probes")
    for name in names:
        policy = yaml.safe_load((LIBRARY / name / "policy.yaml").read_text())
        assert plane.call("POST", policies_at("v1alpha1"), policy).status == 201
    first = {name: read(plane, "v1alpha1", name)["spec"] for name in names}
    assert {name: read(plane, "v1beta1", name)["spec"] for name in names} == first

    at = f"{CRDS}/{NAME}"

    def beta_is_stored() -> bool:
        definition = json.loads(plane.call("GET", at).body)
        definition["spec"]["versions"] = with_beta("v1beta1")["spec"]["versions"]
        return written(plane, at, definition)  # not while the API server writes its status

    wait_until(beta_is_stored, SOON, "v1beta1 is stored from now on")
    for name in names:
        path = f"{policies_at('v1beta1')}/{name}"
        wait_until(lambda: written(plane, path, read(plane, "v1beta1", name)), SOON, f"{name} is stored again")  # noqa: B023
        again = read(plane, "v1alpha1", name)
        assert again["spec"] == first[name]
        (compiled,) = parse_policies(json.dumps(again), "policy.json")
        (library,) = parse_policies((LIBRARY / name / "policy.yaml").read_text(), "policy.yaml")
        assert compiled.spec == library.spec
