"""Charts and kustomizations in folders are rendered, by the real helm and the kustomize in the real kubectl."""

import json
import subprocess
from pathlib import Path

import pytest

from sekisho.manifests.folders import Excluded, read_folder
from sekisho.manifests.rendering import installed_tools, render_folder
from sekisho.manifests.texts import Source
from tests.chart import helm_binary
from tests.controlplane.build import control_plane_binaries
from tests.controlplane.progress import Progress
from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, sekisho
from tests.unit.cli.test_repositories import write

pytestmark = pytest.mark.timeout(1800)  # the first test may have to build helm and kubectl

CHART = {
    "Chart.yaml": "apiVersion: v2\nname: web\nversion: 0.1.0\n",
    "values.yaml": "host: true\n",
    "templates__pod.yaml": (
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ .Release.Name }}\nspec:\n"
        "  {{- with .Values.host }}\n  hostPID: {{ . }}\n  {{- end }}\n  hostIPC: true\n"
    ),
}
BASE = (
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      hostPID: true\n"
)
KUSTOMIZE = {
    "base__kustomization.yaml": "resources: [web.yaml]\n",
    "base__web.yaml": BASE,
    "prod__kustomization.yaml": "resources: [../base]\nnamespace: shop\npatches: [{path: patch.yaml}]\n",
    "prod__patch.yaml": BASE.replace("hostPID", "hostIPC"),
}


def rendered(folder: Path = Path()) -> list[Source]:
    return [*render_folder(read_folder(folder, Excluded()), installed_tools("default"))[0]]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with helm and kubectl, which is all that PATH has."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "helm").symlink_to(helm_binary())
    (folder / "kubectl").symlink_to(control_plane_binaries(Progress()).kubectl)
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def repository(tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, which is the current folder."""
    repository = tmp_path / "repository"
    repository.mkdir()
    monkeypatch.chdir(repository)
    return repository


def test_a_finding_in_a_chart_is_placed_in_its_template(repository: Path) -> None:
    write(repository / "charts/web", **CHART)
    result = sekisho("check", "--standard", "baseline", ".")
    assert result.exit_code == 1
    assert (
        "charts/web/templates/pod.yaml:9:3: denied: the pod for host namespaces: spec.hostIPC is true" in result.stdout
    )
    assert (
        "charts/web/templates/pod.yaml:5:1: denied: the pod for host namespaces: spec.hostPID is true" in result.stdout
    )
    assert "1 checked: 0 pass, 1 denied; 2 files passed over\n" in result.stdout
    write(repository / "charts/web", **{"templates__pod.yaml": GOOD_POD})
    assert sekisho("check", "--standard", "baseline", ".").exit_code == 0


def helm_template(tools: Path, *chart: str) -> str:
    command = [str(tools / "helm"), "template", "release-name", *chart]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_output_of_helm_template_is_placed_in_the_chart_that_is_there(repository: Path, tools: Path) -> None:
    write(repository / "deploy/charts/web", **CHART)
    text = helm_template(tools, "deploy/charts/web")
    template = "deploy/charts/web/templates/pod.yaml"
    assert f"{template}:9:3: denied: the pod" in sekisho("check", "--standard", "baseline", "-", text=text).stdout
    run = json.loads(sekisho("check", "--standard", "baseline", "-o", "sarif", "-", text=text).stdout)["runs"][0]
    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert {place["artifactLocation"]["uri"] for place in places} == {template}
    assert sorted(place["region"]["startLine"] for place in places) == [5, 9]
    unplaced = sekisho("check", "--standard", "baseline", "--render", "never", "-", text=text).stdout
    assert "<stdin>:" in unplaced
    write(repository / "copy", **CHART)
    assert sekisho("check", "--standard", "baseline", "-", text=text).stdout == unplaced


@pytest.mark.parametrize("source", ["web/../../secret.yaml", "other/templates/pod.yaml"])
def test_output_that_names_no_template_of_a_chart_stays_where_it_is(source: str, repository: Path) -> None:
    write(repository / "web", **CHART)
    result = sekisho("check", "--standard", "baseline", "-", text=f"---\n# Source: {source}\n{BAD_POD}")
    assert "<stdin>:" in result.stdout
    assert "secret" not in result.stdout


def test_a_finding_in_a_kustomization_is_placed_in_the_file_that_it_comes_from(repository: Path) -> None:
    write(repository, **KUSTOMIZE)
    result = sekisho("check", "--standard", "baseline", ".")
    assert result.exit_code == 1
    assert "base/web.yaml:1:1: Deployment shop/web\n" in result.stdout
    assert "base/web.yaml:7:7: denied: the pod for host namespaces: spec.template.spec.hostPID is true" in result.stdout
    assert "base/web.yaml:5:3: denied: the pod for host namespaces: spec.template.spec.hostIPC is true" in result.stdout
    assert "1 checked: 0 pass, 1 denied\n" in result.stdout
    good = {"base__web.yaml": BASE.replace("true", "false"), "prod__patch.yaml": BASE.replace("true", "false")}
    write(repository, **good)
    assert sekisho("check", "--standard", "baseline", ".").exit_code == 0


@pytest.mark.parametrize("path", ["/dev/zero", "../../secret.txt", "base/web.yaml"])
def test_text_that_looks_like_the_annotation_of_kustomize_names_no_file(path: str, repository: Path) -> None:
    """A file without an end would be read until the memory is full; and the text itself is judged."""
    text = f"data:\n  notes: |\n    config.kubernetes.io/origin: |\n      path: {path}\n"
    config_map = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: notes}}\n{text}"
    write(repository, **{**KUSTOMIZE, "base__kustomization.yaml": "resources: [web.yaml, notes.yaml]\n"})
    write(repository, **{"base__notes.yaml": config_map})
    [source] = [one for one in rendered() if "kind: ConfigMap" in one.text]
    assert source.file == "base/notes.yaml"
    assert f"      path: {path}\n" in source.text


@pytest.mark.parametrize("file", ["/dev/zero", "../../../secret.txt"])
def test_chart_whose_output_names_another_file_is_placed_in_the_chart(file: str, repository: Path) -> None:
    template = f"# Source: web/{file}\n{BAD_POD}"
    write(repository / "charts/web", **{**CHART, "templates__pod.yaml": f"{GOOD_POD}---\n{template}"})
    assert {source.file for source in rendered()} <= {"charts/web/templates/pod.yaml", "charts/web/Chart.yaml"}


def test_an_overlay_that_corrects_its_base_passes(repository: Path) -> None:
    write(repository, **{**KUSTOMIZE, "prod__patch.yaml": BASE.replace("true", "false")})
    assert sekisho("check", "--standard", "baseline", ".").exit_code == 0
    assert sekisho("check", "--standard", "baseline", "--render", "never", ".").exit_code == 1


def test_what_no_kustomization_uses_is_judged_as_it_is(repository: Path) -> None:
    write(
        repository,
        **{**KUSTOMIZE, "base__web.yaml": GOOD_POD, "prod__patch.yaml": GOOD_POD, "base__other.yaml": BAD_POD},
    )
    assert "base/other.yaml:4:8: denied" in sekisho("check", "--standard", "baseline", ".").stdout


@pytest.mark.parametrize("missing", ["helm", "kubectl"])
def test_without_a_tool_nothing_is_rendered_and_a_note_says_so(missing: str, repository: Path, tools: Path) -> None:
    (tools / missing).unlink()
    write(repository / "charts/web", **CHART)
    write(repository, **KUSTOMIZE)
    result = sekisho("check", "--standard", "baseline", ".")
    assert result.exit_code == 1
    note = (
        "1 Helm template: charts/web/templates/pod.yaml"
        if missing == "helm"
        else "2 kustomizations: base/kustomization"
    )
    assert f"note: passed over {note}" in result.stderr


FAILING = {
    "chart": {**CHART, "templates__pod.yaml": '{{ fail "no values" }}'},
    "kustomization": {"kustomization.yaml": "resources: [nowhere.yaml]\n"},
    "remote kustomization": {"kustomization.yaml": "resources: ['https://example.com/x?ref=v1']\n"},
}


@pytest.mark.parametrize("what", FAILING)
def test_what_cannot_be_rendered_is_passed_over_with_the_reason(what: str, repository: Path) -> None:
    write(repository / "failing", **FAILING[what])
    write(repository, **{"pod.yaml": GOOD_POD})
    result = sekisho("check", "--standard", "baseline", ".")
    assert result.exit_code == 0
    assert "note: passed over 1 chart or kustomization that cannot be rendered: failing (" in result.stderr
    assert sekisho("check", "--standard", "baseline", "--fail-on-unknown", ".").exit_code == 2


def test_a_chart_inside_a_chart_is_part_of_it_and_a_library_is_not_rendered(repository: Path) -> None:
    write(repository / "web", **CHART)
    write(repository / "web/charts/sub", **{**CHART, "Chart.yaml": CHART["Chart.yaml"].replace("web", "sub")})
    write(repository / "library", **{**CHART, "Chart.yaml": CHART["Chart.yaml"] + "type: library\n"})
    result = sekisho("check", "--standard", "baseline", ".")
    assert "2 checked: 0 pass, 2 denied" in result.stdout
    assert "web/charts/sub/templates/pod.yaml:9:3: denied" in result.stdout


def test_the_renderer_leaves_nothing_behind(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    write(repository, **KUSTOMIZE)
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    assert sekisho("check", "--standard", "baseline", ".").exit_code == 1
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before
    assert not any((tmp_path / "t").iterdir())
