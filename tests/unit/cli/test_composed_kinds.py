"""Argo's workflows and Tekton's tasks: pods that are put together from parts, and findings where these are written."""

import json
from typing import Any

import pytest

from sekisho.custom_kinds import COMPOSED_KINDS
from tests.unit.cli.sekisho_command import sekisho

PRIVILEGED = {"image": "x", "securityContext": {"privileged": True}}
PLAIN = {"image": "x"}


def written(group: str, kind: str, spec: Any, **metadata: Any) -> str:
    meta = {"name": "w", **metadata}
    return json.dumps({"apiVersion": f"{group}/v1", "kind": kind, "metadata": meta, "spec": spec})


def check(text: str, *options: str) -> Any:
    return sekisho("check", "--standard", "baseline", "-o", "json", *options, "-", text=text)


def fields_of(text: str, *options: str) -> set[str]:
    """The fields of the findings on an object."""
    result = check(text, *options)
    assert result.exit_code < 2, result.output
    (checked,) = json.loads(result.stdout)["results"]
    return {finding["field"] for finding in checked["findings"]}


def workflow(template: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"templates": [{"name": "steps", "steps": [[{"name": "a", "template": "b"}]]}, template], **spec}


def in_cron(spec: dict[str, Any]) -> dict[str, Any]:
    return {"workflowSpec": spec}


ARGO = [
    ({"container": PRIVILEGED}, {"container": PLAIN}, "container.securityContext.privileged"),
    ({"script": PRIVILEGED}, {"script": PLAIN}, "script.securityContext.privileged"),
    (
        {"containerSet": {"containers": [PLAIN | {"name": "a"}, PRIVILEGED | {"name": "b"}]}},
        {"containerSet": {"containers": [PLAIN | {"name": "a"}, PLAIN | {"name": "b"}]}},
        "containerSet.containers[1].securityContext.privileged",
    ),
    (
        {"container": PLAIN, "sidecars": [PRIVILEGED | {"name": "s"}]},
        {"container": PLAIN, "sidecars": [PLAIN | {"name": "s"}]},
        "sidecars[0].securityContext.privileged",
    ),
    (
        {"container": PLAIN, "initContainers": [PRIVILEGED | {"name": "s"}]},
        {"container": PLAIN, "initContainers": [PLAIN | {"name": "s"}]},
        "initContainers[0].securityContext.privileged",
    ),
    (
        {"container": PLAIN, "volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
        {"container": PLAIN, "volumes": [{"name": "v", "emptyDir": {}}]},
        "volumes[0].hostPath",
    ),
    (
        {"container": PLAIN, "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
        {"container": PLAIN, "securityContext": {"sysctls": []}},
        "securityContext.sysctls[0].name",
    ),
    (
        {"dag": {"tasks": [{"name": "a", "inline": {"container": PRIVILEGED}}]}},
        {"dag": {"tasks": [{"name": "a", "inline": {"container": PLAIN}}]}},
        "dag.tasks[0].inline.container.securityContext.privileged",
    ),
    (
        {"steps": [[{"name": "a", "inline": {"container": PRIVILEGED}}]]},
        {"steps": [[{"name": "a", "inline": {"container": PLAIN}}]]},
        "steps[0][0].inline.container.securityContext.privileged",
    ),
    (
        {"container": PLAIN, "podSpecPatch": "hostPID: true"},
        {"container": PLAIN, "podSpecPatch": "hostPID: false"},
        "podSpecPatch.hostPID",
    ),
    (
        {"container": PLAIN, "podSpecPatch": '{"containers":[{"name":"main","securityContext":{"privileged":true}}]}'},
        {"container": PRIVILEGED, "podSpecPatch": '{"containers":[{"name":"main","securityContext":null}]}'},
        "podSpecPatch.containers[0].securityContext.privileged",
    ),
]


@pytest.mark.parametrize(("bad", "good", "field"), ARGO, ids=[field for _, _, field in ARGO])
@pytest.mark.parametrize(
    ("kind", "path"),
    [("Workflow", ""), ("WorkflowTemplate", ""), ("ClusterWorkflowTemplate", ""), ("CronWorkflow", "workflowSpec.")],
)
def test_each_part_of_a_template_of_argo_is_judged_where_it_is_written(
    kind: str, path: str, bad: dict[str, Any], good: dict[str, Any], field: str
) -> None:
    in_kind = in_cron if path else lambda spec: spec
    denied, admitted = (written("argoproj.io", kind, in_kind(workflow(part))) for part in (bad, good))
    assert fields_of(denied) == {f"spec.{path}templates[1].{field}"}
    assert fields_of(admitted) == set()


OF_ALL = [
    ({"hostNetwork": True}, {"hostNetwork": False}, "hostNetwork"),
    (
        {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
        {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
        "securityContext.seccompProfile.type",
    ),
    ({"podSpecPatch": "hostIPC: true"}, {"podSpecPatch": "hostUsers: true"}, "podSpecPatch.hostIPC"),
    (
        {"templateDefaults": {"container": {"securityContext": {"privileged": True}}}},
        {"templateDefaults": {"script": {"securityContext": {"privileged": True}}}},
        "templateDefaults.container.securityContext.privileged",
    ),
    (
        {"volumes": [{"name": "mounted", "hostPath": {"path": "/"}}]},
        {"volumes": [{"name": "other", "hostPath": {"path": "/"}}]},
        "volumes[0].hostPath",
    ),
]


@pytest.mark.parametrize(("bad", "good", "field"), OF_ALL, ids=[field for _, _, field in OF_ALL])
def test_what_all_templates_of_a_workflow_share_is_reported_once(
    bad: dict[str, Any], good: dict[str, Any], field: str
) -> None:
    template = {"container": PLAIN | {"volumeMounts": [{"name": "mounted", "mountPath": "/x"}]}}
    for shared, expected in ((bad, [f"spec.{field}"]), (good, [])):
        spec = {"templates": [template, template], **shared}
        (checked,) = json.loads(check(written("argoproj.io", "Workflow", spec)).stdout)["results"]
        assert [finding["field"] for finding in checked["findings"]] == expected


def test_a_template_overrides_its_workflow() -> None:
    shared = {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}
    own = {"container": PLAIN, "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}
    assert fields_of(written("argoproj.io", "Workflow", workflow(own, **shared))) == set()


def steps(*containers: dict[str, Any], **task: Any) -> dict[str, Any]:
    return {"steps": list(containers), **task}


TEKTON = [
    ("Task", steps(PLAIN, PRIVILEGED), steps(PLAIN, PLAIN), "steps[1].securityContext.privileged"),
    ("ClusterTask", steps(PRIVILEGED), steps(PLAIN), "steps[0].securityContext.privileged"),
    ("StepAction", PRIVILEGED, PLAIN, "securityContext.privileged"),
    (
        "Task",
        steps(PLAIN, sidecars=[PRIVILEGED]),
        steps(PLAIN, sidecars=[PLAIN]),
        "sidecars[0].securityContext.privileged",
    ),
    (
        "Task",
        steps(PLAIN, stepTemplate={"securityContext": {"privileged": True}}),
        steps(
            PLAIN | {"securityContext": {"privileged": False}}, stepTemplate={"securityContext": {"privileged": True}}
        ),
        "stepTemplate.securityContext.privileged",
    ),
    (
        "Task",
        steps(PLAIN, volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
        steps(PLAIN, volumes=[{"name": "v", "emptyDir": {}}]),
        "volumes[0].hostPath",
    ),
    (
        "TaskRun",
        {"taskSpec": steps(PRIVILEGED)},
        {"taskSpec": steps(PLAIN)},
        "taskSpec.steps[0].securityContext.privileged",
    ),
    (
        "TaskRun",
        {"taskRef": {"name": "t"}, "podTemplate": {"hostNetwork": True}},
        {"taskRef": {"name": "t"}, "podTemplate": {"hostNetwork": False}},
        "podTemplate.hostNetwork",
    ),
    (
        "Pipeline",
        {"tasks": [{"name": "a", "taskRef": {"name": "t"}}, {"name": "b", "taskSpec": steps(PRIVILEGED)}]},
        {"tasks": [{"name": "a", "taskRef": {"name": "t"}}, {"name": "b", "taskSpec": steps(PLAIN)}]},
        "tasks[1].taskSpec.steps[0].securityContext.privileged",
    ),
    (
        "Pipeline",
        {"finally": [{"name": "b", "taskSpec": steps(PRIVILEGED)}]},
        {"finally": [{"name": "b", "taskSpec": {"apiVersion": "example.com/v1", "kind": "Wait", **steps(PRIVILEGED)}}]},
        "finally[0].taskSpec.steps[0].securityContext.privileged",
    ),
    (
        "PipelineRun",
        {"pipelineSpec": {"tasks": [{"name": "a", "taskSpec": steps(PRIVILEGED)}]}},
        {"pipelineSpec": {"tasks": [{"name": "a", "taskSpec": steps(PLAIN)}]}},
        "pipelineSpec.tasks[0].taskSpec.steps[0].securityContext.privileged",
    ),
    (
        "PipelineRun",
        {"pipelineRef": {"name": "p"}, "taskRunTemplate": {"podTemplate": {"hostNetwork": True}}},
        {"pipelineRef": {"name": "p"}, "taskRunTemplate": {"podTemplate": {"hostNetwork": False}}},
        "taskRunTemplate.podTemplate.hostNetwork",
    ),
    (
        "PipelineRun",
        {
            "pipelineSpec": {"tasks": [{"name": "a", "taskSpec": steps(PLAIN)}]},
            "taskRunSpecs": [{"pipelineTaskName": "a", "podTemplate": {"hostNetwork": True}}],
        },
        {
            "pipelineSpec": {"tasks": [{"name": "a", "taskSpec": steps(PLAIN)}]},
            "taskRunSpecs": [{"pipelineTaskName": "other", "podTemplate": {"hostNetwork": True}}],
        },
        "taskRunSpecs[0].podTemplate.hostNetwork",
    ),
]


@pytest.mark.parametrize(
    ("kind", "bad", "good", "field"), TEKTON, ids=[f"{kind} {field}" for kind, _, _, field in TEKTON]
)
def test_each_part_of_a_task_of_tekton_is_judged_where_it_is_written(
    kind: str, bad: dict[str, Any], good: dict[str, Any], field: str
) -> None:
    assert fields_of(written("tekton.dev", kind, bad)) == {f"spec.{field}"}
    assert fields_of(written("tekton.dev", kind, good)) == set()


FIXED = [
    ("argoproj.io", "Workflow", workflow({"container": {"image": "x"}, "sidecars": [{"name": "s", "image": "x"}]})),
    ("argoproj.io", "CronWorkflow", in_cron(workflow({"script": {"image": "x"}}))),
    ("tekton.dev", "Task", steps({"image": "x"}, {"image": "x"}, sidecars=[{"image": "x"}])),
    ("tekton.dev", "TaskRun", {"taskSpec": steps({"image": "x"})}),
]


@pytest.mark.parametrize(("group", "kind", "spec"), FIXED, ids=[kind for _, kind, _ in FIXED])
def test_fixes_are_written_into_the_parts(group: str, kind: str, spec: dict[str, Any]) -> None:
    text = written(group, kind, spec)
    assert sekisho("check", "--standard", "restricted", "-", text=text).exit_code == 1
    fixed = sekisho("fix", "--all", "--standard", "restricted", "-", text=text)
    assert fixed.exit_code == 0, fixed.output
    assert sekisho("check", "--standard", "restricted", "-", text=fixed.stdout).exit_code == 0


def test_a_task_is_fixed_in_its_containers_because_it_has_no_field_for_the_pod() -> None:
    result = sekisho(
        "check", "--standard", "restricted", "-", text=written("tekton.dev", "Task", steps({"image": "x"}))
    )
    assert "Fix: set spec.steps[0].securityContext.runAsNonRoot to true" in result.stdout


IMAGES = """
apiVersion: sekisho.dev/v1alpha1
kind: ClusterPodPolicy
metadata: {name: images}
spec: {controls: {images: {trustedRegistries: [ghcr.io]}}}
---
"""


@pytest.mark.parametrize(
    ("text", "image"),
    [
        (written("argoproj.io", "Workflow", workflow({"container": {"image": "{{inputs.parameters.x}}"}})), "{{inputs"),
        (written("tekton.dev", "Task", steps({"image": "$(params.x)"})), "$(params"),
    ],
)
def test_a_value_that_is_set_later_is_left_out_and_said(text: str, image: str) -> None:
    result = sekisho("check", "-", text=IMAGES + text)
    assert (result.exit_code, "until a pod is created, and judged then" in result.stderr) == (0, True)
    constant = IMAGES + text[: text.index(image)] + text[text.index(image) :].replace("{{", "").replace("$", "")
    assert sekisho("check", "-", text=constant).exit_code == 1


LEFT_OUT = [
    ("argoproj.io", "Workflow", {"workflowTemplateRef": {"name": "t"}}, "workflowTemplateRef names"),
    (
        "argoproj.io",
        "Workflow",
        workflow({"container": PLAIN, "podSpecPatch": "hostPID: {{x}}"}),
        "[1].podSpecPatch is",
    ),
    ("argoproj.io", "Workflow", workflow({"container": PLAIN, "podSpecPatch": "a: ["}), "[1].podSpecPatch is"),
    ("tekton.dev", "TaskRun", {"taskRef": {"name": "t"}}, "taskRef names"),
    ("tekton.dev", "Pipeline", {"tasks": [{"name": "a", "taskRef": {"name": "t"}}]}, "taskRef names"),
    ("tekton.dev", "PipelineRun", {"pipelineRef": {"name": "t"}}, "pipelineRef names"),
    ("tekton.dev", "Task", steps({"name": "a", "ref": {"name": "t"}}), "steps' ref names"),
]


@pytest.mark.parametrize(("group", "kind", "spec", "note"), LEFT_OUT)
def test_what_is_not_judged_is_in_a_note(group: str, kind: str, spec: dict[str, Any], note: str) -> None:
    result = check(written(group, kind, spec))
    assert (result.exit_code, note in result.stderr) == (0, True), result.stderr


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("Workflow", {"templates": {"a": 1}}, "spec.templates: Expected `array`"),
        ("Workflow", {"templates": [{"container": "x"}]}, "spec.templates[0].container: Expected `object`"),
        (
            "Workflow",
            {"templates": [{"container": {"image": 5}}]},
            "spec.templates[0].container.image: Expected 'str | null'",
        ),
        ("Workflow", "x", "spec: Expected `object`"),
        ("CronWorkflow", {"workflowSpec": []}, "spec.workflowSpec: Expected `object`"),
    ],
)
def test_a_part_of_the_wrong_type_is_an_error_at_its_place(kind: str, spec: Any, message: str) -> None:
    result = check(written("argoproj.io", kind, spec))
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize(("group", "kind"), COMPOSED_KINDS)
@pytest.mark.parametrize("spec", [None, {}])
def test_an_object_without_parts_passes(group: str, kind: str, spec: Any) -> None:
    result = check(written(group, kind, spec))
    assert (result.exit_code, "1 checked: 1 pass" in result.stderr) == (0, True), result.output


def test_argos_own_containers_in_a_patch_are_left_to_the_pod() -> None:
    patch = "containers: [{name: wait, securityContext: {privileged: true}}]"
    assert fields_of(written("argoproj.io", "Workflow", workflow({"container": PLAIN, "podSpecPatch": patch}))) == set()
