"""Kinds of others with pod templates: each is judged by the paths of its kind, and findings name the path."""

import json
from pathlib import Path
from typing import Any

import pytest

from sekisho.custom_kinds import ANY_MEMBER, CUSTOM_KINDS, TemplatePattern
from tests.unit.cli.sekisho_command import sekisho

BY_PATH = [(key, pattern) for key, patterns in CUSTOM_KINDS.items() for pattern in patterns]


def nested(pattern: TemplatePattern, template: Any, *, is_list: bool = True) -> Any:
    """An object that has the template at the pattern, two times where it may have several."""
    if not pattern:
        return template
    below = nested(pattern[1:], template, is_list=is_list)
    if pattern[0] != ANY_MEMBER:
        return {pattern[0]: below}
    return [below, below] if is_list else {"Master": below, "Worker": below}


def written(group: str, kind: str, value: dict[str, Any]) -> str:
    return json.dumps({"apiVersion": f"{group}/v1".lstrip("/"), "kind": kind, "metadata": {"name": "w"}, **value})


@pytest.mark.parametrize(("key", "pattern"), BY_PATH, ids=lambda value: ".".join(value))
@pytest.mark.parametrize("is_list", [True, False])
def test_each_template_of_a_kind_is_judged_at_its_path(
    key: tuple[str, str], pattern: TemplatePattern, is_list: bool
) -> None:
    for host in (True, False):
        spec = {"spec": {"hostPID": host, "containers": [{"name": "a", "image": "x"}]}}
        text = written(*key, nested(pattern, spec, is_list=is_list))
        result = sekisho("check", "--standard", "baseline", "-", text=text)
        assert result.exit_code == host, result.output
        assert "1 checked: " in result.stdout
        count = 2 if ANY_MEMBER in pattern else 1
        assert result.stdout.count("spec.hostPID is true") == (count if host else 0)
    if ANY_MEMBER in pattern:
        assert (
            "[1].template" in sekisho("check", "--standard", "baseline", "-", text=text.replace("false", "true")).stdout
        ) is is_list


def test_a_kind_of_which_one_of_two_templates_is_bad_is_denied_once() -> None:
    good, bad = ({"spec": {"hostPID": host}} for host in (False, True))
    value = {"spec": {"headGroupSpec": {"template": good}, "workerGroupSpecs": [{"template": good}, {"template": bad}]}}
    result = sekisho("check", "--standard", "baseline", "-", text=written("ray.io", "RayCluster", value))
    assert "1 checked: 0 pass, 1 denied" in result.stdout
    assert "spec.workerGroupSpecs[1].template.spec.hostPID is true" in result.stdout
    assert result.stdout.count(": denied: ") == 1


def test_the_fix_of_a_kind_is_written_into_its_template() -> None:
    value = {
        "spec": {
            "headGroupSpec": {"template": {"spec": {}}},
            "workerGroupSpecs": [{"template": {"spec": {"hostPID": True}}}],
        }
    }
    text = written("ray.io", "RayCluster", value)
    fixed = sekisho("fix", "--all", "--standard", "baseline", "-", text=text)
    assert fixed.exit_code == 0
    assert sekisho("check", "--standard", "baseline", "-", text=fixed.stdout).exit_code == 0


UNREADABLE = [
    ({"spec": {"template": "x"}}, "spec.template is not a template: it has no spec"),
    ({"spec": {"template": {"spec": {"hostPID": "yes"}}}}, "spec.template.spec.hostPID: Expected"),
    ({"spec": {"template": {"spec": {"newContainers": [{"image": "x"}]}}}}, "spec.template.spec.newContainers"),
]


@pytest.mark.parametrize(("value", "expected"), UNREADABLE)
def test_a_template_that_cannot_be_judged_is_an_error(value: dict[str, Any], expected: str) -> None:
    result = sekisho("check", "--standard", "baseline", "-", text=written("argoproj.io", "Rollout", value))
    assert (result.exit_code, expected in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize("value", [{}, {"spec": {}}, {"spec": {"template": None}}, {"spec": None}])
def test_a_kind_without_a_template_passes(value: dict[str, Any]) -> None:
    result = sekisho("check", "--standard", "baseline", "-", text=written("argoproj.io", "Rollout", value))
    assert (result.exit_code, "1 checked: 1 pass" in result.stdout) == (0, True)


WIDGET = {
    "spec": {"roles": [{"template": {"spec": {"hostPID": True}}}], "other": {"template": {"spec": {"hostIPC": True}}}}
}


def test_a_kind_is_judged_by_the_paths_of_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = written("example.com", "Widget", WIDGET)
    options = ["--pod-template", "Widget.example.com=spec.roles[*].template"]
    result = sekisho("check", "--standard", "baseline", *options, "-", text=text)
    assert (result.exit_code, "spec.roles[0].template.spec.hostPID is true" in result.stdout) == (1, True)
    assert "hostIPC" not in result.stdout
    options += ["--pod-template", "Widget.example.com=spec.other.template"]
    assert "hostIPC" in sekisho("check", "--standard", "baseline", *options, "-", text=text).stdout
    assert sekisho("explain", "--standard", "baseline", *options, "-", text=text).stdout.count("denied") == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".sekisho.yaml").write_text(
        'podTemplates: ["Widget.example.com=spec.other.template"]\nstandard: baseline\n'
    )
    assert sekisho("check", "-", text=text).exit_code == 1
    assert sekisho("check", "--standard", "baseline", "-", text=written("example.org", "Widget", WIDGET)).exit_code == 0


@pytest.mark.parametrize("option", ["Widget", "=spec", "Widget.example.com=", "Widget.example.com=spec.[0]", "a b=c"])
def test_a_path_that_is_not_written_so_is_an_error(option: str) -> None:
    result = sekisho("check", "--standard", "baseline", "--pod-template", option, "-", text="{}")
    assert (result.exit_code, f"--pod-template {option}: must be KIND.GROUP=PATH" in result.stderr) == (2, True)
