"""The formats of `sekisho check`: what each says, and that nothing in a manifest can break it."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import jsonschema
import pytest

from sekisho.cli.reports import FORMATS
from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, MANIFESTS, policy_file, sekisho

HOSTILE = (
    'apiVersion: v1\nkind: Pod\nmetadata: {name: "a\\e[2J%,:\\n::error::<&>\\x9b"}\n'
    'spec:\n  hostPID: true\n  containers: [{name: "c\\e]8", securityContext: {privileged: true}}]\n'
)


def report(output: str, *args: str | Path, text: str | None = None, code: int = 1) -> str:
    result = sekisho("check", "-o", output, *args, text=text)
    assert result.exit_code == code
    return result.stdout


def baseline(output: str, text: str, code: int = 1) -> str:
    return report(output, "--standard", "baseline", "-", text=text, code=code)


@pytest.mark.parametrize("output", FORMATS)
def test_no_format_lets_control_characters_through(output: str) -> None:
    text = baseline(output, HOSTILE)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "hostNamespaces" in text


@pytest.mark.parametrize("output", FORMATS)
def test_a_name_with_invalid_text_breaks_no_format(output: str, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.yaml"
    Path(os.fsdecode(path)).write_text(BAD_POD)
    command = [sys.executable, "-m", "sekisho", "check", "-o", output, "--standard", "baseline", os.fsdecode(path)]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, b"Traceback" in done.stderr) == (1, False)


def test_text_has_a_paragraph_for_each_object_and_a_summary() -> None:
    assert baseline("text", BAD_POD + "---\n" + GOOD_POD) == (
        "<stdin>:1:1: Pod default/bad\n"
        "  <stdin>:4:8: denied: the pod for host namespaces: spec.hostPID is true (allowed: unset or false)\n"
        '    Fix: remove it or set it to false. [hostNamespaces, policy "baseline"]\n'
        "2 checked: 1 pass, 1 denied\n"
    )


# JSON.


def test_json_has_every_object_and_every_finding() -> None:
    report = json.loads(baseline("json", BAD_POD + "---\n" + GOOD_POD + "---\nkind: x\n", code=2))
    bad, good = report["results"]
    assert (good["verdict"], good["findings"]) == ("passed", [])
    assert {key: bad[key] for key in ("file", "line", "column", "kind", "namespace", "name", "verdict")} == {
        "file": "<stdin>",
        "line": 1,
        "column": 1,
        "kind": "Pod",
        "namespace": "default",
        "name": "bad",
        "verdict": "denied",
    }
    assert bad["findings"] == [
        {
            "control": "hostNamespaces",
            "enforcement": "Deny",
            "policies": ["baseline"],
            "field": "spec.hostPID",
            "line": 4,
            "column": 8,
            "subject": "the pod",
            "container": None,
            "value": "true",
            "origin": None,
            "allowed": "unset or false",
            "fix": "remove it or set it to false",
            "messages": [],
        }
    ]
    assert [problem["where"] for problem in report["problems"]] == ["<stdin>:11:1"]
    counts = {"checked": 2, "passed": 1, "denied": 1, "policies": 0, "passedOver": 0, "unreadable": 1}
    assert report["summary"] == counts | {"ignored": 0, "known": 0}


def test_machine_formats_write_the_summary_to_stderr() -> None:
    for output in ("json", "sarif", "junit"):
        result = sekisho("check", "-o", output, "--standard", "baseline", "-", text=BAD_POD)
        assert result.stderr == "1 checked: 0 pass, 1 denied\n"


# SARIF.


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


TEXT = {"type": "string", "minLength": 1}
MESSAGE = closed({"text": TEXT}, "text")
LEVEL = {"enum": ["none", "note", "warning", "error"]}
ONE_OR_MORE = {"type": "integer", "minimum": 1}
LOCATION = closed(
    {
        "physicalLocation": closed(
            {
                "artifactLocation": closed(
                    {"uri": {"type": "string", "pattern": r"^[^\s<>:]+$|^file:///[^\s<>]+$"}}, "uri"
                ),
                "region": closed({"startLine": ONE_OR_MORE, "startColumn": ONE_OR_MORE}, "startLine"),
            },
            "artifactLocation",
            "region",
        ),
        "logicalLocations": {"items": closed({"fullyQualifiedName": TEXT, "kind": {"const": "resource"}})},
    },
    "physicalLocation",
)
RULE = closed(
    {
        "id": TEXT,
        "shortDescription": MESSAGE,
        "fullDescription": MESSAGE,
        "help": MESSAGE,
        "defaultConfiguration": closed({"level": LEVEL}),
    },
    "id",
)
RESULT = closed(
    {
        "ruleId": TEXT,
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": LEVEL,
        "message": MESSAGE,
        "locations": {"type": "array", "items": LOCATION, "minItems": 1},
        "properties": {"type": "object"},
    },
    *("ruleId", "ruleIndex", "level", "message", "locations"),
)
NOTIFICATION = closed({"level": LEVEL, "message": MESSAGE, "locations": {"items": LOCATION}}, "message")
INVOCATION = closed(
    {"executionSuccessful": {"type": "boolean"}, "toolExecutionNotifications": {"items": NOTIFICATION}},
    "executionSuccessful",
)
DRIVER = closed({"name": TEXT, "version": TEXT, "rules": {"items": RULE, "uniqueItems": True}}, "name")
RUN = closed(
    {
        "tool": closed({"driver": DRIVER}, "driver"),
        "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
        "invocations": {"items": INVOCATION},
        "results": {"type": "array", "items": RESULT},
    },
    *("tool", "results"),
)
SARIF = closed(
    {"$schema": TEXT, "version": {"const": "2.1.0"}, "runs": {"type": "array", "items": RUN, "minItems": 1}},
    *("version", "runs"),
)
"""What SARIF 2.1.0 says of the properties that are used here, and that no other is used."""


def sarif(text: str) -> Any:
    log = json.loads(text)
    jsonschema.Draft202012Validator(SARIF).validate(log)
    return log["runs"][0]


def test_sarif_has_a_rule_for_each_control_and_a_result_for_each_finding(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, enforcement="Warn", controls={"hostPorts": {}})
    path = tmp_path / "a b%.yaml"
    path.write_text((MANIFESTS / "node-metrics.yaml").read_text())
    run = sarif(report("sarif", "--standard", "baseline", "-p", policy, path))
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["hostNamespaces", "hostPathVolumes", "hostPorts"]
    assert [rules[result["ruleIndex"]] for result in run["results"]] == [r["ruleId"] for r in run["results"]]
    assert [r["level"] for r in run["results"] if r["ruleId"] == "hostPorts"] == ["error", "warning"]
    location = run["results"][0]["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == path.as_uri()
    assert location["region"] == {"startLine": 13, "startColumn": 7}
    assert "hostNamespaces: pods may not share" in run["tool"]["driver"]["rules"][0]["help"]["text"]
    assert run["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]


def test_sarif_of_unreadable_input_and_of_nothing() -> None:
    run = sarif(baseline("sarif", "kind: x\n", code=2))
    assert run["invocations"][0]["executionSuccessful"] is False
    location = run["invocations"][0]["toolExecutionNotifications"][0]["locations"][0]["physicalLocation"]
    assert location == {"artifactLocation": {"uri": "%3Cstdin%3E"}, "region": {"startLine": 1, "startColumn": 1}}
    assert sarif(baseline("sarif", GOOD_POD, code=0))["results"] == []
    assert len(sarif(baseline("sarif", HOSTILE))["results"]) == 2


# JUnit.


def test_junit_has_a_case_for_each_object(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, enforcement="Warn", controls={"hostNamespaces": {}})
    root = Xml.fromstring(report("junit", "-p", policy, "-", text=BAD_POD, code=0))  # noqa: S314
    (case,) = root.iter("testcase")
    assert (case.get("classname"), case.get("name")) == ("<stdin>", "Pod default/bad")
    assert (case.findtext("system-out") or "").startswith("<stdin>:4:8: warning: the pod for host namespaces")
    root = Xml.fromstring(baseline("junit", f"{BAD_POD}---\n{GOOD_POD}---\nkind: x\n", code=2))  # noqa: S314
    assert dict(root.attrib) == {"name": "sekisho check", "tests": "3", "failures": "1", "errors": "1"}
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("message") == "denied: 1 finding"
    error = root.find("testsuite[@name='input']/testcase/error")
    assert error is not None
    assert error.get("message") == "is not a Kubernetes object: it needs apiVersion and kind"


def test_junit_with_hostile_names_is_valid_xml() -> None:
    root = Xml.fromstring(baseline("junit", HOSTILE))  # noqa: S314
    (case,) = root.iter("testcase")
    assert case.get("name") == r"Pod default/a\x1b[2J%,:\n::error::<&>\x9b"


# GitHub.


def test_github_has_an_annotation_for_each_finding(tmp_path: Path) -> None:
    path = tmp_path / "100%, sure.yaml"
    path.write_text(BAD_POD)
    folder = tmp_path.as_posix()
    annotation, summary = report("github", "--standard", "baseline", path).splitlines()
    assert annotation == (
        f"::error file={folder}/100%25%2C sure.yaml,line=4,col=8,title=sekisho hostNamespaces::"
        "Pod default/bad: denied: the pod for host namespaces: spec.hostPID is true (allowed: unset or false). "
        'Fix: remove it or set it to false. [hostNamespaces, policy "baseline"]'
    )
    assert summary == "1 checked: 0 pass, 1 denied"


def test_github_distinguishes_warnings_notes_and_unreadable_files(tmp_path: Path) -> None:
    for enforcement, command in (("Warn", "::warning "), ("Audit", "::notice ")):
        policy = policy_file(tmp_path, enforcement=enforcement, controls={"hostNamespaces": {}})
        assert report("github", "-p", policy, "-", text=BAD_POD, code=0).startswith(command)
    unreadable = "::error file=<stdin>,line=1,col=4,title=sekisho cannot read this::has the tag !x"
    assert baseline("github", "a: !x 1\n", code=2).startswith(unreadable)


def test_a_manifest_cannot_inject_github_commands() -> None:
    lines = baseline("github", HOSTILE).splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["::error", "::error", "1"]
    assert all(r"a\x1b[2J%25,:\n::error::<&>\x9b" in line for line in lines[:2])


# Terminals.


def on_a_terminal(code: str, *args: str | Path, **environment: str) -> tuple[str, str]:
    """What a run writes to standard output and to a terminal that both streams are, or `2>` only."""
    ours, theirs = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
    command = [sys.executable, "-c", code, *map(str, args)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env={**env, "TERM": "xterm", **environment}
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    return str(process.wait()), shown.decode()


RUN_MAIN = "from sekisho.cli import main; main()"


def test_colours_are_for_terminals_that_want_them(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD_POD)
    args = ("check", "--standard", "baseline", path)
    code, shown = on_a_terminal(RUN_MAIN, *args)
    assert (code, "\x1b[31mdenied\x1b[0m" in shown) == ("1", True)
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, shown = on_a_terminal(RUN_MAIN, *args, **environment)
        assert (code, "\x1b" in shown, "denied" in shown) == ("1", False, True)
    assert "\x1b" not in sekisho(*args).output


def test_a_long_run_shows_its_progress_on_a_terminal_only(tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_text("---\n".join([GOOD_POD] * 1000))
    code = (
        "import sys; sys.argv[0] = 'sekisho'\n"
        "from sekisho.cli import terminal; terminal.PROGRESS_AFTER = 0\n"
        "from sekisho.cli import main; main()"
    )
    args = ("check", "--jobs", "1", "--standard", "baseline", tmp_path)
    status, shown = on_a_terminal(code, *args)
    assert (status, "Checking" in shown, "1000 checked: 1000 pass" in shown) == ("0", True, True)
    status, shown = on_a_terminal(RUN_MAIN, *args[:-1], str(MANIFESTS / "web.yaml"))
    assert "Checking" not in shown
    piped = subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True)
    assert (piped.returncode, piped.stderr) == (0, "")
