"""`sekisho migrate kyverno`: what it writes where, and its exit codes."""

from pathlib import Path

import yaml

from tests.unit.cli.sekisho_command import MANIFESTS, ROOT, sekisho

KYVERNO = ROOT / "tests/engines/kyverno.yaml"
EXEMPT = """\
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: p}
spec:
  rules:
  - name: r
    match: {any: [{resources: {kinds: [Pod]}}]}
    exclude: {any: [{resources: {namespaces: [tools], names: [agent]}}]}
    validate: {pattern: {spec: {=(hostPID): "false"}}}
"""


def test_policies_go_to_standard_output_and_what_differs_to_standard_error() -> None:
    done = sekisho("migrate", "kyverno", KYVERNO)
    assert done.exit_code == 1
    assert [one["metadata"]["name"] for one in yaml.safe_load_all(done.stdout)] == [
        "no-privileged",
        "pods-and-services",
    ]
    assert f"{KYVERNO}:49:5: not translated: ClusterPolicy pods-and-services, rule no-node-ports" in done.stderr
    assert done.stderr.endswith("2 read, 2 written; 1 not translated, 1 stricter\n")


def test_the_exit_code_is_0_if_everything_is_translated() -> None:
    text = KYVERNO.read_text().split("---")[0]
    done = sekisho("migrate", "kyverno", "-", text=text)
    assert (done.exit_code, done.stderr) == (0, "1 read, 1 written; nothing differs\n")


def test_lines_on_standard_error_fit_into_80_columns_but_for_places() -> None:
    done = sekisho("migrate", "kyverno", KYVERNO)
    assert all(len(line) <= 80 for line in done.stderr.splitlines() if not line.startswith(str(KYVERNO)))


def test_an_end_makes_waivers_of_exemptions(tmp_path: Path) -> None:
    done = sekisho("migrate", "kyverno", "--waivers-until", "2030-01-31", "-", text=EXEMPT)
    _, waiver = yaml.safe_load_all(done.stdout)
    assert waiver["spec"]["expires"] == "2030-01-31T00:00:00Z"
    assert sekisho("migrate", "kyverno", "-", text=EXEMPT).stdout.count("kind: PolicyWaiver") == 0


def test_one_file_an_object_is_written_and_none_is_replaced(tmp_path: Path) -> None:
    arguments = ("migrate", "kyverno", KYVERNO, "--write", tmp_path / "new")
    done = sekisho(*arguments)
    assert done.stdout == ""
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == [
        "no-privileged.yaml",
        "pods-and-services.yaml",
    ]
    assert sekisho("check", "-p", tmp_path / "new", MANIFESTS / "web.yaml").exit_code in (0, 1)
    again = sekisho(*arguments)
    assert again.exit_code == 2
    assert "exists already" in again.stderr


def test_constraints_are_translated_too() -> None:
    done = sekisho("migrate", "gatekeeper", ROOT / "tests/engines/gatekeeper.yaml")
    assert done.exit_code == 1
    assert [one["metadata"]["name"] for one in yaml.safe_load_all(done.stdout)] == ["own-registries", "selinux"]
    assert done.stderr.endswith("2 read, 2 written; 1 looser\n")


def test_files_without_policies_and_files_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    for text in ("kind: Pod\napiVersion: v1\nmetadata: {name: p}\n", "a: [\n"):
        done = sekisho("migrate", "kyverno", "-", text=text)
        assert (done.exit_code, done.stdout) == (2, "")
