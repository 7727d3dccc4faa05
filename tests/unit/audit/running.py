"""Objects of a cluster for audits, as the API server stores them, and an audit of them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw

from sekisho.admission import NO_OBJECTS, NamespaceObjects
from sekisho.audit import LINKS, PODS, TEMPLATES, Audit, Result, Surroundings, promotions_of
from sekisho.policies import ClusterPodPolicy, PodPolicy, PolicySet, PolicyWaiver
from tests.pods import container
from tests.unit.cluster_server import ClusterServer

Json = dict[str, Any]

NOW = datetime(2026, 11, 27, tzinfo=UTC)
KINDS = {"ClusterPodPolicy": ClusterPodPolicy, "PodPolicy": PodPolicy, "PolicyWaiver": PolicyWaiver}
PLAIN = {"containers": [{"name": "app", "image": "trusted.io/app:1"}]}
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
PRIVILEGED = {"containers": [container(securityContext={"privileged": True})]}
RESTRICTED = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [container()],
}


def policy(name: str = "p", kind: str = "ClusterPodPolicy", namespace: str | None = None, **spec: Any) -> Any:
    """A policy or a waiver."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    body = {"apiVersion": "sekisho.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
    return msgspec.convert(body, KINDS[kind])


def workload(kind: str, name: str, spec: Json = PLAIN, namespace: str = "shop", **fields: Any) -> Json:
    """An object with a pod template; its uid is its kind and name."""
    template = {"metadata": {"labels": {"app": name}}, "spec": spec}
    below = {"jobTemplate": {"spec": {"template": template}}} if kind == "CronJob" else {"template": template}
    metadata = {"name": name, "namespace": namespace, "uid": f"{kind} {name}", **fields.pop("metadata", {})}
    return {"kind": kind, "metadata": metadata, "spec": below | fields}


def link(kind: str, name: str, above: Json, namespace: str = "shop") -> Json:
    """A ReplicaSet or a Job that another object made."""
    metadata = {"name": name, "namespace": namespace, "uid": f"{kind} {name}", "ownerReferences": [reference(above)]}
    return {"kind": kind, "metadata": metadata}


def reference(owner: Json) -> Json:
    """The reference to an object that controls another one."""
    kind, meta = owner["kind"], owner["metadata"]
    group = {"CronJob": "batch/v1", "Job": "batch/v1", "Rollout": "argoproj.io/v1alpha1", "Node": "v1"}
    version = group.get(kind, "apps/v1")
    return {"apiVersion": version, "kind": kind, "name": meta["name"], "uid": meta.get("uid", ""), "controller": True}


def pod(name: str, owner: Json | None = None, spec: Json = PLAIN, namespace: str = "shop", **fields: Any) -> Json:
    """A pod that runs."""
    owners = {"ownerReferences": [reference(owner)]} if owner is not None else {}
    metadata = {"name": name, "namespace": namespace, **owners, **fields.pop("metadata", {})}
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Running"}, **fields}


def cluster_of(objects: Iterable[Json], *namespaces: Json) -> ClusterServer:
    """A cluster with these objects, in which Sekisho is not installed. It has the namespace `shop` if none is given."""
    server, everything = ClusterServer(), list(objects)
    for kind in (*LINKS, *TEMPLATES, PODS):
        server.put(kind.path(None), [one for one in everything if one["kind"] == kind.name])
    server.put("/api/v1/namespaces", namespaces or [{"metadata": {"name": "shop", "labels": {}}}])
    for path in ("/api/v1/limitranges", "/api/v1/serviceaccounts", WEBHOOKS):
        server.put(path, ())
    return server


def audit(
    policies: Iterable[Any],
    objects: Iterable[Json],
    *,
    labels: Mapping[str, Mapping[str, str]] = {},
    exempt: frozenset[str] = frozenset({"kube-system"}),
    around: NamespaceObjects = NO_OBJECTS,
) -> Result:
    """The result of one pass over these objects."""
    policies = tuple(policies)
    surroundings = Surroundings(NOW, exempt, labels.get, lambda namespace, pod: around)
    one = Audit(PolicySet.of(policies), promotions_of(policies), surroundings)
    by_kind: dict[str, list[Raw]] = {}
    for body in objects:
        by_kind.setdefault(body["kind"], []).append(Raw(msgspec.json.encode(body)))
    for kind in LINKS:
        one.add_links(by_kind.get(kind.name, ()))
    for kind in TEMPLATES:
        one.add_templates(kind, by_kind.get(kind.name, ()))
    one.add_pods(by_kind.get("Pod", ()))
    return one.result()
