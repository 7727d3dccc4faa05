"""Output of `sekisho check` for people: lines of the terminal's width, the line of a finding, and more formats."""

import json
import re
from pathlib import Path

import pytest
from click import unstyle

from sekisho.cli.reports import markdown
from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, MANIFESTS, ROOT, policy_file, sekisho
from tests.unit.cli.test_check_reports import HOSTILE, RUN_MAIN, on_a_terminal

SECRET = (
    "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  hostPID: true\n"
    "  containers: [{name: a, env: [{name: T, value: 'hunter2, {x}'}], securityContext: {privileged: true}}]\n"
)


# Terminals.


@pytest.mark.parametrize("width", [80, 120])
def test_lines_fit_the_terminal_where_words_allow_it(width: int) -> None:
    arguments = ("check", "-p", ROOT / "policies/restricted", MANIFESTS)
    code, shown = on_a_terminal(RUN_MAIN, *arguments, COLUMNS=str(width))
    lines = unstyle(shown).splitlines()
    assert code == "1"
    assert [line for line in lines if len(line) > width and " " in line.strip()] == []
    whole = sekisho(*arguments).stdout
    assert re.sub(r"\s+", " ", unstyle(shown)).strip().startswith(re.sub(r"\s+", " ", whole).strip())


def test_each_file_has_a_heading_if_several_have_findings(tmp_path: Path) -> None:
    for name, text in {"a.yaml": BAD_POD, "b.yaml": BAD_POD, "good.yaml": GOOD_POD}.items():
        (tmp_path / name).write_text(text)
    shown = sekisho("check", "--standard", "baseline", tmp_path).stdout.splitlines()
    headings = [line for line in shown if line.endswith("(1 finding)")]
    assert headings == [f"{tmp_path}/a.yaml (1 finding)", f"{tmp_path}/b.yaml (1 finding)"]
    assert shown[1].startswith(f"{tmp_path}/a.yaml:1:1: Pod default/bad")
    (tmp_path / "b.yaml").unlink()
    assert "finding)" not in sekisho("check", "--standard", "baseline", tmp_path).stdout


def test_lines_are_whole_in_a_pipe() -> None:
    assert max(map(len, sekisho("check", "-p", ROOT / "policies/restricted", MANIFESTS).stdout.splitlines())) > 120


def test_colours_can_be_forced_and_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("check", "--standard", "baseline", "-")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[31mdenied\x1b[0m" in sekisho(*arguments, text=BAD_POD).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in sekisho(*arguments, text=BAD_POD).stdout


# The line of a finding.


def test_the_line_of_a_finding_is_shown_with_its_column() -> None:
    text = f"{GOOD_POD}---\n{BAD_POD}"
    shown = sekisho("check", "--show-source", "--standard", "baseline", "-", text=text).stdout
    assert "      9 | spec: {hostPID: true}\n        |        ^\n    Fix: remove" in shown
    assert "^" not in sekisho("check", "--standard", "baseline", "-", text=text).stdout


def test_the_line_shows_no_value_of_an_environment_variable() -> None:
    shown = sekisho("check", "--show-source", "--standard", "baseline", "-", text=SECRET).stdout
    assert "{name: T, value: …}], securityContext: {privileged: true}}]" in shown
    assert "hunter2" not in shown


def test_the_line_has_no_control_characters() -> None:
    shown = sekisho(
        "check", "--show-source", "--standard", "baseline", "-", text=HOSTILE.replace("true}", "true}\t# \x85x")
    ).stdout
    assert all(character.isprintable() or character == "\n" for character in shown)


# GitLab.


def test_gitlab_has_an_issue_for_each_finding(tmp_path: Path) -> None:
    text = f"{BAD_POD}---\na: b: c\n"
    issues = json.loads(sekisho("check", "-o", "gitlab", "--standard", "baseline", "-", text=text).stdout)
    first, unreadable = issues
    assert (first["check_name"], first["severity"]) == ("hostNamespaces", "major")
    assert first["location"] == {"path": "<stdin>", "lines": {"begin": 4}}
    assert first["description"].startswith("Pod default/bad: denied: the pod for host namespaces")
    assert (unreadable["severity"], unreadable["location"]["lines"]) == ("blocker", {"begin": 6})
    policy = policy_file(tmp_path, enforcement="Warn", controls={"hostNamespaces": {}})
    [warning] = json.loads(sekisho("check", "-o", "gitlab", "-p", policy, "-", text=BAD_POD).stdout)
    assert warning["severity"] == "minor"


def test_fingerprints_stay_when_lines_move_and_differ_otherwise() -> None:
    def fingerprints(text: str) -> list[str]:
        report = sekisho("check", "-o", "gitlab", "--standard", "baseline", "-", text=text).stdout
        return [issue["fingerprint"] for issue in json.loads(report)]

    assert fingerprints(f"# moved\n{BAD_POD}") == fingerprints(BAD_POD)
    assert len(set(fingerprints(f"{BAD_POD}---\n{BAD_POD}---\n{BAD_POD.replace('PID', 'IPC')}"))) == 3


# Markdown.


def test_markdown_has_the_counts_and_a_row_for_each_finding() -> None:
    shown = sekisho("check", "-o", "markdown", "--standard", "baseline", "-", text=f"{BAD_POD}---\nkind: x\n").stdout
    assert shown.splitlines() == [
        "### Sekisho: some pods would be denied",
        "",
        "1 checked: 0 pass, 1 denied; 1 unreadable.",
        "",
        "| where | object | finding | fix |",
        "|---|---|---|---|",
        "| `<stdin>:4` | Pod default/bad | denied: the pod for host namespaces: `spec.hostPID` is `true` "
        '| remove it or set it to false (hostNamespaces, policy "baseline") |',
        "| `<stdin>:6` | | cannot be read: is not a Kubernetes object: it needs apiVersion and kind | |",
    ]
    good = sekisho("check", "-o", "markdown", "--standard", "baseline", "-", text=GOOD_POD).stdout
    assert good == "### Sekisho: all pods would be admitted\n\n1 checked: 1 pass, 0 denied.\n"


def test_a_name_cannot_inject_markdown() -> None:
    text = BAD_POD.replace("{name: bad}", '{name: "[x](y)|<b>`c`@all"}')
    row = sekisho("check", "-o", "markdown", "--standard", "baseline", "-", text=text).stdout.splitlines()[6]
    assert r"Pod default/\[x\](y)\|\<b\>\`c\`\@all |" in row


def test_a_long_table_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "MAX_ROWS", 1)
    shown = sekisho("check", "-o", "markdown", "--standard", "baseline", "-", text=f"{BAD_POD}---\n{BAD_POD}").stdout
    assert (shown.count("| `<stdin>"), "1 more findings are not shown." in shown) == (1, True)
