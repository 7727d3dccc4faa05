"""`sekisho test`: what it compares, what it says where a policy does something else, and that policies/ passes it."""

from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, ROOT, policy_file, sekisho

HEAD = "apiVersion: cli.sekisho.dev/v1alpha1\nkind: PolicyTest\n"
PORTS = "apiVersion: v1\nkind: Pod\nmetadata: {name: ports}\nspec:\n  containers: [{name: a, ports: [{hostPort: 1}]}]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A policy that denies host namespaces and warns about host ports, with a good and a bad pod."""
    policy_file(tmp_path, controls={"hostNamespaces": {}, "hostPorts": {"enforcement": "Warn"}})
    for kind, text in (("good", GOOD_POD), ("bad", BAD_POD)):
        (tmp_path / "pods" / kind).mkdir(parents=True)
        (tmp_path / "pods" / kind / "pod.yaml").write_text(text)
    return tmp_path


def pods(folder: Path, text: str) -> None:
    (folder / "tests.yaml").write_text(f"{HEAD}pods:\n{text}")


def test_good_pods_must_be_admitted_and_bad_ones_denied(folder: Path) -> None:
    result = sekisho("test", folder)
    assert (result.exit_code, result.output) == (0, "2 pods of 1 folder: 2 as expected, 0 not\n")
    (folder / "pods/good/pod.yaml").write_text(BAD_POD)
    (folder / "pods/bad/pod.yaml").write_text(GOOD_POD)
    result = sekisho("test", folder.parent)
    assert (result.exit_code, result.stdout) == (
        1,
        f"failed: {folder}: pods/good/pod.yaml\n"
        "  - admitted\n"
        "  + Pod default/bad: denied: hostNamespaces\n"
        f"failed: {folder}: pods/bad/pod.yaml\n"
        "  - denied\n"
        "  + admitted\n"
        "2 pods of 1 folder: 0 as expected, 2 not\n",
    )


def test_a_good_pod_may_cause_warnings(folder: Path) -> None:
    (folder / "pods/good/ports.yaml").write_text(PORTS)
    assert sekisho("test", folder).exit_code == 0


EXPECTED = {
    "- {file: pods/bad/pod.yaml, deny: [hostNamespaces]}\n": [],
    "- {file: pods/good/pod.yaml}\n": [],
    "- {file: ports.txt, warn: [hostPorts]}\n": [],
    "- {file: both.txt, name: bad, deny: [hostNamespaces]}\n- {file: both.txt, name: ports, warn: [hostPorts]}\n": [],
    "- {file: both.txt, deny: [hostNamespaces], warn: [hostPorts]}\n": [],
    "- {file: ports.txt, deny: [hostPorts]}\n": ["  - denied: hostPorts", "  + warning: hostPorts"],
    "- {file: ports.txt}\n": ["  + warning: hostPorts"],
    "- {file: pods/bad/pod.yaml, deny: [hostNamespaces, privileged]}\n": [
        "    denied: hostNamespaces",
        "  - denied: privileged",
    ],
}


@pytest.mark.parametrize(("text", "difference"), EXPECTED.items())
def test_a_file_says_exactly_which_controls_have_findings(text: str, difference: list[str], folder: Path) -> None:
    (folder / "ports.txt").write_text(PORTS)
    (folder / "both.txt").write_text(f"{BAD_POD}---\n{PORTS}")
    pods(folder, text)
    result = sekisho("test", folder)
    assert result.exit_code == (1 if difference else 0), result.output
    assert [line for line in result.stdout.splitlines() if line.startswith("  ")] == difference


def test_policies_and_the_time_can_be_named(folder: Path) -> None:
    waiver = (
        "apiVersion: sekisho.dev/v1alpha1\nkind: PolicyWaiver\nmetadata: {name: w}\nspec:\n  policies: [p]\n"
        "  controls: [hostNamespaces]\n  expires: '2027-01-01T00:00:00Z'\n  reason: r\n"
        "  match: {namespaces: [default]}\n"
    )
    (folder / "waivers").mkdir()
    (folder / "waivers/waiver.yaml").write_text(waiver)
    names = f"{HEAD}policies: [policy-p.yaml, waivers]\npods: [{{file: pods/bad/pod.yaml"
    (folder / "pods/bad/pod.yaml").rename(folder / "pods/good/waived.yaml")
    for now, code in (("2026-12-31T23:59:59Z", 0), ("2027-01-01T00:00:01Z", 1)):
        (folder / "tests.yaml").write_text(f"{names.partition('pods: ')[0]}now: {now}\n")
        assert sekisho("test", folder).exit_code == code


def test_comments_in_pods_do_not_count(folder: Path) -> None:
    (folder / "pods/bad/pod.yaml").write_text(f"# sekisho: ignore[hostNamespaces] x\n{BAD_POD}")
    assert sekisho("test", folder).exit_code == 0


UNUSABLE = {
    "- {file: x.yaml}\n": "x.yaml: cannot be read",
    "- {file: pods/bad/pod.yaml, name: other}\n": "pods/bad/pod.yaml: holds no pod or workload other",
    "- {file: policy-p.yaml}\n": "policy-p.yaml: holds no pod and no workload",
    "- {file: pods/bad/pod.yaml, deny: [hostPort]}\n": (
        "tests.yaml:4:35: there is no control hostPort; did you mean hostPorts?"
    ),
    "- {file: pods/bad/pod.yaml, denied: []}\n": "tests.yaml:4:3: pods[0]: Object contains unknown field 'denied'",
}


@pytest.mark.parametrize(("text", "problem"), UNUSABLE.items())
def test_a_file_that_cannot_be_used_is_an_error(text: str, problem: str, folder: Path) -> None:
    pods(folder, text)
    result = sekisho("test", folder)
    assert (result.exit_code, problem in result.stderr) == (2, True), result.stderr


def test_a_folder_without_tests_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        result = sekisho("test", path)
        assert result.exit_code == 2
        assert result.stderr == f"Error: {path}: has no folder with tests: pods/good, pods/bad or tests.yaml\n"
    (tmp_path / "pods/good").mkdir(parents=True)
    assert "has no policy" in sekisho("test", tmp_path).stderr


def test_rules_that_need_a_registry_are_skipped_and_named() -> None:
    result = sekisho("test", ROOT / "policies/signed-images")
    assert (result.exit_code, "skipped: " in result.stdout, " 0 not, " in result.stdout) == (0, True, True)


def test_certified_images_need_no_registry() -> None:
    result = sekisho("test", ROOT / "policies/certified-images")
    assert (result.exit_code, result.stdout) == (0, "4 pods of 1 folder: 4 as expected, 0 not\n")


def test_junit_has_a_case_for_each_pod(folder: Path) -> None:
    (folder / "pods/bad/pod.yaml").write_text(GOOD_POD)
    pods(folder, "- {file: x.yaml}\n")
    result = sekisho("test", "-o", "junit", folder, ROOT / "policies/baseline")
    root = Xml.fromstring(result.stdout)  # noqa: S314
    assert (result.exit_code, root.attrib["failures"], root.attrib["errors"]) == (2, "0", "1")
    (folder / "tests.yaml").unlink()
    result = sekisho("test", "-o", "junit", folder)
    root = Xml.fromstring(result.stdout)  # noqa: S314
    assert (result.exit_code, root.attrib["tests"], root.attrib["failures"]) == (1, "2", "1")
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.text is not None
    assert failure.text.endswith("  - denied\n  + admitted")


def test_the_library_does_what_its_pods_say() -> None:
    result = sekisho("test", ROOT / "policies")
    assert result.exit_code == 0, result.output
    assert " 0 not, " in result.stdout
