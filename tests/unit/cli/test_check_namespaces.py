"""The labels of namespaces: from manifests, from a file, and what is said when they are not known."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.sekisho_command import BAD_POD, policy_file, sekisho

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {%s}}\n"
POD_IN_SHOP = BAD_POD.replace("{name: bad}", "{name: bad, namespace: shop}")
FROM_LABELS: dict[str, Any] = {"podSecurityStandard": {"fromNamespaceLabels": True}}
SELECTING: dict[str, Any] = {
    "match": {"namespaceSelector": {"matchLabels": {"tier": "prod"}}},
    "controls": {"hostNamespaces": {}},
}


@pytest.mark.parametrize(
    ("spec", "labels", "code"),
    [
        (SELECTING, "tier: prod", 1),
        (SELECTING, "tier: test", 0),
        (FROM_LABELS, "pod-security.kubernetes.io/enforce: baseline", 1),
        (FROM_LABELS, "pod-security.kubernetes.io/enforce: privileged", 0),
        (FROM_LABELS, "pod-security.kubernetes.io/enforce: base-line", 1),
    ],
)
@pytest.mark.parametrize("order", ["before", "after", "in a list", "in a file"])
def test_namespace_labels_decide(spec: object, labels: str, code: int, order: str, tmp_path: Path) -> None:
    policy = policy_file(tmp_path, **spec)  # type: ignore[arg-type]
    namespace = NAMESPACE % labels
    extra: list[str | Path] = []
    if order == "in a file":
        (tmp_path / "labels.yaml").write_text(f"shop: {{{labels}}}\nother: {{}}\n")
        extra = ["--namespace-labels", tmp_path / "labels.yaml"]
        text = POD_IN_SHOP
    elif order == "in a list":
        items = "".join("- " + text.replace("\n", "\n  ").rstrip(" ") for text in (POD_IN_SHOP, namespace))
        text = f"apiVersion: v1\nkind: List\nitems:\n{items}"
    else:
        text = "---\n".join([namespace, POD_IN_SHOP] if order == "before" else [POD_IN_SHOP, namespace])
    result = sekisho("check", "-p", policy, *extra, "-", text=text)
    assert result.exit_code == code
    assert "are not known" not in result.stderr


def test_labels_in_manifests_override_and_extend_those_of_the_file(tmp_path: Path) -> None:
    selector = {"matchLabels": {"tier": "prod", "team": "a"}}
    policy = policy_file(tmp_path, match={"namespaceSelector": selector}, controls={"hostNamespaces": {}})
    (tmp_path / "labels.json").write_text('{"shop": {"tier": "test", "team": "a"}}')
    args = ("check", "-p", policy, "--namespace-labels", tmp_path / "labels.json", "-")
    assert sekisho(*args, text=POD_IN_SHOP).exit_code == 0
    assert sekisho(*args, text=NAMESPACE % "tier: prod" + "---\n" + POD_IN_SHOP).exit_code == 1


def test_every_namespace_has_the_label_with_its_name(tmp_path: Path) -> None:
    for name, code in (("shop", 1), ("other", 0)):
        selector = {"matchLabels": {"kubernetes.io/metadata.name": name}}
        policy = policy_file(tmp_path, match={"namespaceSelector": selector}, controls={"hostNamespaces": {}})
        assert sekisho("check", "-p", policy, "-", text=POD_IN_SHOP).exit_code == code


def test_unknown_labels_are_reported_once_per_namespace(tmp_path: Path) -> None:
    selecting, other = policy_file(tmp_path, "one", **SELECTING), policy_file(tmp_path, "two", **FROM_LABELS)
    text = "---\n".join([POD_IN_SHOP, POD_IN_SHOP, BAD_POD])
    result = sekisho("check", "-p", selecting, "-p", other, "-", text=text)
    assert result.exit_code == 0
    notes = result.stderr.splitlines()
    assert [note.partition(";")[0] for note in notes] == [
        f'note: namespace {name}: its labels are unknown, but matter to policies "one" and "two"'
        for name in ("shop", "default")
    ]


def test_fix_reports_unknown_labels_as_check_does(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, **FROM_LABELS, defaults={"profile": "restricted"})
    text = "---\n".join([POD_IN_SHOP, POD_IN_SHOP])
    fixed, checked = sekisho("fix", "-p", policy, "-", text=text), sekisho("check", "-p", policy, "-", text=text)
    assert (fixed.exit_code, fixed.stdout) == (0, text)
    assert fixed.stderr == checked.stderr
    assert fixed.stderr.startswith("note: namespace shop: its labels are unknown, but matter to policy")
    assert fixed.stderr.endswith("or use --context-dir or --namespace-labels\n")
    assert sekisho("fix", "-p", policy, "-", text=NAMESPACE % "tier: prod" + "---\n" + POD_IN_SHOP).stderr == ""


def test_policies_that_do_not_read_labels_need_none(tmp_path: Path) -> None:
    excluding = {**SELECTING, "match": {**SELECTING["match"], "excludeNamespaces": ["shop"]}}
    for policy in (policy_file(tmp_path, **excluding), policy_file(tmp_path, controls={"privileged": {}})):
        result = sekisho("check", "-p", policy, "-", text=POD_IN_SHOP)
        assert (result.exit_code, result.stderr) == (0, "")


def test_an_invalid_label_is_reported(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, **FROM_LABELS)
    text = NAMESPACE % "pod-security.kubernetes.io/enforce: none" + "---\n" + POD_IN_SHOP
    result = sekisho("check", "-p", policy, "-", text=text)
    assert "note: namespace shop: the namespace's label pod-security.kubernetes.io/enforce is 'none'" in result.stderr


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("a: {}\nshop: [a]\n", ":2:7: must map"),
        ("shop: {a: 1}\n", ":1:7: must map"),
        ("- a\n", ":1:1: must map"),
        ("a: b: c\n", ":1:5: mapping values"),
    ],
)
def test_an_invalid_file_of_labels_is_reported(text: str, location: str, tmp_path: Path) -> None:
    policy = policy_file(tmp_path, **SELECTING)
    path = tmp_path / "labels.yaml"
    path.write_text(text)
    result = sekisho("check", "-p", policy, "--namespace-labels", path, "-", text=POD_IN_SHOP)
    assert (result.exit_code, f"Error: {path}{location}" in result.stderr) == (2, True)


def test_namespace_that_is_exempt_in_the_cluster_is_exempt_offline() -> None:
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: kube-system}, spec: {hostPID: true}}"
    for option, code in (("--exclude-namespace=kube-system", 0), ("--exclude-namespace=sekisho-system", 1)):
        result = sekisho("check", "--standard", "baseline", option, "-", text=pod)
        assert result.exit_code == code
        note = "note: namespace kube-system: Sekisho does not judge its pods, because --exclude-namespace names it"
        assert (note in result.stderr) is (code == 0)
        fixed = sekisho("fix", "--all", "--standard", "baseline", option, "-", text=pod)
        assert (fixed.stdout.strip() == pod) is (code == 0)
        explained = sekisho("explain", "--standard", "baseline", option, "-", text=pod).stdout
        assert ("does not match: namespace kube-system: Sekisho does not judge its pods" in explained) is (code == 0)
