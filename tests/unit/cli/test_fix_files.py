"""`sekisho fix` in place, as a diff and as kustomize patches: what is kept, and that all of them change the same."""

import subprocess
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml

from sekisho.manifests.kustomize import operations
from tests.controlplane.build import control_plane_binaries
from tests.controlplane.progress import Progress
from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, sekisho

BEFORE = """\
# The shop.
---
apiVersion: apps/v1   # the group
kind: Deployment
metadata: {name: "web", namespace: shop}
spec:
  template:
    spec:
      # Nobody knows why.
      hostPID: true  # since 2019
      containers:
        - name: app   # the app
          image: 'trusted.io/x'
          ports:
            - containerPort: 8080   # http
              hostPort: 8080

            # metrics
            - {containerPort: 9090, hostPort: 9090}
        # the last one
---
# A pod.
apiVersion: v1
kind: Pod
metadata: {name: job}
spec:
  containers: [{name: "a", image: y}]
# end
"""
AFTER = """\
# The shop.
---
apiVersion: apps/v1   # the group
kind: Deployment
metadata: {name: "web", namespace: shop}
spec:
  template:
    spec:
      # Nobody knows why.
      hostPID: false  # since 2019
      containers:
        - name: app   # the app
          image: 'trusted.io/x'
          ports:
            - containerPort: 8080   # http

            # metrics
            - {containerPort: 9090}
          securityContext:
            allowPrivilegeEscalation: false
            capabilities:
              drop:
                - ALL
        # the last one
      securityContext:
        runAsNonRoot: true
        seccompProfile:
          type: RuntimeDefault
---
# A pod.
apiVersion: v1
kind: Pod
metadata: {name: job}
spec:
  containers: [{name: "a", image: y, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]
  securityContext:
    runAsNonRoot: true
    seccompProfile:
      type: RuntimeDefault
# end
"""
RESTRICTED = ("--all", "--standard", "restricted")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "deploy.yaml").write_text(BEFORE)
    (tmp_path / "good.yaml").write_text(GOOD_POD.replace("spec", "# kept\nspec"))
    return tmp_path / "deploy.yaml"


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "byte order mark"])
def test_files_are_changed_in_place_and_a_second_run_changes_nothing(file: Path, line_break: str, mark: bytes) -> None:
    file.write_bytes(mark + BEFORE.replace("\n", line_break).encode())
    file.chmod(0o640)
    result = sekisho("fix", *RESTRICTED, "--write", file)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "1 of 1 file changed\n")
    after = file.read_bytes()
    assert after.removeprefix(mark).decode() == AFTER.replace("\n", line_break)
    assert (after.startswith(mark), file.stat().st_mode & 0o777) == (True, 0o640)
    again = sekisho("fix", *RESTRICTED, "--write", file)
    assert (again.stderr, file.read_bytes()) == ("0 of 1 file changed\n", after)


def test_standard_output_has_the_same() -> None:
    assert sekisho("fix", *RESTRICTED, "-", text=BEFORE).stdout == AFTER


def test_only_files_with_changes_are_written(file: Path) -> None:
    good = file.parent / "good.yaml"
    before = good.stat().st_mtime_ns
    result = sekisho("fix", "--all", "--standard", "baseline", "--write", file.parent, file)
    assert (result.exit_code, result.stderr) == (0, "1 of 2 files changed\n")
    assert good.stat().st_mtime_ns == before


@pytest.mark.parametrize("end", ["\n", ""], ids=["", "without a line break at the end"])
def test_a_diff_can_be_applied(file: Path, end: str) -> None:
    file.write_text(BEFORE.removesuffix("\n") + end)
    result = sekisho("fix", *RESTRICTED, "--diff", file)
    assert (result.exit_code, result.stderr) == (0, "1 of 1 file would change\n")
    assert file.read_text() == BEFORE.removesuffix("\n") + end
    subprocess.run(
        ["git", "apply", "--unsafe-paths", "-p1", "--directory=/"], cwd="/", input=result.stdout, text=True, check=True
    )
    assert file.read_text() == AFTER.removesuffix("\n") + end


def test_a_diff_of_standard_input_names_it() -> None:
    result = sekisho("fix", *RESTRICTED, "--diff", "-", text=BEFORE)
    assert result.stdout.startswith("--- a/<stdin>\n+++ b/<stdin>\n@@ ")
    assert "-      hostPID: true  # since 2019\n+      hostPID: false  # since 2019\n" in result.stdout


def test_findings_that_remain_are_reported_in_place_too(file: Path) -> None:
    result = sekisho("fix", "--standard", "baseline", "--write", file)
    assert (result.exit_code, file.read_text()) == (1, BEFORE)
    assert "spec.template.spec.hostPID is true" in result.stderr


def test_a_document_that_cannot_be_changed_in_place_is_named(file: Path) -> None:
    file.write_text("x: &host true\n" + BAD_POD.replace("hostPID: true", "hostPID: *host"))
    result = sekisho("fix", *RESTRICTED, "--write", file)
    assert f"note: {file}:1:1: was written again as a whole, without its comments\n" in result.stderr
    assert yaml.safe_load(file.read_text())["spec"]["hostPID"] is False


def test_kustomize_patches_make_the_same_objects(file: Path) -> None:
    result = sekisho("fix", *RESTRICTED, "--as", "kustomize", file.parent)
    assert (result.exit_code, result.stderr) == (0, "")
    written = yaml.safe_load(result.stdout)
    assert written["kind"] == "Kustomization"
    [deployment, pod] = written["patches"]
    assert deployment["target"] == {
        "group": "apps",
        "version": "v1",
        "kind": "Deployment",
        "name": "web",
        "namespace": "shop",
    }
    assert pod["target"] == {"version": "v1", "kind": "Pod", "name": "job"}
    before, after = ([one for one in yaml.safe_load_all(text) if one] for text in (BEFORE, AFTER))
    patches = [yaml.safe_load(patch["patch"]) for patch in (deployment, pod)]
    assert list(map(jsonpatch.apply_patch, before, patches)) == after


@pytest.mark.timeout(1800)  # it may have to build kubectl
def test_kubectl_makes_the_same_objects_of_the_kustomization(file: Path) -> None:
    (file.parent / "fixed").mkdir()
    (file.parent / "fixed/kustomization.yaml").write_text(
        sekisho("fix", *RESTRICTED, "--as", "kustomize", file).stdout + f"resources: [{file.name}]\n"
    )
    file.rename(file.parent / "fixed" / file.name)
    kubectl = control_plane_binaries(Progress()).kubectl
    built = subprocess.run([kubectl, "kustomize", file.parent / "fixed"], check=True, capture_output=True, text=True)
    objects = sorted((one for one in yaml.safe_load_all(built.stdout)), key=lambda one: str(one["kind"]))
    assert objects == [one for one in yaml.safe_load_all(AFTER) if one]


@pytest.mark.parametrize("option", ["--write", "--diff"])
def test_a_file_that_a_link_names_too_is_changed_once(option: str, file: Path) -> None:
    (file.parent / "link.yaml").symlink_to(file)
    result = sekisho("fix", *RESTRICTED, option, file.parent)
    assert (result.exit_code, result.stderr.partition(" file")[0]) == (0, "1 of 2")
    assert (file.parent / "link.yaml").is_symlink()


@pytest.mark.parametrize("command", ["fix", "explain"])
def test_templates_that_are_passed_over_are_named(command: str, file: Path) -> None:
    (file.parent / "templates").mkdir()
    (file.parent / "Chart.yaml").write_text("name: web\n")
    (file.parent / "templates/pod.yaml").write_text(BAD_POD)
    result = sekisho(command, "--standard", "baseline", file.parent)
    assert "note: passed over 1 Helm template: " in result.stderr
    left_out = sekisho(command, "--standard", "baseline", "--exclude", "templates", file.parent)
    assert "note: passed over 1 file that --exclude names: " in left_out.stderr


def test_a_file_in_utf_16_is_an_error_and_stays_as_it_is(file: Path) -> None:
    content = BAD_POD.encode("utf-16")
    file.write_bytes(content)
    result = sekisho("fix", "--all", "--standard", "baseline", "--write", file)
    assert (result.exit_code, file.read_bytes()) == (2, content)
    assert result.stderr.endswith(
        f"Error: {file}: cannot be changed in place: it is not UTF-8, or has changed meanwhile\n"
    )
    assert "hostPID: false" in sekisho("fix", "--all", "--standard", "baseline", file).stdout


def test_an_object_without_a_name_has_no_patch() -> None:
    text = BAD_POD.replace("{name: bad}", "{generateName: bad-}")
    result = sekisho("fix", *RESTRICTED, "--as", "kustomize", "-", text=text)
    assert (result.exit_code, yaml.safe_load(result.stdout)["patches"]) == (2, [])
    assert result.stderr == "Error: <stdin>:1:1: Pod has no name, by which a patch selects it\n"


PATCHES: list[tuple[Any, Any]] = [
    ({"a": 1}, {"a": True}),
    ({"a": {"b/c~": 1, "d": 2}}, {"a": {"b/c~": 3}}),
    ({"a": [1, 2, 3, 4]}, {"a": [1, 4]}),
    ({"a": [{"name": "x", "b": 1}, {"name": "y", "b": 1}]}, {"a": [{"name": "y", "b": 2}]}),
    ({"a": [1]}, {"a": [1, 2, {"b": 3}]}),
    ({"a": None}, {"a": {"b": 1}}),
]


@pytest.mark.parametrize(("before", "after"), PATCHES, ids=str)
def test_operations_make_one_value_another(before: Any, after: Any) -> None:
    assert jsonpatch.apply_patch(before, operations(before, after)) == after
    assert operations(after, after) == []


@pytest.mark.parametrize("options", [("--write", "--diff"), ("--diff", "--as", "kustomize"), ("--write", "-")])
def test_ways_to_write_exclude_each_other(options: tuple[str, ...], file: Path) -> None:
    result = sekisho("fix", *RESTRICTED, *options, file)
    assert (result.exit_code, file.read_text()) == (2, BEFORE)
