"""Images that an injector or a trigger replaces are judged on pods, and not on templates and manifests."""

import json
from typing import Any

import msgspec
import pytest

from sekisho.admission import Context, Evaluation, Form, evaluate
from sekisho.manifests import Checker, Namespaces, Source
from sekisho.pods import Pod
from sekisho.policies import ClusterPodPolicy, PolicySet

SPEC = {"controls": {"images": {"trustedRegistries": ["docker.io/istio"], "deniedTags": ["latest"]}, "privileged": {}}}
POLICIES = PolicySet.of([msgspec.convert({"metadata": {"name": "p"}, "spec": SPEC}, ClusterPodPolicy)])
INJECTED = {"labels": {"sidecar.istio.io/inject": "true"}}
ISTIO = "Istio's injector"
OPENSHIFT = "OpenShift's image trigger"


def judged(
    metadata: dict[str, Any], image: str = "auto", form: Form = Form.TEMPLATE, triggers: str | None = None, **more: Any
) -> Evaluation:
    container = {"name": "app", "image": image, **more}
    pod = msgspec.convert({"metadata": metadata, "spec": {"containers": [container]}}, Pod)
    annotations = {"image.openshift.io/triggers": triggers} if triggers is not None else None
    return evaluate(pod, Context(POLICIES, "shop", None), form=form, annotations=annotations)


def trigger(path: str, **more: Any) -> str:
    return json.dumps([{"from": {"kind": "ImageStreamTag", "name": "app:latest"}, "fieldPath": path, **more}])


BY_NAME = 'spec.template.spec.containers[?(@.name=="app")].image'
REPLACED: list[tuple[dict[str, Any], str, str | None, str]] = [
    (INJECTED, "auto", None, ISTIO),
    ({"annotations": {"sidecar.istio.io/inject": "true"}}, "auto", None, ISTIO),
    ({"annotations": {"inject.istio.io/templates": "gateway"}}, "auto", None, ISTIO),
    ({"labels": {"istio.io/rev": "canary"}}, "auto", None, ISTIO),
    ({}, "app:latest", trigger(BY_NAME), OPENSHIFT),
    ({}, "app:latest", trigger("spec.template.spec.containers[?(@.name=='app')].image"), OPENSHIFT),
    ({}, "app:latest", trigger("spec.template.spec.containers[0].image", paused="false"), OPENSHIFT),
    ({}, " ", trigger("spec.jobTemplate.spec.template.spec.containers[0].image"), OPENSHIFT),
]


@pytest.mark.parametrize("form", [Form.TEMPLATE, Form.MANIFEST])
@pytest.mark.parametrize(("metadata", "image", "triggers", "by"), REPLACED)
def test_a_placeholder_is_not_judged_before_the_pod(
    form: Form, metadata: dict[str, Any], image: str, triggers: str | None, by: str
) -> None:
    evaluation = judged(metadata, image, form, triggers)
    assert evaluation.violations == ()
    assert evaluation.notes == (
        f'the image of container "app" is a placeholder that {by} replaces; it is judged when a pod is created',
    )
    assert {violation.finding.control for violation in evaluation.not_judged} == {"images"}
    assert judged(metadata, image, Form.POD, triggers).violations != ()


JUDGED: list[tuple[dict[str, Any], str, str | None]] = [
    ({}, "auto", None),
    ({"labels": {"sidecar.istio.io/inject": "false"}}, "auto", None),
    (
        {"labels": {"sidecar.istio.io/inject": "false"}, "annotations": {"inject.istio.io/templates": "gateway"}},
        "auto",
        None,
    ),
    ({"annotations": {"sidecar.istio.io/inject": "false", "inject.istio.io/templates": "gateway"}}, "auto", None),
    ({"labels": {"sidecar.istio.io/inject": "false", "istio.io/rev": "canary"}}, "auto", None),
    (INJECTED | {"labels": {"sidecar.istio.io/inject": "false"}}, "auto", None),
    (INJECTED, "auto:1", None),
    (INJECTED, "evil.example/auto", None),
    ({}, "app:latest", trigger(BY_NAME, paused="true")),
    ({}, "app:latest", trigger(BY_NAME, paused=True)),
    ({}, "app:latest", trigger(BY_NAME.replace("app", "other"))),
    ({}, "app:latest", trigger("spec.template.spec.containers[1].image")),
    ({}, "app:latest", trigger("spec.template.spec.initContainers[0].image")),
    ({}, "app:latest", "not JSON"),
    ({}, "app:latest", "[" * 100_000),
    ({}, "app:latest", trigger(BY_NAME)[:-1] + " " * 70_000 + "]"),
    ({"annotations": {"image.openshift.io/triggers": trigger(BY_NAME)}}, "app:latest", None),
]


@pytest.mark.parametrize(("metadata", "image", "triggers"), JUDGED)
def test_any_other_image_is_judged(metadata: dict[str, Any], image: str, triggers: str | None) -> None:
    evaluation = judged(metadata, image, Form.TEMPLATE, triggers)
    assert {violation.finding.control for violation in evaluation.violations} == {"images"}
    assert evaluation.notes == ()


def test_trigger_on_a_pod_that_no_workload_creates_replaces_nothing() -> None:
    meta = {"name": "web", "annotations": {"image.openshift.io/triggers": trigger("spec.containers[0].image")}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [{"name": "app", "image": "a"}]}}
    checks = Checker(POLICIES, Namespaces()).check(Source("pod.yaml", 0, json.dumps(pod)))
    assert {located.finding.control for checked in checks.checked for located in checked.violations} == {"images"}


def test_other_controls_of_a_placeholder_are_judged() -> None:
    evaluation = judged(INJECTED, securityContext={"privileged": True})
    assert [violation.finding.control for violation in evaluation.violations] == ["privileged"]
