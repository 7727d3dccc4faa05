"""Pods that the API server's defaulting is tried on: shapes of real workloads, each in several variants."""

import copy
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.differential.generator import cases
from tests.pod_defaults.workloads import spec_of, workloads

Json = dict[str, Any]

AS_WRITTEN: Final = "as written"
_SHAPES: Final = Path(__file__).with_name("shapes.yaml")
_LISTS: Final = ("containers", "initContainers")
_APP_ARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"


@lru_cache(maxsize=1)
def _shapes() -> Mapping[str, Json]:
    documents = yaml.safe_load_all(_SHAPES.read_text())
    return {name: spec for document in documents for name, spec in document.items()}


def corpus(*, whole: bool) -> Iterator[tuple[str, Json]]:
    """Pods by a name such as `postgres, limits only`: every shape in every variant, and every workload as written.

    whole: every workload in every variant too.
    """
    for shape, spec in _shapes().items():
        yield from _variants(shape, spec, VARIANTS)
    for workload in workloads():
        yield from _variants(workload.name, spec_of(workload), VARIANTS if whole else {AS_WRITTEN: _as_written})


def _variants(name: str, spec: Json, variants: Mapping[str, Callable[[Json], None]]) -> Iterator[tuple[str, Json]]:
    for variant, change in variants.items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": copy.deepcopy(spec)}
        change(pod)
        yield f"{name}, {variant}", pod


def generated(count: int) -> Iterator[tuple[str, Json]]:
    """Small pods with one field each of the pods that the generator for the differential test makes.

    The API server rejects most of those as a whole, because some field has an impossible value.
    """
    pieces = (spec for case in cases("pod defaults", count) for spec in _pieces(json.loads(case.pod)["spec"]))
    for index, spec in enumerate(itertools.islice(pieces, count)):
        yield f"generated {index}", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


def _pieces(spec: Json) -> Iterator[Json]:
    plain = {"name": "c", "image": "a"}
    for key, value in spec.items():
        if key == "volumes":
            yield from ({"containers": [plain], "volumes": [member | {"name": "v"}]} for member in value or ())
        elif key == "securityContext":
            yield from ({"containers": [plain], key: {name: member}} for name, member in (value or {}).items())
        elif key in _LISTS:
            for container in value or ():
                for name, member in container.items():
                    yield {"containers": [{name: member} | plain]}
        elif key != "ephemeralContainers":
            yield {"containers": [plain], key: value}


def containers_of(pod: Json) -> Iterator[Json]:
    """The containers and init containers."""
    for key in _LISTS:
        yield from pod["spec"].get(key) or ()


def _as_written(_pod: Json) -> None:
    pass


def _host_network(pod: Json) -> None:
    pod["spec"]["hostNetwork"] = True


def _limits_only(pod: Json) -> None:
    for container in containers_of(pod):
        container["resources"] = {"limits": {"cpu": "0.5", "memory": "256Mi", "ephemeral-storage": "1G"}}


def _no_resources(pod: Json) -> None:
    pod["spec"].pop("resources", None)
    for container in containers_of(pod):
        container.pop("resources", None)


def _some_requests(pod: Json) -> None:
    for index, container in enumerate(containers_of(pod)):
        container["resources"] = ({"requests": {"cpu": "50m"}, "limits": {"memory": "1Gi"}}, {}, {"requests": None})[
            index % 3
        ]


def _pod_level_limits(pod: Json) -> None:
    pod["spec"]["resources"] = {"limits": {"cpu": "64", "memory": "256Gi"}}


def _pod_level_requests(pod: Json) -> None:
    pod["spec"]["resources"] = {"requests": {"cpu": "32", "memory": "128Gi"}}
    _limits_only(pod)


def _huge_pages(pod: Json) -> None:
    pod["spec"]["resources"] = {"limits": {"memory": "200Gi", "cpu": "100"}}
    for container in pod["spec"]["containers"]:
        container["resources"] = {"limits": {"hugepages-2Mi": "4Mi", "memory": "1Gi"}}


def _fine_quantities(pod: Json) -> None:
    for container in containers_of(pod):
        container["resources"] = {
            "requests": {"cpu": "0.0001", "memory": "128974848", "ephemeral-storage": "1e3"},
            "limits": {"cpu": 2, "memory": "129e6", "ephemeral-storage": "1.5Gi"},
        }


def _tiny_quantities(pod: Json) -> None:
    for container in containers_of(pod):
        container["resources"] = {"limits": {"cpu": "1500u", "memory": "0.3Ki"}, "requests": {"cpu": "100n"}}


def _empty_volumes(pod: Json) -> None:
    added = [{"name": "e1"}, {"name": "e2", "emptyDir": None}, {"name": "e3", "emptyDir": {}, "secret": None}]
    pod["spec"]["volumes"] = [*added, *(pod["spec"].get("volumes") or [])]
    for container in containers_of(pod):
        container["volumeMounts"] = [{"name": "e2", "mountPath": "/e2"}, *(container.get("volumeMounts") or [])]


def _old_account(pod: Json) -> None:
    pod["spec"].pop("serviceAccountName", None)
    pod["spec"]["serviceAccount"] = "quiet"


def _both_accounts(pod: Json) -> None:
    pod["spec"] |= {"serviceAccountName": "default", "serviceAccount": "quiet"}


def _token_wanted(pod: Json) -> None:
    pod["spec"] |= {"serviceAccountName": "quiet", "automountServiceAccountToken": True}


def _no_token(pod: Json) -> None:
    pod["spec"]["automountServiceAccountToken"] = False


def _own_token_mounts(pod: Json) -> None:
    pod["spec"]["volumes"] = [{"name": "own", "emptyDir": {}}, *(pod["spec"].get("volumes") or [])]
    path = "/var/run/secrets/kubernetes.io/serviceaccount"
    for container in list(containers_of(pod))[::2]:
        mounts = [mount for mount in container.get("volumeMounts") or [] if mount["mountPath"] != path]
        container["volumeMounts"] = [{"name": "own", "mountPath": path}, *mounts]


def _own_token_volume(pod: Json) -> None:
    projected = {"sources": [{"serviceAccountToken": {"path": "token"}}]}
    pod["spec"]["volumes"] = [
        {"name": "kube-api-access-own", "projected": projected},
        *(pod["spec"].get("volumes") or []),
    ]


def _app_armor(pod: Json) -> None:
    profiles = ("unconfined", "runtime/default", "localhost/profile")
    annotations = {
        _APP_ARMOR + container["name"]: profiles[index % 3] for index, container in enumerate(containers_of(pod))
    }
    pod["metadata"]["annotations"] = annotations


def _app_armor_of_pod(pod: Json) -> None:
    _app_armor(pod)
    pod["spec"]["securityContext"] = {
        **(pod["spec"].get("securityContext") or {}),
        "appArmorProfile": {"type": "RuntimeDefault"},
    }


def _nulls(pod: Json) -> None:
    spec = pod["spec"]
    pod["metadata"] |= {"labels": None, "annotations": {"a": None}}
    spec["imagePullSecrets"] = None
    for key in ("initContainers", "volumes", "securityContext", "serviceAccountName", "hostNetwork", "restartPolicy"):
        spec.setdefault(key, None)
    for container in containers_of(pod):
        for key in ("ports", "resources", "securityContext", "volumeMounts", "livenessProbe", "env", "restartPolicy"):
            container.setdefault(key, None)
        for port in container["ports"] or ():
            port["hostPort"] = port.get("hostPort")
        for mount in container["volumeMounts"] or ():
            mount.setdefault("readOnly", None)


def _null_quantities(pod: Json) -> None:
    for container in containers_of(pod):
        container["resources"] = {"limits": {"memory": "1Gi"}, "requests": {"cpu": None}}


def _sidecar(pod: Json) -> None:
    sidecar = {
        "name": "sidecar",
        "image": "registry.example.com/sidecar:1",
        "restartPolicy": "Always",
        "ports": [{"containerPort": 15000}],
        "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
    }
    pod["spec"]["initContainers"] = [*(pod["spec"].get("initContainers") or []), sidecar]


VARIANTS: Final[Mapping[str, Callable[[Json], None]]] = {
    AS_WRITTEN: _as_written,
    "on the host's network": _host_network,
    "limits only": _limits_only,
    "no resources": _no_resources,
    "some requests": _some_requests,
    "limits of the pod": _pod_level_limits,
    "requests of the pod": _pod_level_requests,
    "huge pages": _huge_pages,
    "fine quantities": _fine_quantities,
    "tiny quantities": _tiny_quantities,
    "empty volumes": _empty_volumes,
    "account by its old name": _old_account,
    "accounts by both names": _both_accounts,
    "token wanted": _token_wanted,
    "no token": _no_token,
    "own mounts for the token": _own_token_mounts,
    "own token volume": _own_token_volume,
    "AppArmor annotations": _app_armor,
    "AppArmor annotations and profile": _app_armor_of_pod,
    "nulls": _nulls,
    "null quantities": _null_quantities,
    "one more sidecar": _sidecar,
}
"""What is changed of a shape, by name."""
