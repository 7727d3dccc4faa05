"""Workloads that users of admission controllers reported: the verdict at the desk, on the workload and on its pod.

Each is tried with its policy in a namespace of its own, and most with a twin that has the other verdict.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import pytest

from sekisho.admission import LimitRangeItem, NamespaceObjects, limit_range
from sekisho.policies import ClusterPodPolicy, PolicySet, PolicyWaiver
from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import POLICIES
from tests.cluster.verdicts import Fields, Json, by_check, by_webhook, path_of
from tests.controlplane.kubectl import Completed
from tests.controlplane.waiting import wait_until

SOON: Final = 30.0
RESTRICTED: Final = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
}
SAFE: Final = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
LIMITS: Final[list[Json]] = [
    {
        "type": "Container",
        "default": {"cpu": "200m", "memory": "256Mi"},
        "defaultRequest": {"cpu": "100m", "memory": "128Mi"},
    }
]
MOUNT: Final = {"name": "m", "mountPath": "/m"}
PROBES: Final = {"required": ["readinessProbe", "livenessProbe"]}
SIZED: Final = {"requiredRequests": ["cpu", "memory"], "requiredLimits": ["memory"]}
MAXIMA: Final = [{"resource": "memory", "quantity": "4Gi"}, {"resource": "cpu", "quantity": "4"}]
GROUPS: Final = {
    "securityContext": {"runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 2000, "supplementalGroups": [2001]}
}
RANGES: Final = {"ranges": [{"min": 2000, "max": 2999}]}
NODE_PORTS: Final = {"hostNamespaces": {"enforcement": "Off"}, "hostPorts": {"allowed": [{"min": 9100, "max": 9100}]}}
AUTO: Final = {"annotations": {"inject.istio.io/templates": "gateway"}, "labels": {"sidecar.istio.io/inject": "true"}}


class Case(msgspec.Struct, frozen=True):
    """A workload, the policy that it is tried with, and what is right."""

    name: str
    policy: Json
    kind: str
    spec: Json
    denied: frozenset[str] = frozenset()
    """The fields of the pod that are denied."""
    of_pod: frozenset[str] | None = None
    """Those on the pod, where it is the only one that has them; None for the same."""
    meta: Json = {}
    """More metadata of the pod or of its template."""
    stored: Json = {}
    """Values of the pod as it is stored, by path; None where there is none."""
    limits: bool = False
    """Whether the namespace has the LimitRange."""
    waived: tuple[str, ...] = ()
    """The controls that a waiver exempts the pod from."""


def app(**rest: Any) -> Json:
    return {"name": "a", "image": "trusted.io/a:1", **rest}


def spec(container: Json | None = None, **rest: Any) -> Json:
    return {"containers": [app() if container is None else container], **rest}


def on_ports(port: int) -> Json:
    return spec(app(ports=[{"containerPort": port}]), hostNetwork=True)


def with_image_volume(reference: str) -> Json:
    return spec(app(volumeMounts=[MOUNT]), volumes=[{"name": "m", "image": {"reference": reference}}])


def with_limits(**limits: str) -> Json:
    return spec(app(resources={"limits": limits}))


def spec_with_limits(cpu: str, memory: str) -> Json:
    return spec(resources={"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"cpu": cpu, "memory": memory}})


def with_volume(**source: Any) -> Json:
    container = app(securityContext=SAFE, volumeMounts=[MOUNT])
    return spec(container, volumes=[{"name": "m", **source}], **RESTRICTED)


def requests(*resources: str) -> frozenset[str]:
    return frozenset(f"spec.containers[0].resources.requests.{resource}" for resource in resources)


NOT_DEFAULTED: Final = {
    "spec.securityContext.runAsNonRoot": None,
    "spec.containers.0.securityContext.runAsNonRoot": None,
    "spec.containers.0.securityContext.capabilities": None,
}
TOKEN: Final[Json] = {"controls": {"serviceAccountToken": {}}}
NO_TOKEN: Final = {**TOKEN, "defaults": {"pod": {"automountServiceAccountToken": False}}}
PROFILE: Final = {"podSecurityStandard": {"level": "restricted"}, "defaults": {"profile": "restricted"}}
ALL_OF_RESTRICTED: Final = frozenset(
    {
        "spec.containers[0].securityContext.allowPrivilegeEscalation",
        "spec.containers[0].securityContext.capabilities.drop",
        "spec.containers[0].securityContext.runAsNonRoot",
        "spec.containers[0].securityContext.seccompProfile.type",
    }
)
IMAGES: Final = {"images": {"trustedRegistries": ["trusted.io"], "deniedTags": ["latest"]}}
INJECTED: Final = {"images": {"trustedRegistries": ["docker.io/istio"], "deniedTags": ["latest"]}}
BASELINE: Final = {"level": "baseline"}

CASES: Final = (
    Case(
        "token-default",
        NO_TOKEN,
        "Pod",
        spec(),
        stored={
            "spec.automountServiceAccountToken": False,
            "spec.volumes": None,
            "spec.containers.0.volumeMounts": None,
        },
    ),
    Case("token", TOKEN, "Pod", spec(), frozenset({"spec.automountServiceAccountToken"})),
    Case(
        "pod-level-resources",
        {"controls": {"resources": SIZED}},
        "Pod",
        {**spec_with_limits("2", "1Gi"), "containers": [app(), app(name="b")]},
    ),
    Case(
        "pod-level-memory-only",
        {"controls": {"resources": SIZED}},
        "Pod",
        spec(resources={"requests": {"memory": "512Mi"}, "limits": {"memory": "1Gi"}}),
        requests("cpu"),
    ),
    Case(
        "pod-level-above-max",
        {"controls": {"resources": {"maxLimits": MAXIMA}}},
        "Pod",
        spec_with_limits("200", "900Gi"),
        frozenset({"spec.resources.limits.cpu", "spec.resources.limits.memory"}),
    ),
    Case(
        "image-volume",
        {"controls": IMAGES},
        "Pod",
        with_image_volume("evil.example.net/dropper:latest"),
        frozenset({"spec.volumes[0].image.reference"}),
    ),
    Case("image-volume-trusted", {"controls": IMAGES}, "Pod", with_image_volume("trusted.io/tools:1")),
    Case(
        "host-network",
        {"podSecurityStandard": BASELINE, "controls": NODE_PORTS},
        "DaemonSet",
        on_ports(10250),
        frozenset({"spec.containers[0].ports[0].hostPort"}),
    ),
    Case(
        "host-network-allowed", {"podSecurityStandard": BASELINE, "controls": NODE_PORTS}, "DaemonSet", on_ports(9100)
    ),
    Case(
        "host-network-port",
        {"controls": {"hostPorts": {}}},
        "Deployment",
        on_ports(8080),
        frozenset({"spec.containers[0].ports[0].hostPort"}),
    ),
    Case(
        "limits-only",
        {"controls": {"resources": {"requiredRequests": ["cpu", "memory"]}}},
        "Deployment",
        with_limits(cpu="500m", memory="256Mi"),
        stored={"spec.containers.0.resources.requests": {"cpu": "500m", "memory": "256Mi"}},
    ),
    Case(
        "limits-of-memory-only",
        {"controls": {"resources": {"requiredRequests": ["cpu", "memory"]}}},
        "Deployment",
        with_limits(memory="256Mi"),
        requests("cpu"),
    ),
    Case("empty-dir-null", PROFILE, "Pod", with_volume(emptyDir=None), stored={"spec.volumes.0.emptyDir": {}}),
    Case("volume-without-source", PROFILE, "Pod", with_volume(), stored={"spec.volumes.0.emptyDir": {}}),
    Case("host-path", PROFILE, "Pod", with_volume(hostPath={"path": "/m"}), frozenset({"spec.volumes[0].hostPath"})),
    Case("limit-range", {"controls": {"resources": SIZED}}, "Deployment", spec(), limits=True),
    Case(
        "no-limit-range",
        {"controls": {"resources": SIZED}},
        "Deployment",
        spec(),
        requests("cpu", "memory") | {"spec.containers[0].resources.limits.memory"},
    ),
    Case("probes-of-a-job", {"controls": {"probes": PROBES}}, "Job", spec(restartPolicy="Never")),
    Case(
        "probes-of-a-deployment",
        {"controls": {"probes": PROBES}},
        "Deployment",
        spec(),
        frozenset({"spec.containers[0].livenessProbe", "spec.containers[0].readinessProbe"}),
    ),
    Case(
        "injected-image",
        {"controls": INJECTED},
        "Deployment",
        spec({"name": "istio-proxy", "image": "auto"}),
        of_pod=frozenset({"spec.containers[0].image"}),
        meta=AUTO,
    ),
    Case(
        "auto-without-injection",
        {"controls": INJECTED},
        "Deployment",
        spec({"name": "istio-proxy", "image": "auto"}),
        frozenset({"spec.containers[0].image"}),
    ),
    Case(
        "waived",
        PROFILE,
        "Pod",
        spec(),
        stored={**NOT_DEFAULTED, "spec.securityContext.seccompProfile": None},
        waived=("capabilities", "runAsNonRoot", "seccompProfile", "allowPrivilegeEscalation"),
    ),
    Case(
        "not-waived",
        PROFILE,
        "Pod",
        spec(),
        stored={
            "spec.securityContext.runAsNonRoot": True,
            "spec.containers.0.securityContext.capabilities": {"drop": ["ALL"]},
        },
    ),
    Case(
        "controls-off",
        {**PROFILE, "controls": {"capabilities": {"enforcement": "Off"}, "runAsNonRoot": {"enforcement": "Off"}}},
        "Pod",
        spec(),
        stored={
            **NOT_DEFAULTED,
            "spec.containers.0.securityContext.allowPrivilegeEscalation": False,
            "spec.securityContext.seccompProfile.type": "RuntimeDefault",
        },
    ),
    Case("no-profile", {"podSecurityStandard": PROFILE["podSecurityStandard"]}, "Pod", spec(), ALL_OF_RESTRICTED),
    Case("groups-listed", {"controls": {"supplementalGroups": RANGES}}, "Pod", spec(**GROUPS)),
    Case(
        "groups-of-the-image",
        {"controls": {"supplementalGroups": RANGES, "supplementalGroupsPolicy": {}}},
        "Pod",
        spec(**GROUPS),
        frozenset({"spec.securityContext.supplementalGroupsPolicy"}),
    ),
    Case(
        "groups-strict-by-default",
        {
            "controls": {"supplementalGroups": RANGES, "supplementalGroupsPolicy": {}},
            "defaults": {"pod": {"securityContext": {"supplementalGroupsPolicy": "Strict"}}},
        },
        "Pod",
        spec(**GROUPS),
        stored={"spec.securityContext.supplementalGroupsPolicy": "Strict"},
    ),
    Case(
        "drops-more-than-required",
        {
            "controls": {"capabilities": {"allowedAdd": [], "requiredDrop": ["NET_RAW"]}},
            "defaults": {"profile": "restricted"},
        },
        "Pod",
        spec(),
        stored={"spec.containers.0.securityContext.capabilities": {"drop": ["ALL"]}},
    ),
)


def pod_of(case: Case) -> Json:
    meta = {"name": case.name, **case.meta, "labels": {"app": case.name, **case.meta.get("labels", {})}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": case.spec}


def manifest_of(case: Case) -> Json:
    """The workload as its user writes it."""
    pod = pod_of(case)
    if case.kind == "Pod":
        return pod
    template = {"metadata": {key: value for key, value in pod["metadata"].items() if key != "name"}, "spec": case.spec}
    selector = {} if case.kind == "Job" else {"selector": {"matchLabels": {"app": case.name}}}
    return {
        "apiVersion": "batch/v1" if case.kind == "Job" else "apps/v1",
        "kind": case.kind,
        "metadata": {"name": case.name},
        "spec": {**selector, "template": template},
    }


def namespace_of(case: Case) -> str:
    return f"case-{case.name}"


def policy_of(case: Case) -> Json:
    return {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": namespace_of(case)},
        "spec": {"match": {"namespaces": [namespace_of(case)]}, "templates": "Deny", **case.policy},
    }


def waiver_of(case: Case) -> Json:
    return {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "PolicyWaiver",
        "metadata": {"name": namespace_of(case)},
        "spec": {
            "policies": [namespace_of(case)],
            "controls": list(case.waived),
            "match": {"namespaces": [namespace_of(case)], "podSelector": {"matchLabels": {"app": case.name}}},
            "expires": f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}",
            "reason": "vendor image runs as root and chowns its volume",
        },
    }


def objects_of(case: Case) -> Iterator[Json]:
    """What is applied in the cluster before the workload."""
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace_of(case)}}
    yield policy_of(case)
    if case.waived:
        yield waiver_of(case)
    if case.limits:
        meta = {"name": "limits", "namespace": namespace_of(case)}
        yield {"apiVersion": "v1", "kind": "LimitRange", "metadata": meta, "spec": {"limits": LIMITS}}


def at_the_desk(case: Case) -> frozenset[str]:
    waivers = [msgspec.convert(waiver_of(case), PolicyWaiver)] if case.waived else []
    policies = PolicySet.of([msgspec.convert(policy_of(case), ClusterPodPolicy), *waivers])
    ranges = (limit_range("limits", msgspec.convert(LIMITS, list[LimitRangeItem])),) if case.limits else ()
    return paths(by_check(policies, namespace_of(case), manifest_of(case), NamespaceObjects(ranges, {})))


def paths(fields: Fields) -> frozenset[str]:
    return frozenset(path for _, path in fields)


def value_at(stored: Json, path: str) -> Any:
    value: Any = stored
    for key in path.split("."):
        if value is None:
            return None
        value = value[int(key)] if isinstance(value, list) else value.get(key)
    return value


def has_account(cluster: Cluster, namespace: str) -> bool:
    return cluster.plane.call("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default").status == 200


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with every case's namespace, policy, waiver and LimitRange in effect."""
    cluster.sekisho.repair()
    kubectl = cluster.plane.kubectl
    items = [item for case in CASES for item in objects_of(case)]
    kubectl.check("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    names = [f"clusterpodpolicy/{namespace_of(case)}" for case in CASES]
    kubectl.check("wait", "--for=condition=Enforced", *names, f"--timeout={SOON:g}s")
    wait_until(lambda: all(has_account(cluster, namespace_of(case)) for case in CASES), SOON, "service accounts")
    limited = next(case for case in CASES if case.limits)
    wait_until(
        lambda: not by_webhook(cluster.plane, namespace_of(limited), manifest_of(limited))[0],
        SOON,
        "the webhook knows the LimitRange",
    )
    waived = next(case for case in CASES if case.waived)
    wait_until(
        lambda: not stored_wrong(waived, by_webhook(cluster.plane, namespace_of(waived), pod_of(waived))[1]),
        SOON,
        "the webhook knows the waiver",
    )
    yield cluster
    for case in CASES:
        cluster.plane.call("DELETE", f"{POLICIES}/{namespace_of(case)}")
        cluster.plane.call("DELETE", f"/apis/sekisho.dev/v1alpha1/policywaivers/{namespace_of(case)}")
        cluster.plane.call("DELETE", f"/api/v1/namespaces/{namespace_of(case)}")


def stored_wrong(case: Case, stored: Json) -> Json:
    """The expected values that a stored pod has not, with its own."""
    values = {path: value_at(stored, path) for path in case.stored}
    return {path: value for path, value in values.items() if value != case.stored[path]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_reported_workload_has_the_right_verdict_everywhere(prepared: Cluster, case: Case) -> None:
    namespace, manifest = namespace_of(case), manifest_of(case)
    assert at_the_desk(case) == case.denied
    if case.kind != "Pod":
        assert paths(by_webhook(prepared.plane, namespace, manifest)[0]) == case.denied
    denied, stored = by_webhook(prepared.plane, namespace, pod_of(case))
    assert paths(denied) == (case.denied if case.of_pod is None else case.of_pod)
    assert not stored or stored_wrong(case, stored) == {}


def test_the_resize_of_a_pod_above_the_maximum_is_denied(prepared: Cluster) -> None:
    case = next(case for case in CASES if case.name == "pod-level-above-max")
    pods = path_of(namespace_of(case), "Pod")
    pod = {**pod_of(case), "spec": spec_with_limits("2", "1Gi")}
    assert prepared.plane.call("POST", pods, pod).status == 201
    kubectl = prepared.plane.kubectl.in_namespace(namespace_of(case))

    def resized(**limits: str) -> Completed:
        patch = json.dumps({"spec": {"resources": {"limits": limits}}})
        arguments = ("patch", "pod", case.name, "--subresource=resize", "--type=merge", "--dry-run=server", "-p", patch)
        return kubectl(*arguments)

    assert 'spec.resources.limits.cpu is "100" (allowed: at most 4)' in resized(cpu="100", memory="1Gi").stderr
    assert resized(cpu="3", memory="1Gi").returncode == 0
