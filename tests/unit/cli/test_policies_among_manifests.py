"""Policies that stand among the manifests that are checked."""

from pathlib import Path

import pytest

from tests.unit.cli.sekisho_command import BAD_POD, policy_file, sekisho

POLICY = """\
apiVersion: sekisho.dev/v1alpha1
kind: ClusterPodPolicy
metadata: {name: house}
spec: {controls: {hostNamespaces: {%s}}}
"""
OTHER_POLICY = POLICY.replace("hostNamespaces", "privileged")


@pytest.mark.parametrize("command", ["check", "fix", "explain"])
def test_a_policy_among_the_manifests_counts(command: str) -> None:
    result = sekisho(command, "-", text=POLICY % "" + "---\n" + BAD_POD)
    assert result.exit_code == (0 if command == "explain" else 1)
    assert "hostNamespaces" in result.stdout + result.stderr


def test_policies_among_the_manifests_are_counted_and_not_called_ignored() -> None:
    policies = POLICY % "" + "---\n" + POLICY.replace("house", "other") % "" + "---\n"
    namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n---\n"
    last = sekisho("check", "-", text=policies + namespace + BAD_POD).stdout.splitlines()[-1]
    assert last == (
        "1 checked: 0 pass, 1 denied; 2 policies and waivers among them; 1 object without pods ignored (1 Namespace)"
    )
    last = sekisho("check", "-", text=POLICY % "" + "---\n" + BAD_POD).stdout.splitlines()[-1]
    assert last == "1 checked: 0 pass, 1 denied; 1 policy or waiver among them"


def test_a_policy_about_something_else_denies_nothing() -> None:
    assert sekisho("check", "-", text=OTHER_POLICY % "" + "---\n" + BAD_POD).exit_code == 0


def test_a_policy_in_a_list_counts() -> None:
    items = "".join("- " + text.replace("\n", "\n  ").rstrip(" ") for text in (POLICY % "", BAD_POD))
    assert sekisho("check", "-", text=f"apiVersion: v1\nkind: List\nitems:\n{items}").exit_code == 1


def test_the_policy_that_is_named_counts_before_one_of_the_same_name(tmp_path: Path) -> None:
    named = tmp_path / "policy.yaml"
    named.write_text(POLICY % "enforcement: Warn")
    assert sekisho("check", "-p", named, "-", text=POLICY % "" + "---\n" + BAD_POD).exit_code == 0


def test_a_folder_that_holds_the_named_policy_too_can_be_checked(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, controls={"hostNamespaces": {}})
    (tmp_path / "pod.yaml").write_text(BAD_POD)
    assert sekisho("check", "-p", policy, tmp_path).exit_code == 1


def test_an_invalid_policy_among_the_manifests_is_reported_with_its_place() -> None:
    result = sekisho("check", "-", text=BAD_POD + "---\n" + POLICY.replace("hostNamespaces", "hostNamespace") % "")
    assert result.exit_code == 2
    assert "spec.controls.hostNamespace" in result.stderr


def test_manifests_without_policies_still_need_one() -> None:
    result = sekisho("check", "-", text=BAD_POD)
    assert result.exit_code == 2
    assert "there are no policies" in result.stderr
