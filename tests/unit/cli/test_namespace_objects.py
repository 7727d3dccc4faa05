"""LimitRanges and ServiceAccounts beside the manifests, in every spelling that the API server accepts."""

from pathlib import Path

import pytest

from tests.unit.cli.sekisho_command import policy_file, sekisho

LIMITS = "{default: {cpu: 200m, memory: 256Mi}, defaultRequest: {cpu: 100m, memory: 128Mi}, type: Container%s}"
RANGE = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: lr}\nspec: {limits: [%s]}\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: plain}\nspec: {containers: [{name: a, image: b}]}\n"
PRESENT = [
    RANGE % (LIMITS % ""),
    RANGE % (LIMITS % ", max: null"),
    RANGE % (LIMITS % ", maxLimitRequestRatio: null, min: {cpu: null}"),
    f"apiVersion: v1\nkind: LimitRangeList\nitems:\n- {{metadata: {{name: lr}}, spec: {{limits: [{LIMITS % ''}]}}}}\n",
    "apiVersion: v1\nkind: List\nitems:\n- " + RANGE.replace("\n", "\n  ") % (LIMITS % "") + "\n",
]


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    requests = {"requiredRequests": ["cpu", "memory"], "requiredLimits": ["memory"]}
    return policy_file(tmp_path, controls={"resources": requests})


@pytest.mark.parametrize("text", PRESENT)
def test_a_limit_range_applies_in_every_spelling(policy: Path, text: str) -> None:
    assert sekisho("check", "-p", policy, "-", text=POD).exit_code == 1
    result = sekisho("check", "-p", policy, "-", text=f"{text}---\n{POD}")
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_limit_range_of_the_manifests_replaces_that_of_the_context(policy: Path, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "lr.yaml").write_text(RANGE % "{type: Container, default: {cpu: 9}}")
    args = ("check", "-p", policy, "--context-dir", context, "-")
    assert sekisho(*args, text=POD).exit_code == 1
    assert sekisho(*args, text=f"{RANGE % (LIMITS % '')}---\n{POD}").exit_code == 0
    (context / "lr.yaml").write_text(RANGE % (LIMITS % ""))
    assert sekisho(*args, text=POD).exit_code == 0
    assert sekisho(*args, text=f"{RANGE % '{type: Pod}'}---\n{POD}").exit_code == 1


def test_an_invalid_limit_range_is_reported(policy: Path) -> None:
    result = sekisho("check", "-p", policy, "-", text=f"{RANGE % '{type: Container, default: 5}'}---\n{POD}")
    assert result.exit_code == 1
    assert (
        "note: <stdin>:4:35: LimitRange is invalid and was ignored: spec.limits[0].default: Expected" in result.stderr
    )


NULLS = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {%s, containers: [{name: a, image: b, %s}]}\n"


@pytest.mark.parametrize(
    ("pod", "container", "code"),
    [
        ("hostPID: null", "securityContext: {capabilities: {drop: [null, ALL]}}", 0),
        ("hostPID: null", "args: [null], command: [null]", 0),
        ("securityContext: {supplementalGroups: [null]}", "args: []", 0),
        ("hostPID: null", "securityContext: {capabilities: {add: [null]}}", 1),
    ],
)
def test_null_in_a_list_is_read_as_the_api_server_reads_it(pod: str, container: str, code: int) -> None:
    result = sekisho("check", "--standard", "baseline", "-", text=NULLS % (pod, container))
    assert (result.exit_code, result.stderr) == (code, "")
