"""Policies from files: what is wrong is named with file, line and column, and what is right beside it is read."""

import json
from pathlib import Path

import pytest
import yaml

from sekisho.controls import ControlEnforcement
from sekisho.documents import DocumentError, read_documents
from sekisho.manifests import parse_policies, read_policies
from sekisho.policies import ClusterPodPolicy, PolicyError, PolicySet, compile_policy, decode_policy
from sekisho.policies.types import Enforcement

HEAD = "apiVersion: sekisho.dev/v1alpha1\nkind: ClusterPodPolicy\nmetadata: {name: p}\n"

WRONG = [
    ("spec: {enforcment: Deny}", "p.yaml:4:8: spec.enforcment: unknown field; did you mean enforcement?"),
    ("spec: {enforcement: deny}", 'spec.enforcement: must be Deny or Warn or Audit, found "deny"; did you mean Deny?'),
    ("spec:\n  enforcement: Warn\n  enforcement: Deny", "p.yaml:6:3: duplicate key 'enforcement'"),
    ("spec:\n\tenforcement: Warn", "p.yaml:5:1: a tab cannot indent YAML; use spaces"),
    ("spec:\n  match: [a]", 'p.yaml:5:10: spec.match: must be an object, found ["a"]'),
    (
        "spec:\n  match:\n    namespaces: payments",
        'p.yaml:6:5: spec.match.namespaces: must be a list, found "payments"',
    ),
    ("spec: {match: {namespaces: []}}", "spec.match.namespaces: must not be empty"),
    ("spec: {match: {namespaces: [Payments]}}", "spec.match.namespaces[0]: must match"),
    ("spec: {controls: {previleged: {}}}", "spec.controls.previleged: unknown field; did you mean privileged?"),
    ("spec: {controls: {images: {trustedRegistry: []}}}", "unknown field; did you mean trustedRegistries?"),
    ("spec: {controls: {privileged: {enforcement: Nope}}}", "spec.controls.privileged.enforcement: must be"),
    ("spec: {podSecurityStandard: {level: strict}}", "must be baseline or privileged or restricted"),
    ("spec: {podSecurityStandard: {level: baseline, version: v1.99}}", "spec.podSecurityStandard.version: must match"),
    ("spec: {podSecurityStandard: {version: latest}}", "p.yaml:4:29: spec.podSecurityStandard: set either level"),
    ("spec: {defaults: {container: {securityContext: {allowPrivilegeEscalation: true}}}}", "must be false, found true"),
    ("spec: {defaults: {pod: {securityContext: {runAsUser: -1}}}}", "must be at least 0, found -1"),
    ("spec: {defaults: {pod: {securityContext: {runAsUser: '0'}}}}", 'must be a whole number, found "0"'),
    ("spec: {match: {podSelector: {matchLabels: {a: 1}}}}", "must be a string, found 1"),
    ("spec: {podSecurityStandard: {level: baseline, fromNamespaceLabels: true}}", "set either level"),
    ("status: {}", "p.yaml:1:1: the field 'spec' must be set"),
    ("spec: {", "p.yaml:"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_invalid_policy_is_reported_with_its_place(text: str, expected: str) -> None:
    with pytest.raises(PolicyError) as raised:
        parse_policies(HEAD + text, "p.yaml")
    assert expected in str(raised.value)
    assert str(raised.value).startswith("p.yaml:")


RIGHT = [
    "spec: {}",
    "spec: {enforcement: Warn}",
    "spec: {match: {namespaces: [payments, 'team-*'], excludeNamespaces: [team-x]}}",
    "spec: {match: {podSelector: {matchLabels: {a: '1'}}}}",
    "spec: {controls: {privileged: {enforcement: 'Off'}}}",
    "spec: {controls: {privileged: {enforcement: Off}}}",
    "spec: {podSecurityStandard: {level: baseline, version: v1.0}}",
    "spec: {podSecurityStandard: {level: restricted, version: v1.37}}",
    "spec: {podSecurityStandard: {fromNamespaceLabels: true}}",
    "spec: {defaults: {profile: restricted, container: {securityContext: {allowPrivilegeEscalation: false}}}}",
]


@pytest.mark.parametrize("text", RIGHT)
def test_valid_policy_is_read(text: str) -> None:
    (policy,) = parse_policies(HEAD + text, "p.yaml")
    assert policy.metadata.name == "p"
    PolicySet.of([policy])


def test_all_problems_of_a_file_are_reported_at_once() -> None:
    with pytest.raises(PolicyError) as raised:
        parse_policies(HEAD + "spec:\n  enforcement: No\n  matches: {}\n", "p.yaml")
    assert len(raised.value.problems) == 2


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            "{controls: {images: {trustedRegistries: [acme/web]}}}",
            "spec.controls.images.trustedRegistries[0]: 'acme/web'",
        ),
        ("{controls: {hostPorts: {allowed: [{min: 90, max: 80}]}}}", "spec.controls.hostPorts.allowed[0]: min 90"),
        (
            "{match: {podSelector: {matchExpressions: [{key: a, operator: In}]}}}",
            "spec.match.podSelector.matchExpressions[0].values: the operator In requires at least one value",
        ),
        (
            "{match: {namespaceSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}}",
            "spec.match.namespaceSelector.matchExpressions[0].values: the operator Exists allows no values",
        ),
    ],
)
def test_what_the_schema_cannot_express_is_an_error_when_compiled(spec: str, expected: str) -> None:
    with pytest.raises(PolicyError) as raised:
        parse_policies(HEAD + f"spec: {spec}", "p.yaml")
    assert str(raised.value).startswith("p.yaml:4:")
    assert expected in str(raised.value)
    policy = decode_policy(json.dumps({"metadata": {"name": "p"}, "spec": yaml.safe_load(spec)}).encode())
    with pytest.raises(PolicyError) as raised:
        PolicySet.of([policy])
    assert str(raised.value).startswith(expected)


def test_objects_of_other_groups_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n---\n" + HEAD + "spec: {}\n"
    )
    assert [policy.metadata.name for policy in read_policies(tmp_path)] == ["p"]


LIST = """apiVersion: v1
kind: List
items:
  - {apiVersion: sekisho.dev/v1alpha1, kind: ClusterPodPolicy, metadata: {name: a}, spec: {}}
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
  - {apiVersion: sekisho.dev/v1alpha1, kind: PodPolicy, metadata: {name: b, namespace: n}, spec: SPEC}
"""


@pytest.mark.parametrize("written", ["Off", "off", "'Off'", "false"])
def test_off_needs_no_quotes(written: str) -> None:
    text = (
        HEAD + f"spec: {{podSecurityStandard: {{level: baseline}}, controls: {{sysctls: {{enforcement: {written}}}}}}}"
    )
    (policy,) = parse_policies(text, "p.yaml")
    assert isinstance(policy, ClusterPodPolicy)
    assert policy.spec.controls.sysctls.enforcement is ControlEnforcement.OFF  # type: ignore[attr-defined]
    assert "sysctls" not in {rule.control for rule in compile_policy(policy).rules}
    api = json.dumps({"metadata": {"name": "p"}, "spec": yaml.safe_load(text)["spec"]}).encode()
    assert decode_policy(api).spec == policy.spec


@pytest.mark.parametrize("written", ["On", "0", "''", "No way"])
def test_other_values_are_not_off(written: str) -> None:
    with pytest.raises(PolicyError, match="enforcement: must be Deny or Warn or Audit or Off, found"):
        parse_policies(HEAD + f"spec: {{controls: {{sysctls: {{enforcement: {written}}}}}}}", "p.yaml")


def test_policies_of_a_list_are_read() -> None:
    assert [policy.title for policy in parse_policies(LIST.replace("SPEC", "{}"), "list.yaml")] == ["a", "n/b"]


def test_problems_of_a_list_are_at_their_own_place() -> None:
    with pytest.raises(PolicyError) as raised:
        parse_policies(LIST.replace("SPEC", "{controls: {previleged: {}}}"), "list.yaml")
    assert str(raised.value).startswith("list.yaml:6:122: spec.controls.previleged: unknown field")
    with pytest.raises(PolicyError) as raised:
        parse_policies(LIST.replace("SPEC", "{controls: {hostPorts: {allowed: [{min: 90, max: 80}]}}}"), "list.yaml")
    assert str(raised.value).startswith("list.yaml:6:")
    assert "spec.controls.hostPorts.allowed[0]: min 90" in str(raised.value)


def test_unreadable_document_does_not_hide_the_others() -> None:
    with pytest.raises(PolicyError) as raised:
        parse_policies(f"a: b: c\n---\n{HEAD}spec: {{enforcment: Deny}}\n", "p.yaml")
    assert [problem.where for problem in raised.value.problems] == ["p.yaml:1:5", "p.yaml:6:8"]


def test_folder_without_policies_says_so(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="holds no ClusterPodPolicy"):
        read_policies(tmp_path)
    with pytest.raises(PolicyError, match="no such file"):
        read_policies(tmp_path / "gone")


def test_mounted_config_map_is_read_once(tmp_path: Path) -> None:
    folder = tmp_path / "..2026_11_23"
    folder.mkdir()
    (folder / "policy.yaml").write_text(HEAD + "spec: {}\n")
    (tmp_path / "..data").symlink_to(folder)
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    assert [policy.metadata.name for policy in read_policies(tmp_path)] == ["p"]


def test_two_policies_with_one_name_are_an_error(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(HEAD + "spec: {}\n")
    with pytest.raises(PolicyError, match="two policies have this name"):
        read_policies(tmp_path)


def test_policy_from_the_api_is_strict_below_spec_and_lenient_above() -> None:
    api = b'{"apiVersion":"sekisho.dev/v1alpha1","kind":"ClusterPodPolicy",'
    api += b'"metadata":{"name":"p","generation":3,"managedFields":[]},'
    policy = decode_policy(api + b'"spec":{"enforcement":"Warn"},"status":{"anything":1}}')
    assert (policy.metadata.generation, policy.spec.enforcement) == (3, Enforcement.WARN)
    with pytest.raises(PolicyError, match=r"^spec\.controls: Object contains unknown field 'fromTheFuture'"):
        decode_policy(api + b'"spec":{"controls":{"fromTheFuture":{}}}}')


def test_timestamps_and_numbers_are_read_as_kubernetes_does() -> None:
    (document,) = read_documents("a: 2027-01-31T00:00:00Z\nb: 1:30\nc: 0x10\nd: 1e3\ne: yes\n1: f\n", "x")
    assert document.value == {"a": "2027-01-31T00:00:00Z", "b": "1:30", "c": 16, "d": 1000.0, "e": True, "1": "f"}


def test_merged_keys_may_be_overridden_and_own_keys_may_not_repeat() -> None:
    (document,) = read_documents("base: &b {x: 1, y: 2}\nmine:\n  <<: *b\n  x: 3\n", "x")
    assert document.value["mine"] == {"x": 3, "y": 2}
    with pytest.raises(DocumentError, match="x:2:3"):
        list(read_documents("{a: 1,\n  a: 2}", "x"))
