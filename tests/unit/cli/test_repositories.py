"""`sekisho check` on folders that hold more than Kubernetes objects: what it passes over, and what it says of it."""

import json
from pathlib import Path

import pytest

from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, sekisho

PATCH = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {hostPID: true, containers: [{name: app, env: [{name: A, value: b}]}]}}}
"""
TEMPLATE = "apiVersion: v1\nkind: Pod\nspec:\n  {{- if .Values.host }}\n  hostPID: true\n  {{- end }}\n"
PASSED_OVER = {
    ".github/workflows/ci.yml": ("name: ci\non: [push]\njobs: {}\n", "1 file without a Kubernetes object: "),
    "values.yaml": ("image: x\nextra: [{apiVersion: v1, kind: Pod}]\n", "1 file without a Kubernetes object: "),
    "package.json": ('{"name": "x", "version": "1"}', "1 file without a Kubernetes object: "),
    "list.json": ("[1, 2]", "1 file without a Kubernetes object: "),
    "mkdocs.yml": ("a: !!python/name:x.y\n", "1 file without a Kubernetes object: "),
    "notes.yaml": ("kind: words\n", "1 file without a Kubernetes object: "),
    "config.yaml": ("name: {{ name }}\n", "1 Helm template: "),
    "pod.yaml": (TEMPLATE, "1 Helm template: "),
}


def write(folder: Path, **texts: str) -> None:
    """Write files; in their names, `__` stands for `/`."""
    for name, text in texts.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.mark.parametrize("name", PASSED_OVER)
def test_a_file_that_is_not_an_object_is_passed_over_by_its_name(name: str, tmp_path: Path) -> None:
    text, which = PASSED_OVER[name]
    write(tmp_path, **{"good.yaml": GOOD_POD, name: text})
    result = sekisho("check", "--standard", "baseline", "--render", "never", tmp_path)
    assert result.exit_code == 0
    assert f"note: passed over {which}{tmp_path / name}" in result.stderr
    assert "1 checked: 1 pass, 0 denied; 1 file passed over\n" in result.stdout


@pytest.mark.parametrize("name", PASSED_OVER)
def test_the_same_file_is_an_error_if_it_is_named(name: str, tmp_path: Path) -> None:
    write(tmp_path, **{name: PASSED_OVER[name][0]})
    result = sekisho("check", "--standard", "baseline", tmp_path / name)
    assert (result.exit_code, f"Error: {tmp_path / name}:" in result.stderr) == (2, True)


MEANT = [
    "apiVersion: v1\nmetadata: {name: p}\nspec: {hostPID: true}\n",
    "kind: Pod\nspec: {hostPID: true}\n",
    "apiVersion: v1\nkind: Pod\nspec: [\n",
    "apiVersion: v1\nkind: List\nitems: [5]\n",
    '{"apiVersion": "v1", "kind": "Pod", "spec": {]}\n',
]


@pytest.mark.parametrize("text", MEANT)
def test_a_file_that_was_meant_as_an_object_stays_an_error(text: str, tmp_path: Path) -> None:
    write(tmp_path, **{"good.yaml": GOOD_POD, "pod.yaml": text})
    result = sekisho("check", "--standard", "baseline", "--render", "never", tmp_path)
    assert (result.exit_code, f"Error: {tmp_path / 'pod.yaml'}:" in result.stderr) == (2, True)


def test_a_patch_of_a_kustomization_is_not_an_object_of_its_own(tmp_path: Path) -> None:
    kustomization = "resources: [pod.yaml]\npatches: [{path: patch.yaml}, {patch: '- op: add'}]\n"
    write(tmp_path, **{"kustomization.yaml": kustomization, "patch.yaml": PATCH, "pod.yaml": GOOD_POD})
    result = sekisho("check", "--standard", "baseline", "--render", "never", tmp_path)
    assert result.exit_code == 0
    assert f"note: passed over 1 patch of a kustomization: {tmp_path / 'patch.yaml'}\n" in result.stderr


@pytest.mark.parametrize(
    "key", ["patchesStrategicMerge: [../base/patch.yaml]", "patchesJson6902: [{path: ../base/patch.yaml}]"]
)
def test_older_forms_of_patches_are_known(key: str, tmp_path: Path) -> None:
    write(tmp_path, **{"over__kustomization.yml": f"{key}\n", "base__patch.yaml": PATCH})
    result = sekisho("check", "--standard", "baseline", "--render", "never", tmp_path)
    assert (result.exit_code, "1 patch of a kustomization" in result.stderr) == (0, True)


@pytest.mark.parametrize(
    "kustomization", ["resources: [patch.yaml]\npatches: [{path: patch.yaml}]\n", "resources: [patch.yaml]\n", "a: [\n"]
)
def test_what_is_not_only_a_patch_is_judged(kustomization: str, tmp_path: Path) -> None:
    write(tmp_path, **{"kustomization.yaml": kustomization, "patch.yaml": PATCH})
    assert sekisho("check", "--standard", "baseline", "--render", "never", tmp_path).exit_code == 1


def test_a_template_of_a_chart_is_not_read(tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    write(chart, **{"Chart.yaml": "apiVersion: v2\nname: c\nversion: 0.1.0\n", "templates__sub__pod.yaml": BAD_POD})
    result = sekisho("check", "--standard", "baseline", "--render", "never", tmp_path)
    assert result.exit_code == 0
    expected = (
        f"1 Helm template: {chart}/templates/sub/pod.yaml; render it first: helm template CHART | sekisho check -"
    )
    assert expected in result.stderr
    named = sekisho("check", "--standard", "baseline", chart / "templates/sub/pod.yaml")
    assert named.exit_code == 2
    assert f"pod.yaml: is a Helm template; render it first: helm template {chart} | sekisho check -" in named.stderr


def test_a_folder_named_templates_that_belongs_to_no_chart_is_read(tmp_path: Path) -> None:
    write(tmp_path, **{"templates__pod.yaml": BAD_POD})
    assert sekisho("check", "--standard", "baseline", "--render", "never", tmp_path).exit_code == 1


@pytest.mark.parametrize(
    "pattern", ["bad", "bad.yaml", "*.yaml", "test*/bad.yaml", "tests", "tests/", "**/bad.yaml", "./tests"]
)
def test_an_excluded_file_is_left_out_and_counted(pattern: str, tmp_path: Path) -> None:
    write(tmp_path, **{"tests__bad.yaml": BAD_POD, "bad__pod.json": "x", "good.json": GOOD_POD})
    if pattern == "bad":
        (tmp_path / "tests/bad.yaml").unlink()
    else:
        (tmp_path / "bad/pod.json").unlink()
    result = sekisho("check", "--standard", "baseline", "--exclude", pattern, tmp_path)
    assert result.exit_code == 0
    assert "1 checked: 1 pass, 0 denied; 1 file passed over\n" in result.stdout
    assert "note: passed over 1 file that --exclude names: " in result.stderr


@pytest.mark.parametrize("pattern", ["ba", "yaml", "Bad.yaml", "bad.yaml/x"])
def test_a_pattern_that_does_not_match_leaves_nothing_out(pattern: str, tmp_path: Path) -> None:
    write(tmp_path, **{"tests__bad.yaml": BAD_POD})
    assert sekisho("check", "--standard", "baseline", "--exclude", pattern, tmp_path).exit_code == 1


def test_a_named_file_is_excluded_too(tmp_path: Path) -> None:
    write(tmp_path, **{"values.yaml": "a: b\n", "pod.yaml": GOOD_POD})
    files = (tmp_path / "values.yaml", tmp_path / "pod.yaml")
    assert sekisho("check", "--standard", "baseline", "--exclude", "values.yaml", *files).exit_code == 0


def test_json_names_each_file_and_counts_each_kind(tmp_path: Path) -> None:
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    write(tmp_path, **{"a.yaml": f"{config}---\n{config}---\n{GOOD_POD}", "b.yaml": "a: b\n---\nc: d\n"})
    report = json.loads(sekisho("check", "--standard", "baseline", "-o", "json", tmp_path).stdout)
    files = [{"file": str(tmp_path / "b.yaml"), "reason": "no Kubernetes object", "detail": None}]
    assert report["passedOver"] == {"files": files, "kinds": {"ConfigMap": 2}}


def test_kinds_without_pods_are_named_and_counted() -> None:
    kinds = ("Service", "Secret", "Role", "Service", "Ingress", "ConfigMap", "ServiceAccount")
    text = "---\n".join(f"apiVersion: example.com/v1\nkind: {kind}\nmetadata: {{name: a}}\n" for kind in kinds)
    result = sekisho("check", "--standard", "baseline", "-", text=text)
    counts = "2 Service, 1 ConfigMap, 1 Ingress, 1 Role, 1 Secret and 1 more"
    assert f"7 objects without pods ignored ({counts})\n" in result.stdout


def test_fix_leaves_out_what_is_not_an_object(tmp_path: Path) -> None:
    write(tmp_path, **{"a.yaml": "a: b\n", "b.yaml": "a: {{ b }}\n", "c.yaml": GOOD_POD})
    result = sekisho("fix", "--standard", "baseline", tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
