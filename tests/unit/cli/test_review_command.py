"""`sekisho review`: the webhook's answers, line by line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sekisho import admission
from sekisho.cli import review as command
from sekisho.manifests import read_policies
from sekisho.policies import PolicySet
from sekisho.webhook import bodies as webhook
from tests.pods import container, restricted_pod
from tests.reviews import DEPLOYMENT, DEPLOYMENTS, review_body
from tests.unit.cli.sekisho_command import RESTRICTED, policy_file, sekisho


def review(obj: Any, **request: Any) -> str:
    return review_body(obj, **request).decode()


GOOD, BAD = review(restricted_pod()), review(restricted_pod(container(securityContext={"privileged": True})))
PLAIN = review({"spec": {"containers": [{"name": "app", "image": "x"}]}})
DELETE = review(None, operation="DELETE", oldObject=restricted_pod())
UNREADABLE = review({"spec": {"hostPID": 5}})


@pytest.mark.parametrize(("args", "answer"), [((), admission.validate), (("--mutate",), admission.mutate)])
def test_answers_equal_the_webhooks_byte_for_byte(args: tuple[str, ...], answer: Any) -> None:
    policies = PolicySet.of(read_policies(RESTRICTED))
    reviews = [GOOD, BAD, PLAIN, DELETE, UNREADABLE]
    result = sekisho("review", "-p", RESTRICTED, *args, text="\n".join(reviews))
    assert result.exit_code == 0
    expected = [answer(admission.decode(line.encode()), policies, None).response.decode() for line in reviews]
    assert result.stdout.splitlines() == expected
    assert len({json.loads(line)["response"]["allowed"] for line in expected}) == 2


@pytest.mark.parametrize("line", ["x", "{}", "[]", '{"kind": "Pod"}', "\x00", '{"request": 5}', GOOD[:-9]])
def test_an_invalid_line_is_reported_and_the_others_are_answered(line: str) -> None:
    result = sekisho("review", "-p", RESTRICTED, text=f"{GOOD}\n{line}\n\n{BAD}\n")
    assert result.exit_code == 2
    good, error, bad = map(json.loads, result.stdout.splitlines())
    assert list(error) == ["error"]
    assert error["error"].startswith("the line is not an AdmissionReview: ")
    assert (good["response"]["allowed"], bad["response"]["allowed"]) == (True, False)


def test_a_line_that_is_too_long_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "MAX_REVIEW_BYTES", len(BAD))
    for longer in ("x" * (len(BAD) + 1), "x" * (len(BAD) * 5), GOOD + " " * len(BAD)):
        result = sekisho("review", "-p", RESTRICTED, text=f"{longer}\n{BAD}\n")
        error, bad = map(json.loads, result.stdout.splitlines())
        assert (result.exit_code, list(error), bad["response"]["allowed"]) == (2, ["error"], False)
    assert sekisho("review", "-p", RESTRICTED, text=f"{BAD}\n{BAD}").exit_code == 0


def test_a_line_may_be_as_long_as_the_webhooks_body() -> None:
    assert command.MAX_REVIEW_BYTES == webhook.MAX_BODY_BYTES


def test_labels_are_required_where_matching_needs_them(tmp_path: Path) -> None:
    selector = {"namespaceSelector": {"matchLabels": {"tier": "prod"}}}
    policy = policy_file(tmp_path, match=selector, controls={"privileged": {}})
    labels = tmp_path / "labels.yaml"
    lines = [BAD, GOOD, DELETE, review(restricted_pod(), namespace="")]
    for text, allowed in (
        ("shop: {tier: prod}", [False, True, True, False]),
        ("shop: {tier: test}", [True, True, True, False]),
        ("other: {}", [False, False, True, False]),
    ):
        labels.write_text(text)
        result = sekisho("review", "-p", policy, "--namespace-labels", labels, text="\n".join(lines))
        answers = [json.loads(line)["response"] for line in result.stdout.splitlines()]
        assert [answer["allowed"] for answer in answers] == allowed
    assert "the labels of its namespace are unknown" in answers[1]["status"]["message"]


def test_objects_of_the_cluster_change_the_pods_of_templates(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, templates="Deny", controls={"resources": {"requiredRequests": ["cpu"]}})
    (tmp_path / "context").mkdir()
    (tmp_path / "context/ranges.yaml").write_text(
        "apiVersion: v1\nkind: LimitRange\nmetadata: {name: lr, namespace: shop}\n"
        "spec: {limits: [{type: Container, defaultRequest: {cpu: 100m}}]}\n"
    )
    template = {"spec": {"containers": [{"name": "app", "image": "x"}]}}
    deployment = {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": template}}
    of = {"kind": DEPLOYMENT, "resource": DEPLOYMENTS}
    reviews = [review(deployment, namespace=namespace, **of) for namespace in ("shop", "other")]

    def allowed(*args: str | Path) -> list[bool]:
        result = sekisho("review", "-p", policy, *args, text="\n".join(reviews))
        assert result.exit_code == 0
        return [json.loads(line)["response"]["allowed"] for line in result.stdout.splitlines()]

    assert allowed() == [False, False]
    assert allowed("--context-dir", tmp_path / "context") == [True, False]


def test_an_answer_is_written_at_once() -> None:
    command = [sys.executable, "-m", "sekisho", "review", "--standard", "restricted"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line, allowed in ((GOOD, True), (BAD, False)):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["response"]["allowed"] is allowed
        process.stdin.close()
        assert process.wait() == 0


def test_an_unexpected_error_is_a_denial(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise KeyError("boo")

    monkeypatch.setattr(admission, "validate", broken)
    result = sekisho_with_an_error(GOOD)
    answer = json.loads(result[0])["response"]
    assert answer["allowed"] is False
    assert "internal error" in answer["status"]["message"]
    assert result[1].startswith("Error: internal error ")
    assert result[1].count("\n") == 1


def sekisho_with_an_error(text: str) -> tuple[str, str]:
    from click.testing import CliRunner

    from sekisho.cli import main

    result = CliRunner().invoke(main, ["review", "--standard", "restricted"], input=text)
    return result.stdout, result.stderr


def test_policies_are_required() -> None:
    result = sekisho("review", text=GOOD)
    assert (result.exit_code, "there are no policies" in result.output) == (2, True)
