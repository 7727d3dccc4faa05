"""Comments that ignore findings: where they are read, what they need, and that they can be forbidden."""

import json
from pathlib import Path

import pytest

from sekisho.documents import origin
from sekisho.manifests import Checker, Namespaces, Source
from sekisho.manifests.policy_loading import policy_of_standard
from sekisho.policies import PolicySet
from tests.unit.cli.sekisho_command import policy_file, sekisho

POD = (
    "apiVersion: v1\nkind: Pod\nmetadata: {{name: exporter}}\nspec:\n"
    "  hostNetwork: true{network}\n  hostPID: true{pid}\n"
    "  containers:\n  - name: app\n    image: x\n"
)
REASON = "# sekisho: ignore[hostNamespaces] it reads the node's metrics"
BASELINE = ("--standard", "baseline")


def pod(network: str = "", pid: str = "") -> str:
    return POD.format(network=network, pid=pid)


IGNORED = {
    "on the line of each finding": pod(f"  {REASON}", f"  {REASON}"),
    "above the line of each finding": pod()
    .replace("  hostN", f"  {REASON}\n  hostN")
    .replace("  hostP", f"  {REASON}\n  # more\n\n  hostP"),
    "above the object": f"{REASON}\n\n{pod()}",
    "on the first line of the object": pod().replace("v1\n", f"v1  {REASON}\n"),
    "above the item of a list": "apiVersion: v1\nkind: List\nitems:\n" + f"{REASON}\n- " + pod().replace("\n", "\n  "),
    "after the separator": f"kind: ConfigMap\napiVersion: v1\n--- {REASON}\n{pod()}",
    "beside other controls": f"{REASON.replace('[', '[privileged, ')}\n{pod()}",
}


@pytest.mark.parametrize("text", IGNORED.values(), ids=IGNORED.keys())
def test_a_comment_ignores_the_findings_on_its_line_or_object(text: str) -> None:
    result = sekisho("check", *BASELINE, "-", text=text)
    assert (result.exit_code, "denied: the pod" in result.stdout) == (0, False), result.output
    assert "; 2 findings ignored by comments" in result.stdout
    notes = result.stderr.splitlines()
    assert len(notes) == 2
    assert notes[1].endswith("hostNamespaces of spec.hostPID is ignored: it reads the node's metrics")
    without = text.replace("sekisho:", "other:")
    assert sekisho("check", *BASELINE, "-", text=without).exit_code == 1


NOT_IGNORED = {
    "another line": pod(f"  {REASON}"),
    "another control": f"{REASON.replace('hostNamespaces', 'hostPorts')}\n{pod()}",
    "another object": f"{REASON}\napiVersion: v1\nkind: ConfigMap\n---\n{pod()}",
    "a quoted text": pod() + f"    command: ['\n      {REASON}']\n",
    "a block text": pod() + f"    command:\n    - |\n      {REASON}\n",
    "the middle of a word": pod(f"#{REASON}"),
}


@pytest.mark.parametrize("text", NOT_IGNORED.values(), ids=NOT_IGNORED.keys())
def test_a_comment_elsewhere_ignores_nothing_there(text: str) -> None:
    assert sekisho("check", *BASELINE, "-", text=text).exit_code in (1, 2)


def test_a_comment_in_a_text_is_not_a_comment() -> None:
    text = pod() + f"    command:\n    - |\n      {REASON}\n"
    result = sekisho("check", *BASELINE, "-", text=text)
    assert (result.exit_code, result.stderr) == (1, "")


def test_a_comment_after_a_block_text_counts() -> None:
    head = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    a: |\n      b\n\n"
    text = f"{head}spec:\n  {REASON}\n  hostPID: true\n"
    assert sekisho("check", *BASELINE, "-", text=text).exit_code == 0


UNUSABLE = {
    "# sekisho: ignore[hostNamespaces]": "the comment gives no reason; write # sekisho: ignore[CONTROL] REASON",
    "# sekisho: ignore because": "the comment names no control; write # sekisho: ignore[CONTROL] REASON",
    "# sekisho: ignore[] because": "the comment names no control; write # sekisho: ignore[CONTROL] REASON",
    "# sekisho: ignore[hostNamespace] because": "there is no control hostNamespace; did you mean hostNamespaces?",
}


@pytest.mark.parametrize(("comment", "problem"), UNUSABLE.items())
def test_a_comment_that_cannot_be_used_is_an_error_at_its_place(comment: str, problem: str) -> None:
    result = sekisho("check", *BASELINE, "-", text=pod(f"  {comment}"))
    assert (result.exit_code, result.stderr) == (2, f"Error: <stdin>:5:22: {problem}\n")
    assert "spec.hostNetwork is true" in result.stdout
    assert sekisho("fix", *BASELINE, "-", text=pod(f"  {comment}")).exit_code == 2


def test_a_comment_that_ignores_nothing_is_named() -> None:
    result = sekisho("check", *BASELINE, "-", text=f"{REASON}\napiVersion: v1\nkind: ConfigMap\n")
    location = "<stdin>:1:1"
    unused = "the comment ignores nothing: write it on a finding's line, or above an object"
    assert (result.exit_code, result.stderr) == (0, f"note: {location}: {unused}\n")


def test_comments_can_be_forbidden() -> None:
    text = f"{REASON}\n{pod()}"
    result = sekisho("check", "--no-ignore-comments", *BASELINE, "-", text=text)
    assert (result.exit_code, "ignored by" in result.stdout) == (1, False)
    assert result.stderr == "note: <stdin>:1:1: the comment has no effect: --no-ignore-comments is set\n"


def test_fix_leaves_what_a_comment_ignores() -> None:
    text = pod(f"  {REASON}")
    result = sekisho("fix", "--all", *BASELINE, "-", text=text)
    assert (result.exit_code, "hostNetwork: true" in result.stdout, "hostPID: true" in result.stdout) == (
        0,
        True,
        False,
    )
    result = sekisho("fix", "--all", "--no-ignore-comments", *BASELINE, "-", text=text)
    assert (result.exit_code, "hostNetwork: true" in result.stdout) == (0, False)


def test_a_warning_is_ignored_too(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, enforcement="Warn", controls={"hostNamespaces": {}})
    result = sekisho("check", "--fail-on", "warn", "-p", policy, "-", text=f"{REASON}\n{pod()}")
    assert result.exit_code == 0
    assert sekisho("check", "--fail-on", "warn", "-p", policy, "-", text=pod()).exit_code == 1


def test_json_and_sarif_have_the_ignored_findings_with_their_reasons() -> None:
    arguments = (*BASELINE, "-")
    report = json.loads(sekisho("check", "-o", "json", *arguments, text=pod(f"  {REASON}")).stdout)
    [ignored] = report["results"][0]["ignored"]
    assert (ignored["field"], ignored["reason"]) == ("spec.hostNetwork", "it reads the node's metrics")
    assert report["summary"]["ignored"] == 1
    log = json.loads(sekisho("check", "-o", "sarif", *arguments, text=pod(f"  {REASON}")).stdout)
    suppressions = [result.get("suppressions") for result in log["runs"][0]["results"]]
    assert suppressions == [None, [{"kind": "inSource", "justification": "it reads the node's metrics"}]]


def test_a_comment_in_a_rendered_document_counts_only_where_its_line_is_clear() -> None:
    text = pod("", f"  {REASON}")
    for written, ignored in ((text, 1), (f"{text}{text}", 0)):
        source = Source("template.yaml", 0, text, origin=origin(text, written.split("\n")))
        [checked] = Checker(PolicySet.of([policy_of_standard("baseline")]), Namespaces()).check(source).checked
        assert (len(checked.ignored), len(checked.violations)) == (ignored, 2 - ignored)
