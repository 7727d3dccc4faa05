"""Pods and workloads for which a wrong verdict was reported, and the verdict that each must get, through the engine."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import jsonpatch
import msgspec
import pytest
import yaml

from sekisho import ManifestError, admission, check
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.pods import container, restricted_pod
from tests.reviews import review_body

Json = dict[str, Any]
RESTRICTED = "podSecurityStandard: {level: restricted}"
MAXIMA = "controls: {resources: {maxLimits: [{resource: memory, quantity: 4Gi}, {resource: cpu, quantity: '4'}]}}"
REQUIRED = "controls: {resources: {requiredRequests: [cpu, memory], requiredLimits: [memory]}}"
SYSCTLS = "controls: {sysctls: {allowed: ['*'], forbidden: ['kernel.*', net.core.somaxconn]}}"
TRUSTED = "controls: {images: {trustedRegistries: [trusted.io], deniedTags: [latest]}}"
DIGESTS = "controls: {images: {requireDigest: true}}"
NO_TOKEN = "controls: {serviceAccountToken: {}}"
SHA = "@sha256:" + "0" * 64

VERDICTS: list[tuple[str, str, dict[str, Any], set[str]]] = [
    (
        "an image volume from another registry",
        TRUSTED,
        {"volumes": [{"name": "m", "image": {"reference": "evil.example.net/dropper:latest"}}]},
        {"spec.volumes[0].image.reference"},
    ),
    (
        "an image volume from a trusted registry",
        TRUSTED,
        {"volumes": [{"name": "m", "image": {"reference": "trusted.io/models:1"}}]},
        set(),
    ),
    (
        "an image volume without a digest",
        DIGESTS,
        {
            "containers": [container(image="trusted.io/a" + SHA)],
            "volumes": [{"name": "m", "image": {"reference": "trusted.io/models:1"}}],
        },
        {"spec.volumes[0].image.reference"},
    ),
    (
        "resources of the pod in place of the containers'",
        REQUIRED,
        {"resources": {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}},
        set(),
    ),
    (
        "resources of the pod without a memory limit",
        REQUIRED,
        {"resources": {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"cpu": "2"}}},
        {"spec.containers[0].resources.limits.memory"},
    ),
    (
        "limits of the pod above the maxima",
        MAXIMA,
        {"resources": {"limits": {"cpu": "200", "memory": "900Gi"}}},
        {"spec.resources.limits.cpu", "spec.resources.limits.memory"},
    ),
    ("limits of the pod at the maxima", MAXIMA, {"resources": {"limits": {"cpu": "4", "memory": "4Gi"}}}, set()),
    (
        "no limits where there are maxima",
        MAXIMA,
        {},
        {"spec.containers[0].resources.limits.cpu", "spec.containers[0].resources.limits.memory"},
    ),
    (
        "a limit of 0",
        "controls: {resources: {requiredLimits: [memory]}}",
        {"containers": [container(resources={"limits": {"memory": "0"}})]},
        {"spec.containers[0].resources.limits.memory"},
    ),
    (
        "forbidden sysctls with slashes",
        SYSCTLS,
        {
            "securityContext": {
                "sysctls": [{"name": name, "value": "1"} for name in ("kernel/msgmax", "net/core/somaxconn")]
            }
        },
        {"spec.securityContext.sysctls[0].name", "spec.securityContext.sysctls[1].name"},
    ),
    (
        "another sysctl with slashes",
        SYSCTLS,
        {"securityContext": {"sysctls": [{"name": "net/ipv4/tcp_rmem", "value": "1"}]}},
        set(),
    ),
    (
        "groups of the image",
        "controls: {supplementalGroups: {ranges: [{min: 2000, max: 2999}]}, supplementalGroupsPolicy: {}}",
        {"securityContext": {"supplementalGroups": [2001]}},
        {"spec.securityContext.supplementalGroupsPolicy"},
    ),
    (
        "no groups of the image",
        "controls: {supplementalGroups: {ranges: [{min: 2000, max: 2999}]}, supplementalGroupsPolicy: {}}",
        {"securityContext": {"supplementalGroups": [2001], "supplementalGroupsPolicy": "Strict"}},
        set(),
    ),
    (
        "all capabilities dropped where one is required",
        "controls: {capabilities: {allowedAdd: [], requiredDrop: [NET_RAW]}}",
        {},
        set(),
    ),
    (
        "a token beside automount false",
        NO_TOKEN,
        {
            "automountServiceAccountToken": False,
            "volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
        },
        {"spec.volumes[0].projected.sources[0].serviceAccountToken.audience"},
    ),
    ("no token", NO_TOKEN, {"automountServiceAccountToken": False}, set()),
]


def policies(spec: str) -> PolicySet:
    return PolicySet.of([msgspec.convert({"metadata": {"name": "p"}, "spec": yaml.safe_load(spec)}, ClusterPodPolicy)])


def pod(**spec: Any) -> dict[str, Any]:
    return restricted_pod(*spec.pop("containers", ()), **spec)


def denied_fields(body: bytes, policy: str) -> set[str]:
    response = json.loads(admission.validate(admission.decode(body), policies(policy), {}).response)["response"]
    causes = response.get("status", {}).get("details", {}).get("causes", [])
    assert response["allowed"] is not bool(causes)
    return {cause["field"] for cause in causes}


@pytest.mark.parametrize(("policy", "spec", "fields"), [row[1:] for row in VERDICTS], ids=[row[0] for row in VERDICTS])
def test_pod_gets_the_right_verdict(policy: str, spec: dict[str, Any], fields: set[str]) -> None:
    assert denied_fields(review_body(pod(**spec)), policy) == fields


def test_resize_of_the_pod_is_held_to_the_maxima() -> None:
    old = pod(resources={"limits": {"cpu": "2", "memory": "2Gi"}})
    for memory, fields in (("800Gi", {"spec.resources.limits.memory"}), ("4Gi", set[str]())):
        new = pod(resources={"limits": {"cpu": "2", "memory": memory}})
        assert denied_fields(review_body(new, old, subResource="resize"), MAXIMA) == fields


PROBES = "templates: Deny\ncontrols: {probes: {required: [readinessProbe, livenessProbe]}}"
BATCH = {"group": "batch", "version": "v1"}
APPS = {"group": "apps", "version": "v1"}


@pytest.mark.parametrize(
    ("kind", "template", "count"),
    [
        (BATCH | {"kind": "Job"}, {"restartPolicy": "Never"}, 0),
        (BATCH | {"kind": "CronJob"}, {"restartPolicy": "OnFailure"}, 0),
        (APPS | {"kind": "Deployment"}, {}, 2),
        (APPS | {"kind": "Deployment"}, {"restartPolicy": "Always"}, 2),
    ],
)
def test_only_pods_that_run_on_need_probes(kind: dict[str, str], template: dict[str, Any], count: int) -> None:
    workload: dict[str, Any] = {"spec": {"template": pod(**template)}}
    if kind["kind"] == "CronJob":
        workload = {"spec": {"jobTemplate": workload}}
    resource = {"group": kind["group"], "version": "v1", "resource": kind["kind"].lower() + "s"}
    assert len(denied_fields(review_body(workload, kind=kind, resource=resource), PROBES)) == count
    assert len(denied_fields(review_body(pod(**template)), PROBES)) == count


def judged(body: bytes) -> dict[str, Any]:
    outcome = admission.validate(admission.decode(body), policies(RESTRICTED), {})
    response: dict[str, Any] = json.loads(outcome.response)["response"]
    return response


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
def test_request_without_an_object_is_denied(operation: str) -> None:
    assert judged(review_body(None, operation=operation))["status"]["message"].endswith("the request has no object")
    assert judged(review_body(None, pod(), operation="DELETE"))["allowed"]


@pytest.mark.parametrize(
    ("key", "value", "is_denied"),
    [
        ("futureContainers", [{"name": "a", "image": "evil.io/x"}], True),
        ("futureContainers", [{"name": "a"}, {"image": None}], True),
        ("futureThings", [{"name": "a"}], False),
        ("futureThings", ["image"], False),
        ("futureThings", {"image": "evil.io/x"}, False),
        ("tolerations", [{"image": "evil.io/x"}], False),
    ],
)
def test_list_of_containers_that_is_not_known_is_denied(key: str, value: Any, *, is_denied: bool) -> None:
    made = pod(**{key: value})
    response = judged(review_body(made))
    assert response["allowed"] is not is_denied
    assert (f"spec.{key} may hold containers" in str(response)) is is_denied
    for kind, path, workload in workloads_of(made):
        resource = {"group": kind["group"], "version": "v1", "resource": kind["kind"].lower() + "s"}
        response = judged(review_body(workload, kind=kind, resource=resource))
        assert response["allowed"] is not is_denied
        assert (f"{path}.spec.{key} may hold containers" in str(response)) is is_denied
    for manifest in manifests_of(made):
        if is_denied:
            with pytest.raises(ManifestError, match=f"so its pods are denied: .*spec.{key} may hold containers"):
                check(manifest, policies(RESTRICTED))
        else:
            assert [checked.is_denied for checked in check(manifest, policies(RESTRICTED))] == [False]


def workloads_of(made: Json) -> Iterator[tuple[Json, str, Json]]:
    """The kind, where it has the template, and the object, for a Deployment and a CronJob of such pods."""
    apps, batch = ({"group": group, "version": "v1"} for group in ("apps", "batch"))
    yield apps | {"kind": "Deployment"}, "spec.template", {"spec": {"template": made}}
    job = {"spec": {"jobTemplate": {"spec": {"template": made}}}}
    yield batch | {"kind": "CronJob"}, "spec.jobTemplate.spec.template", job


def manifests_of(made: Json) -> Iterator[Json]:
    """The pod, and the same workloads, as manifests."""
    yield {"apiVersion": "v1", "kind": "Pod", **made}
    for kind, _, workload in workloads_of(made):
        yield {"apiVersion": f"{kind['group']}/v1", "kind": kind["kind"], "metadata": {"name": "x"}, **workload}


@pytest.mark.parametrize(("count", "is_denied"), [(512, False), (513, True)])
def test_pod_with_too_many_containers_is_denied_everywhere(count: int, *, is_denied: bool) -> None:
    made = pod(containers=[{"name": f"c{index}", "image": "a"} for index in range(count)])
    nothing = policies("controls: {}")
    assert admission.validate(admission.decode(review_body(made)), nothing, {}).decision == (
        "error" if is_denied else "allow"
    )
    for manifest in manifests_of(made):
        if is_denied:
            with pytest.raises(ManifestError, match="513 containers, more than 512"):
                check(manifest, nothing)
        else:
            assert not check(manifest, nothing)[0].is_denied


def test_default_gives_pods_no_groups_of_their_images() -> None:
    defaults = "defaults: {pod: {securityContext: {supplementalGroupsPolicy: Strict}}}"
    policy = policies(f"{defaults}\ncontrols: {{supplementalGroupsPolicy: {{}}}}")
    for before, after in (({}, "Strict"), ({"supplementalGroupsPolicy": "Merge"}, "Merge")):
        created = pod(securityContext=before)
        answer = json.loads(admission.mutate(admission.decode(review_body(created)), policy, {}).response)["response"]
        patch = json.loads(base64.b64decode(answer.get("patch", base64.b64encode(b"[]"))))
        filled = jsonpatch.apply_patch(created, patch)
        assert filled["spec"]["securityContext"]["supplementalGroupsPolicy"] == after
        outcome = admission.validate(admission.decode(review_body(filled)), policy, {})
        assert json.loads(outcome.response)["response"]["allowed"] is (after == "Strict")
