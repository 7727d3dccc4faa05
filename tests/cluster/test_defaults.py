"""Whatever pod the API server accepts, it accepts with the defaults filled in."""

import json
import random
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.conftest import Cluster
from tests.controlplane.waiting import wait_until

PODS = 200
SOON = 30.0

CONTEXT: dict[str, list[Any]] = {
    "privileged": [True, False],
    "allowPrivilegeEscalation": [True, False],
    "runAsNonRoot": [True, False],
    "runAsUser": [0, 1000],
    "runAsGroup": [0, 1000],
    "readOnlyRootFilesystem": [True, False],
    "procMount": ["Default", "Unmasked"],
    "seccompProfile": [
        {"type": "RuntimeDefault"},
        {"type": "Unconfined"},
        {"type": "Localhost", "localhostProfile": "x"},
    ],
    "capabilities": [{}, {"add": ["SYS_ADMIN"]}, {"add": ["CAP_SYS_ADMIN"]}, {"drop": ["NET_RAW"]}, {"drop": ["ALL"]}],
    "windowsOptions": [{"runAsUserName": "u"}, {"hostProcess": True}],
    "appArmorProfile": [{"type": "Unconfined"}, {"type": "RuntimeDefault"}],
}
AMOUNTS: dict[str, list[Any]] = {
    "requests": [{"cpu": "50m"}, {"cpu": "1", "memory": "32Mi"}, {"memory": "4Gi"}],
    "limits": [{"cpu": "10m"}, {"memory": "16Mi"}, {"cpu": "4", "memory": "8Gi"}],
}
POD_CONTEXT: dict[str, list[Any]] = {
    key: CONTEXT[key]
    for key in ("runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile", "windowsOptions", "appArmorProfile")
} | {"fsGroup": [0, 1000]}
SPEC: dict[str, list[Any]] = {
    "hostUsers": [True, False],
    "hostNetwork": [True],
    "hostPID": [True],
    "shareProcessNamespace": [True],
    "os": [{"name": "linux"}, {"name": "windows"}],
    "automountServiceAccountToken": [True, False],
}


def some(choices: random.Random, fields: dict[str, list[Any]], chance: float) -> dict[str, Any]:
    return {key: choices.choice(values) for key, values in fields.items() if choices.random() < chance}


def random_pod(choices: random.Random) -> dict[str, Any]:
    """A pod of random fields; about two of three are ones that the API server accepts."""

    def containers(name: str, max_count: int) -> list[dict[str, Any]]:
        made = []
        for index in range(choices.randint(0, max_count)):
            one: dict[str, Any] = {"name": f"{name}{index}", "image": "x"}
            if choices.random() < 0.8:
                one["securityContext"] = some(choices, CONTEXT, choices.choice((0.05, 0.2)))
            if choices.random() < 0.3:
                one["resources"] = some(choices, AMOUNTS, 0.5)
            if choices.random() < 0.2:
                one["imagePullPolicy"] = choices.choice(("Never", "IfNotPresent", "Always"))
            made.append(one)
        return made

    spec = some(choices, SPEC, 0.15)
    if choices.random() < 0.6:
        spec["securityContext"] = some(choices, POD_CONTEXT, 0.15)
    spec["containers"] = [{"name": "always", "image": "x"}, *containers("app", 2)]
    spec["initContainers"] = containers("init", 1)
    if choices.random() < 0.1:
        spec["resources"] = {"limits": {"cpu": "8", "memory": "16Gi"}}
    metadata: dict[str, Any] = {"name": "p"}
    if choices.random() < 0.1:
        metadata["annotations"] = {"container.apparmor.security.beta.kubernetes.io/always": "unconfined"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.fixture
def with_all_defaults(cluster: Cluster) -> Iterator[str]:
    """A namespace where all defaults are filled in and nothing is judged."""
    name = f"with-all-defaults-{uuid.uuid4().hex[:8]}"
    kubectl = cluster.plane.kubectl
    defaults = {
        "profile": "restricted",
        "pod": {
            "securityContext": {
                "fsGroup": 2000,
                "runAsGroup": 3000,
                "appArmorProfile": {"type": "RuntimeDefault"},
            },
            "automountServiceAccountToken": False,
            "labels": {"example.com/team": "shop"},
            "annotations": {"example.com/owner": "shop"},
        },
        "container": {
            "securityContext": {"readOnlyRootFilesystem": True},
            "imagePullPolicy": "Always",
            "resources": {
                "requests": {"cpu": "100m", "memory": "64Mi"},
                "limits": {"memory": "1Gi", "ephemeral-storage": "1Gi"},
            },
        },
        "mirrors": {"docker.io": "mirror.example.com/hub"},
    }
    policy = {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": name},
        "spec": {"match": {"namespaces": [name]}, "defaults": defaults},
    }
    kubectl.check("create", "namespace", name)
    kubectl.check("apply", "-f", "-", input=json.dumps(policy))
    kubectl.check("wait", "--for=condition=Enforced", f"clusterpodpolicy/{name}", f"--timeout={SOON:g}s")
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    wait_until(lambda: cluster.plane.call("GET", account).status == 200, SOON, "the service account is there")
    yield name
    kubectl("delete", "clusterpodpolicy", name, "--wait=false")
    kubectl("delete", "namespace", name, "--wait=false")


def test_defaults_never_make_a_pod_unacceptable_to_the_api_server(
    cluster: Cluster, namespace: str, with_all_defaults: str
) -> None:
    choices = random.Random(20261123)  # noqa: S311 - a fixed sequence of pods
    accepted = changed = 0
    for _ in range(PODS):
        pod = random_pod(choices)
        plain = cluster.plane.call("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
        if plain.status != 201:
            continue
        accepted += 1
        with_defaults = cluster.plane.call("POST", f"/api/v1/namespaces/{with_all_defaults}/pods?dryRun=All", pod)
        assert with_defaults.status == 201, (pod["spec"], with_defaults.body)
        for container in (*pod["spec"]["containers"], *pod["spec"]["initContainers"]):
            container["image"] = "mirror.example.com/hub/library/x"
        assert explicit_values(pod["spec"], json.loads(with_defaults.body)["spec"]), pod["spec"]
        changed += json.loads(with_defaults.body)["spec"] != json.loads(plain.body)["spec"]
    assert accepted > PODS / 4
    assert changed > accepted / 2


@pytest.mark.parametrize(("explicit", "mounts"), [(None, False), (True, True), (False, False)])
def test_token_that_the_api_server_mounts_is_removed_by_the_default(
    cluster: Cluster, with_all_defaults: str, explicit: bool | None, mounts: bool
) -> None:
    spec = {
        "automountServiceAccountToken": explicit,
        "initContainers": [{"name": "init", "image": "x"}],
        "containers": [{"name": "app", "image": "x", "volumeMounts": [{"name": "own", "mountPath": "/own"}]}],
        "volumes": [{"name": "own", "emptyDir": {}}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    answer = cluster.plane.call("POST", f"/api/v1/namespaces/{with_all_defaults}/pods?dryRun=All", pod)
    assert answer.status == 201, answer.body
    created = json.loads(answer.body)["spec"]
    assert created["automountServiceAccountToken"] is bool(explicit)
    assert len(created["volumes"]) == 1 + mounts
    assert len(created["containers"][0]["volumeMounts"]) == 1 + mounts
    assert len(created["initContainers"][0].get("volumeMounts", [])) == mounts


def explicit_values(explicit: Any, stored: Any) -> bool:
    """Whether all that was given is still there; a list of capabilities may have grown."""
    if isinstance(explicit, dict):
        return all(
            key in stored and explicit_values(value, stored[key])
            for key, value in explicit.items()
            if value not in ({}, [])
        )
    if isinstance(explicit, list) and explicit and isinstance(explicit[0], str):
        return set(explicit) <= set(stored)
    if isinstance(explicit, list):
        return all(explicit_values(one, other) for one, other in zip(explicit, stored, strict=False))
    return bool(explicit == stored)
