"""Verdicts on the same workload: of `sekisho check`, and of the webhook on a dry run."""

import json
from typing import Any

from sekisho.admission import NamespaceObjects
from sekisho.documents import write_document
from sekisho.findings import render_path
from sekisho.manifests import Checker, Namespaces, sources_of
from sekisho.pods import POD_TEMPLATES
from sekisho.policies import Enforcement, PolicySet
from tests.controlplane.plane import ControlPlane

Json = dict[str, Any]
Fields = frozenset[tuple[str, str]]
"""The control and the field of each problem that denies, from the pod's root."""

_APPS = frozenset({"DaemonSet", "Deployment", "StatefulSet"})
_BATCH = frozenset({"CronJob", "Job"})


def by_check(policies: PolicySet, namespace: str, manifest: Json, objects: NamespaceObjects) -> Fields:
    """The verdict of `sekisho check` on a manifest. objects: what is in the namespace."""
    checker = Checker(policies, Namespaces(objects={namespace: objects}), namespace)
    (source,) = sources_of(write_document(manifest), "workload")
    (checked,) = checker.check(source).checked
    above = template_path(manifest)
    return frozenset(
        (located.finding.control, render_path(located.finding.path[len(above) :]))
        for located in checked.violations
        if located.enforcement is Enforcement.DENY
    )


def by_webhook(plane: ControlPlane, namespace: str, manifest: Json) -> tuple[Fields, Json]:
    """The causes of the denial of a dry run, and the object that would be stored; that is empty if denied."""
    above = template_path(manifest)
    answer = plane.call("POST", f"{path_of(namespace, manifest['kind'])}?dryRun=All", manifest)
    status = json.loads(answer.body)
    if answer.status == 201:
        return frozenset(), status
    assert answer.status == 403, status["message"]
    causes = [(cause["reason"].removeprefix("Violates"), cause["field"]) for cause in status["details"]["causes"]]
    prefix = f"{render_path(above)}." if above else ""
    return frozenset((name[0].lower() + name[1:], field.removeprefix(prefix)) for name, field in causes), {}


def template_path(manifest: Json) -> tuple[str, ...]:
    """Where a manifest has its pod template; empty for a pod."""
    return POD_TEMPLATES.get((manifest["apiVersion"].rpartition("/")[0], manifest["kind"]), ())


def path_of(namespace: str, kind: str) -> str:
    """The API path of the objects of a kind in a namespace."""
    group = "/apis/apps/v1" if kind in _APPS else "/apis/batch/v1" if kind in _BATCH else "/api/v1"
    return f"{group}/namespaces/{namespace}/{kind.lower()}s"
