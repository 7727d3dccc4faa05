"""The floor on a real API server without a webhook: it denies what the engine denies, and nothing else."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from sekisho.floor.shares import FLOOR_CONTROLS
from sekisho.policies import Policy
from tests.controlplane.plane import ControlPlane
from tests.controlplane.waiting import wait_until
from tests.differential.floor import (
    ANSWER_IN,
    Json,
    compare,
    floor_for,
    install,
    policies_of,
    type_problems,
)
from tests.differential.valid_pods import NAMESPACES, valid_pods

PODS, MANY_PODS = 2_000, 20_000
SOON = 60.0
PAST, FUTURE = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
LABELS = {"env": "prod"}


def policy(name: str, **spec: Any) -> Json:
    return {"kind": "ClusterPodPolicy", "metadata": {"name": name}, "spec": spec}


def waiver(name: str, policies: Sequence[str], controls: Sequence[str], expires: str = FUTURE, **spec: Any) -> Json:
    fields = {"policies": list(policies), "controls": list(controls), "expires": expires, "reason": "a test", **spec}
    return {"kind": "PolicyWaiver", "metadata": {"name": name}, "spec": fields}


BASELINE = {"podSecurityStandard": {"level": "baseline"}}
RULES = [
    policy("baseline", **BASELINE),
    policy("restricted", podSecurityStandard={"level": "restricted"}),
    policy("old", podSecurityStandard={"level": "baseline", "version": "v1.30"}, match={"namespaces": ["team-*"]}),
    policy("images", controls={"images": {"trustedRegistries": ["registry.example.com", "ghcr.io/acme/*", "docker.io"],
                                          "deniedRegistries": ["docker.io/library/nginx", "evil.io"]}}),
    policy("tags", controls={"images": {"requireTag": True, "deniedTags": ["latest", "1"]}},
           match={"excludeNamespaces": ["sandbox"], "namespaceSelector": {"matchLabels": {"env": "prod"}}}),
    policy("digests", controls={"images": {"requireDigest": True}},
           match={"namespaceSelector": {
               "matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]},
    }),
    policy("own", match={"podSelector": {"matchExpressions": [
               {"key": "tier", "operator": "In", "values": ["web", "agent"]},
               {"key": "app", "operator": "DoesNotExist"}]}},
           controls={"hostPorts": {"allowed": [{"min": 80, "max": 80}, {"min": 9000, "max": 9999}]},
                     "sysctls": {"allowed": ["kernel.*", "net.*"], "forbidden": ["net.ipv4.tcp_s*", "kernel.sem"]},
                     "seccompProfile": {"localhostProfiles": ["profiles/*"], "allowedTypes": ["Localhost"]},
                     "appArmorProfile": {"localhostProfiles": ["profiles/a*.json", "x"]},
                     "capabilities": {"requiredDrop": ["NET_RAW"], "allowedAdd": ["ALL", "CHOWN", "NET_ADMIN"]},
                     "restrictedVolumes": {"additionalAllowed": ["nfs", "hostPath"]},
                     "hostPathVolumes": {}}),
    policy("nobody", **BASELINE, match={"excludeSubjects": {"groups": ["system:masters"]}}),
    policy("somebody", **BASELINE, match={"excludeSubjects": {"users": ["system:admin"], "serviceAccounts": ["a/b"]}}),
    policy("warns", **BASELINE, enforcement="Warn"),
    policy("mixed", **BASELINE, controls={"privileged": {"enforcement": "Off"}, "hostPorts": {"enforcement": "Audit"}}),
]  # fmt: skip
WAIVERS = [
    waiver("agents", ["baseline", "own"], ["hostNamespaces", "hostPathVolumes"], match={"names": ["agent"]}),
    waiver("expired", ["baseline", "restricted"], ["privileged", "hostNamespaces", "images"], PAST),
    waiver("ports", ["baseline", "restricted"], ["hostPorts"], values=["9100", "80"]),
    waiver("paths", ["baseline", "restricted"], ["hostPathVolumes", "restrictedVolumes"], values=["/var/log"]),
    waiver("one", ["restricted"], ["privileged", "hostNamespaces", "capabilities"], match={"containers": ["app-0"]}),
    waiver("net", ["baseline"], ["capabilities"], values=["NET_ADMIN"],
           match={"podSelector": {"matchLabels": {"tier": "web"}}}),
    waiver("web", ["baseline"], ["privileged", "seccompProfile"],
           match={"images": ["ghcr.io/acme/*", "docker.io/library"]}),
    waiver("team", ["images"], ["images"], match={"namespaces": ["team-a"], "images": ["docker.io/library/nginx"]}),
    waiver("image", ["tags"], ["images"], values=["nginx:1.27", "registry.example.com/app:1"]),
    waiver("jobs", ["baseline"], ["sysctls", "appArmorProfile"], match={"names": ["nightly", "age*"]}),
]  # fmt: skip


SILENT = {"nobody", "digests", "warns"}
"""Those that apply to no pod here, or do not deny."""
Installer = Callable[..., list[str]]


@pytest.fixture(scope="module")
def plane(bare_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The control plane without Sekisho, with the namespaces of the pods."""
    for name in NAMESPACES:
        bare_plane.create_namespace(name)
    bare_plane.kubectl.check("label", "namespaces", *NAMESPACES, *(f"{key}={value}" for key, value in LABELS.items()))
    yield bare_plane
    for name in NAMESPACES:
        bare_plane.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def installed(plane: ControlPlane) -> Iterator[Installer]:
    """Installs the floor of policies, removes it after the test, and waits until the API server no longer uses it."""
    paths: list[str] = []

    def install_floor(policies: Sequence[Policy], *actions: str) -> list[str]:
        paths.extend(install(plane, floor_for(policies), actions))
        return paths

    yield install_floor
    for path in reversed(paths):
        plane.call("DELETE", path)
    wait_until(lambda: create(plane, PRIVILEGED)[0] == 201 and not warned(plane, PRIVILEGED), SOON, "the floor is gone")


def create(plane: ControlPlane, spec: Json, namespace: str = "shop", **metadata: Any) -> tuple[int, str]:
    """Create a pod by dry run: the code, and the message of a denial."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", **metadata}, "spec": spec}
    answer = plane.call("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod, timeout=ANSWER_IN)
    return answer.status, json.loads(answer.body).get("message", "")


def app(**fields: Any) -> Json:
    return {"containers": [{"name": "app", "image": "registry.example.com/app:1", **fields}]}


PRIVILEGED = app(securityContext={"privileged": True})


def until_denied(plane: ControlPlane, spec: Json, namespace: str = "shop", **metadata: Any) -> tuple[int, str]:
    """The code and the message once the API server denies a pod: it reads policies about each second."""

    def denial() -> tuple[int, str] | None:
        answer = create(plane, spec, namespace, **metadata)
        return None if answer[0] == 201 else answer

    return wait_until(denial, SOON, "the floor denies")


@pytest.mark.parametrize("count", [PODS, pytest.param(MANY_PODS, marks=pytest.mark.long)])
@pytest.mark.timeout(1800)
def test_floor_denies_by_policy_and_control_what_the_engine_denies(
    plane: ControlPlane, installed: Installer, count: int
) -> None:
    policies = policies_of((*RULES, *WAIVERS))
    paths = installed(policies, "Warn")
    assert [type_problems(plane, path) for path in paths[::2]] == [{} for _ in paths[::2]]
    wait_until(lambda: warned(plane, PRIVILEGED), SOON, "the floor warns")
    compared = compare(plane, policies, valid_pods("every test run", count), LABELS)
    assert list(compared.differences[:3]) == []
    assert (compared.count > count * 0.9, compared.cut < count * 0.05) == (True, True)
    assert {control for _, control in compared.denials} == set(FLOOR_CONTROLS)
    assert {name for name, _ in compared.denials} == {rule["metadata"]["name"] for rule in RULES} - SILENT


def warned(plane: ControlPlane, spec: Json) -> bool:
    """Whether the answer to the creation of a pod has warnings."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    return bool(plane.call("POST", "/api/v1/namespaces/shop/pods?dryRun=All", pod, timeout=ANSWER_IN).warnings)


def test_denial_names_control_policy_and_container(plane: ControlPlane, installed: Installer) -> None:
    installed(policies_of([policy("baseline", **BASELINE)]), "Deny")
    code, message = until_denied(plane, PRIVILEGED)
    assert code == 403
    assert message.endswith(
        "privileged (policy baseline): container app: securityContext.privileged must be unset or false"
    )
    assert create(plane, app(securityContext={"privileged": False}))[0] == 201
    assert create(plane, PRIVILEGED, "kube-system")[0] == 201


def test_waiver_ends_by_the_clock_of_the_api_server(plane: ControlPlane, installed: Installer) -> None:
    policies = [policy("baseline", **BASELINE)]
    for name, expires in (("past", PAST), ("future", FUTURE)):
        policies.append(waiver(name, ["baseline"], ["privileged"], expires, match={"containers": [name]}))
    installed(policies_of(policies), "Deny")
    until_denied(plane, PRIVILEGED)
    for forged in (None, PAST, "2998-01-01T00:00:00Z"):
        specs = ({"containers": [PRIVILEGED["containers"][0] | {"name": name}]} for name in ("past", "future"))
        codes = [create(plane, spec, creationTimestamp=forged)[0] for spec in specs]
        assert codes == [403, 201], forged


def test_four_hundred_long_images_stay_within_the_budget(plane: ControlPlane, installed: Installer) -> None:
    rules = {"images": {"trustedRegistries": [f"r{number}.example.com/acme" for number in range(20)]}}
    installed(policies_of([policy("baseline", **BASELINE, controls=rules)]), "Deny")
    image = f"r19.example.com/acme/{'a' * 180}:{'t' * 18}"
    containers = [{"name": f"c{number}", "image": image} for number in range(400)]
    until_denied(plane, PRIVILEGED)
    assert create(plane, {"containers": containers}) == (201, "")
    containers[399]["image"] = image.replace("r19", "r20")
    code, message = create(plane, {"containers": containers})
    assert (code, "container c399: its image must be" in message) == (403, True)


VIOLATING = app(image="evil.io/x:1", securityContext={"privileged": True})
GOOD = app()
IMAGE = ("spec", "containers", 0, "image")
UPDATES = [
    ("a label", VIOLATING, ("metadata", "labels"), {"a": "b"}, True),
    ("an annotation", VIOLATING, ("metadata", "annotations"), {"a": "b"}, True),
    ("a finalizer", VIOLATING, ("metadata", "finalizers"), ["example.com/f"], True),
    ("a deadline", VIOLATING, ("spec", "activeDeadlineSeconds"), 100, True),
    ("a status", VIOLATING, ("status", "phase"), "Running", True),
    ("another image of a denied registry", VIOLATING, IMAGE, "evil.io/x:2", False),
    ("an image of a trusted registry", VIOLATING, IMAGE, "registry.example.com/a", True),
    ("an image of a denied registry", GOOD, IMAGE, "evil.io/x:2", False),
    ("another image of a trusted registry", GOOD, IMAGE, "registry.example.com/b", True),
    *(
        (what, old, ("spec", "ephemeralContainers"), [{"name": "e", **added}], allowed)
        for old in (VIOLATING, GOOD)
        for what, added, allowed in (
            ("a debug container", {"image": "registry.example.com/debug"}, True),
            ("a privileged debug container", PRIVILEGED["containers"][0] | {"name": "e"}, False),
            ("a debug container of a denied registry", {"image": "evil.io/debug"}, False),
        )
    ),
]
SUBRESOURCES: dict[tuple[str | int, ...], str] = {
    ("status", "phase"): "/status",
    ("spec", "ephemeralContainers"): "/ephemeralcontainers",
}
RULE_FOR_UPDATES = policy(
    "baseline", **BASELINE, controls={"images": {"trustedRegistries": ["registry.example.com"]}, "hostPorts": {}}
)


def update(plane: ControlPlane, name: str, path: tuple[str | int, ...], value: Any) -> tuple[int, str]:
    """Set a field of a pod by dry run: the code, and the answer."""
    at = f"/api/v1/namespaces/sandbox/pods/{name}"
    pod = json.loads(plane.call("GET", at).body)
    above = pod
    for key in path[:-1]:
        above = above[key]
    above[path[-1]] = value
    answer = plane.call("PUT", f"{at}{SUBRESOURCES.get(path, '')}?dryRun=All", pod, timeout=ANSWER_IN)
    return answer.status, answer.body.decode()


def test_update_is_judged_by_what_it_adds_or_changes(plane: ControlPlane, installed: Installer) -> None:
    for number, (_, spec, *_rest) in enumerate(UPDATES):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}"}, "spec": spec}
        assert plane.call("POST", "/api/v1/namespaces/sandbox/pods", pod, timeout=ANSWER_IN).status == 201
    installed(policies_of([RULE_FOR_UPDATES]), "Deny")
    until_denied(plane, PRIVILEGED)
    for number, (what, spec, path, value, allowed) in enumerate(UPDATES):
        code, text = update(plane, f"p{number}", path, value)
        assert code == (200 if allowed else 403), (what, spec, text)


def test_pod_that_violates_can_be_deleted_and_its_finalizer_removed(plane: ControlPlane, installed: Installer) -> None:
    metadata = {"name": "ends", "finalizers": ["example.com/f"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": VIOLATING}
    assert plane.call("POST", "/api/v1/namespaces/sandbox/pods", pod, timeout=ANSWER_IN).status == 201
    installed(policies_of([RULE_FOR_UPDATES]), "Deny")
    until_denied(plane, PRIVILEGED)
    path = "/api/v1/namespaces/sandbox/pods/ends"
    assert plane.call("DELETE", f"{path}?gracePeriodSeconds=0").status == 200
    assert json.loads(plane.call("GET", path).body)["metadata"]["deletionTimestamp"]
    kept = plane.kubectl.in_namespace("sandbox")
    kept.check("patch", "pod", "ends", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    wait_until(lambda: plane.call("GET", path).status == 404, SOON, "the pod is gone")
