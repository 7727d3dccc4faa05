"""Defaults that keep containers from running, by what the status of their pods says."""

import json
from typing import Any

import pytest

from sekisho.audit.broken_defaults import MAX_BROKEN, MAX_SYMPTOM_LENGTH
from tests.unit.audit.running import Json, audit, link, pod, policy, workload

POLICY = policy("hardened", defaults={"profile": "restricted"})
ROOT = (
    'container has runAsNonRoot and image will run as root (pod: "web-1_shop(0)", container: app)',
    "container has runAsNonRoot and image will run as root",
)
NON_ROOT = "spec.securityContext.runAsNonRoot"
READ_ONLY = "spec.containers[0].securityContext.readOnlyRootFilesystem"
LIMIT = "spec.containers[0].resources.limits.memory"
DROP = "spec.containers[0].securityContext.capabilities"
USER = "spec.securityContext.runAsUser"
SECCOMP = "spec.containers[0].securityContext.seccompProfile"
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container=app"}}


def waiting(reason: str, message: str = "") -> Json:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


def crashed(reason: str = "Error", message: str = "", code: int = 1, restarts: int = 5) -> Json:
    ended = {"terminated": {"reason": reason, "message": message, "exitCode": code}}
    return {"state": BACK_OFF, "lastState": ended, "restartCount": restarts}


def defaulted(
    name: str, fields: list[str], status: Json, owner: Json | None = None, of: str = "hardened", **changes: Any
) -> Json:
    annotation = {"sekisho.dev/defaulted": json.dumps({of: fields})}
    statuses = {"phase": "Pending", "containerStatuses": [{"name": "app", **status}]}
    return pod(name, owner, metadata={"annotations": annotation, "uid": f"uid-{name}"}, status=statuses, **changes)


@pytest.mark.parametrize(
    ("field", "status", "symptom"),
    [
        (NON_ROOT, waiting("CreateContainerConfigError", ROOT[0]), ROOT[1]),
        ("spec.containers[0].securityContext.runAsNonRoot", waiting("CreateContainerConfigError", ROOT[0]), ROOT[1]),
        (READ_ONLY, crashed(message="mkdir /var/run/x: Read-only file system"), "mkdir /var/run/x: Read-only file "),
        (READ_ONLY, waiting("RunContainerError", "mkdirat /data: read-only file system: unknown"), "mkdirat /data: "),
        (READ_ONLY, crashed(code=3), "it ends with exit code 3"),
        (LIMIT, crashed("OOMKilled", code=137), "it ends with exit code 137 (OOMKilled)"),
        (DROP, crashed(message="chown: Operation not permitted"), "chown: Operation not permitted"),
        (DROP + ".drop", crashed(message="chown: Operation not permitted"), "chown: Operation not permitted"),
        (USER, crashed(message="open /data/x: permission denied"), "open /data/x: permission denied"),
        (SECCOMP, waiting("CreateContainerError", "cannot load seccomp profile x"), "cannot load seccomp profile x"),
        (NON_ROOT, {"state": {"terminated": {"exitCode": 1, "message": "runAsNonRoot"}}}, "runAsNonRoot"),
    ],
)
def test_default_that_the_node_names_is_reported_with_both_ways_out(field: str, status: Json, symptom: str) -> None:
    [broken] = audit([POLICY], [defaulted("a", [field], status)]).broken
    assert broken.symptom.startswith(symptom)
    assert (broken.policy, broken.field, broken.container, broken.uid) == ("hardened", field, "app", "uid-a")
    assert broken.is_certain is ("exit code 3" not in symptom)
    assert f'policy "hardened" set {field}' in broken.text
    assert "Fix: " in broken.text
    assert f"or set {field} in the manifest" in broken.text


@pytest.mark.parametrize(
    ("field", "status"),
    [
        pytest.param(NON_ROOT, {"state": {"running": {}}}, id="runs"),
        pytest.param(NON_ROOT, waiting("ContainerCreating"), id="is created"),
        pytest.param(NON_ROOT, waiting("ImagePullBackOff", "Back-off pulling image"), id="another reason"),
        pytest.param(NON_ROOT, crashed(), id="ends by itself"),
        pytest.param(READ_ONLY, crashed(restarts=1), id="ended once"),
        pytest.param(READ_ONLY, {"state": {"terminated": {"exitCode": 0}}}, id="completed"),
        pytest.param(LIMIT, crashed(code=137), id="killed by another"),
        pytest.param("spec.containers[1].securityContext.runAsNonRoot", waiting("x", ROOT[0]), id="another container"),
        pytest.param("spec.securityContext.fsGroup", waiting("x", ROOT[0]), id="another field"),
    ],
)
def test_container_that_runs_or_fails_for_another_reason_is_not(field: str, status: Json) -> None:
    assert not audit([POLICY], [defaulted("a", [field], status)]).broken


@pytest.mark.parametrize(
    "annotation", ["", "{", "[]", '{"hardened": 1}', '{"other": ["spec.securityContext.runAsNonRoot"]}']
)
def test_annotation_is_not_believed_that_names_no_policy(annotation: str) -> None:
    body = defaulted("a", [NON_ROOT], waiting("CreateContainerConfigError", ROOT[0]))
    body["metadata"]["annotations"]["sekisho.dev/defaulted"] = annotation
    assert not audit([POLICY], [body]).broken


def test_pods_of_an_owner_are_one_with_the_path_in_its_manifest() -> None:
    web = workload("Deployment", "web")
    replica_set = link("ReplicaSet", "web-1", web)
    pods = [
        defaulted(f"web-{n}", [NON_ROOT], waiting("CreateContainerConfigError", ROOT[0]), replica_set) for n in range(3)
    ]
    [broken] = audit([POLICY], [web, replica_set, *pods]).broken
    assert (broken.owner.title, broken.uid) == ("Deployment shop/web", "Deployment web")
    assert broken.field == f"spec.template.{NON_ROOT}"


def test_init_container_is_reported_too() -> None:
    body = defaulted("a", ["spec.initContainers[0].securityContext.runAsNonRoot"], {"state": {"waiting": {}}})
    body["spec"] = {**body["spec"], "initContainers": [{"name": "setup", "image": "trusted.io/setup:1"}]}
    body["status"]["initContainerStatuses"] = [{"name": "setup", **waiting("CreateContainerConfigError", ROOT[0])}]
    assert [broken.container for broken in audit([POLICY], [body]).broken] == ["setup"]


def test_namespace_with_very_many_leaves_room_for_others() -> None:
    status = waiting("CreateContainerConfigError", ROOT[0])
    pods = [defaulted(f"a{n}", [NON_ROOT], status) for n in range(2 * MAX_BROKEN)]
    pods.append(defaulted("b", [NON_ROOT], status, namespace="other"))
    broken = audit([POLICY], pods).broken
    assert [one.owner.namespace for one in broken] == ["shop"] * (MAX_BROKEN // 2) + ["other"]


def test_symptom_is_one_short_line() -> None:
    body = defaulted("a", [NON_ROOT], waiting("CreateContainerConfigError", "runAsNonRoot\n" * 1000))
    [broken] = audit([POLICY], [body]).broken
    assert len(broken.symptom) == MAX_SYMPTOM_LENGTH
    assert "\n" not in broken.text
