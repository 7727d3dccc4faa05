"""`sekisho explain`: why a policy applies to a pod or not, and the results of its controls."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from sekisho.pods import ObjectMeta, Pod, PodSpec
from sekisho.policies import ClusterPodPolicy, PolicyError, PolicySet
from sekisho.policies.matching import mismatch
from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, MANIFESTS, RESTRICTED, policy_file, sekisho

LABELLED = (
    "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, labels: {app: web}}\n"
    "spec: {runtimeClassName: gvisor}\n"
)
NAMESPACE = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {tier: test}}\n"

MISMATCHES = [
    ({"namespaces": ["pay", "team-*"]}, "match.namespaces has pay, team-*, and the namespace is shop"),
    ({"excludeNamespaces": ["x", "sh*"]}, "match.excludeNamespaces has sh*, and the namespace is shop"),
    (
        {"namespaceSelector": {"matchLabels": {"tier": "prod"}}},
        "match.namespaceSelector requires tier In prod, and the namespace has tier=test",
    ),
    (
        {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}},
        "match.namespaceSelector requires team Exists, and the namespace has no label team",
    ),
    (
        {"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web", "db"]}]}},
        "match.podSelector requires app NotIn web, db, and the pod has app=web",
    ),
    (
        {"excludeRuntimeClasses": ["kata", "gvisor"]},
        "match.excludeRuntimeClasses has gvisor, and the pod has this runtimeClassName",
    ),
]


@pytest.mark.parametrize(("match", "reason"), MISMATCHES)
def test_the_failed_condition_is_reported(match: Any, reason: str, tmp_path: Path) -> None:
    policy = policy_file(tmp_path, match=match, controls={"privileged": {}})
    result = sekisho("explain", "-p", policy, "-", text=LABELLED + NAMESPACE)
    assert result.exit_code == 0
    assert f'  policy "p" does not match: {reason}\n' in result.output
    assert "privileged" not in result.output


def test_excluded_subjects_are_ignored_with_a_note(tmp_path: Path) -> None:
    match = {"excludeSubjects": {"users": ["alice"]}}
    policy = policy_file(tmp_path, match=match, controls={"privileged": {}})
    result = sekisho("explain", "-p", policy, "-", text=LABELLED)
    assert '  policy "p" matches\n    match.excludeSubjects was ignored' in result.output


def test_a_matching_near_twin_matches(tmp_path: Path) -> None:
    match = {"namespaces": ["shop"], "podSelector": {"matchLabels": {"app": "web"}}}
    policy = policy_file(tmp_path, match=match, controls={"privileged": {}, "hostNamespaces": {}})
    result = sekisho("explain", "-p", policy, "-", text=LABELLED)
    assert result.output == (
        '<stdin>:1:1: Pod shop/p\n  policy "p" matches\n    privileged: passes\n    hostNamespaces: passes\n\n'
    )


NAMES = st.sampled_from(["shop", "shop-a", "pay", ""])
LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"))
REQUIREMENTS = st.builds(
    lambda key, operator, values: {"key": key, "operator": operator} | ({"values": values} if "In" in operator else {}),
    st.sampled_from("ab"),
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    st.lists(st.sampled_from("xy"), min_size=1),
)
SELECTORS = st.fixed_dictionaries(
    {}, optional={"matchLabels": LABELS, "matchExpressions": st.lists(REQUIREMENTS, max_size=2)}
)
PATTERNS = st.lists(st.sampled_from(["shop", "shop*", "*", "pay"]), min_size=1, max_size=2)
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "namespaces": PATTERNS,
        "excludeNamespaces": PATTERNS,
        "namespaceSelector": SELECTORS,
        "podSelector": SELECTORS,
        "excludeRuntimeClasses": st.lists(st.sampled_from(["gvisor", "kata"]), max_size=2),
    },
)
RUNTIME_CLASSES = st.sampled_from([None, "gvisor"])


@given(MATCHES, NAMES, LABELS, LABELS, RUNTIME_CLASSES)
def test_a_mismatch_has_a_reason_exactly_when_the_policy_does_not_match(
    match: Any, namespace: str, labels: dict[str, str], pod_labels: dict[str, str], runtime_class: str | None
) -> None:
    spec = {"match": match, "controls": {"privileged": {}}}
    policy = msgspec.convert({"metadata": {"name": "p"}, "spec": spec}, ClusterPodPolicy)
    pod = Pod(ObjectMeta(labels=pod_labels), PodSpec(runtime_class_name=runtime_class))
    try:
        policies = PolicySet.of([policy])
    except PolicyError:  # a namespace is named, and left out again
        reject()
    matches = bool(policies.plan(namespace, labels, pod).steps)
    assert (mismatch(policy.spec.match, namespace, labels, pod) is None) is matches


def test_each_control_shows_its_result_after_defaults() -> None:
    result = sekisho("explain", "-p", RESTRICTED, MANIFESTS / "database.yaml")
    assert result.exit_code == 0
    assert "sets spec.template.spec.securityContext." in result.output
    assert "    runAsUser: denied: init container " in result.output
    assert "spec.template.spec.initContainers[0].securityContext.runAsUser is 0" in result.output
    assert "    seccompProfile: passes\n" in result.output


def test_image_of_a_mirror_is_shown_with_what_it_becomes(tmp_path: Path) -> None:
    mirrors = {"docker.io": "mirror.example.com/hub"}
    confined = {"securityContext": {"allowPrivilegeEscalation": False}}
    policy = policy_file(tmp_path, defaults={"mirrors": mirrors, "container": confined})
    containers = [{"name": "a", "image": "nginx"}, {"name": "b", "image": "ghcr.io/b"}]
    spec = {"containers": containers, "volumes": [{"name": "v", "image": {"reference": "data:1"}}]}
    head = {"metadata": {"name": "p", "namespace": "shop"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": spec} | head
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": spec}}} | head
    for document, above in ((pod, "spec"), (deployment, "spec.template.spec")):
        result = sekisho("explain", "-p", policy, "-", text=json.dumps(document))
        (line,) = (line for line in result.output.splitlines() if line.startswith("    sets "))
        assert sorted(line.removeprefix("    sets ").split(", ")) == [
            f"{above}.containers[0].image to mirror.example.com/hub/library/nginx",
            f"{above}.containers[0].securityContext.allowPrivilegeEscalation",
            f"{above}.containers[1].securityContext.allowPrivilegeEscalation",
            f"{above}.volumes[0].image.reference to mirror.example.com/hub/library/data:1",
        ]


IMAGE_POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: app, image: %s}]}\n"


def test_what_needs_a_registry_is_not_decided_and_does_not_pass(tmp_path: Path) -> None:
    signed = {"signatures": [{"images": ["ghcr.io/acme/*"], "by": {"anyOf": ["release"]}}]}
    policy_file(tmp_path, "signed", controls={"images": signed, "privileged": {}})
    policy_file(tmp_path, "trusted", controls={"images": {"trustedRegistries": ["ghcr.io"]}})
    rules = "the rules on signatures and attestations of images were not judged"
    undecided = f"not decided: {rules}; sekisho verify judges them"
    for image, of_signed in ((f"ghcr.io/acme/pay@sha256:{'a' * 64}", undecided), ("ghcr.io/other/pay:1.0", "passes")):
        result = sekisho("explain", "-p", tmp_path, "-", text=IMAGE_POD % image)
        assert result.exit_code == 0
        assert result.output.splitlines()[1:-1] == [
            *('  policy "signed" matches', "    privileged: passes", f"    images: {of_signed}"),
            *('  policy "trusted" matches', "    images: passes"),
        ]


def test_each_object_and_each_policy_is_explained_in_order(tmp_path: Path) -> None:
    for name, enforcement in (("b", "Deny"), ("a", "Audit")):
        policy_file(tmp_path, name, enforcement=enforcement, controls={"hostNamespaces": {}})
    result = sekisho(
        "explain", "-p", tmp_path, "-", text=f"{BAD_POD}---\nkind: ConfigMap\napiVersion: v1\n---\n{GOOD_POD}"
    )
    starts = [line.split(": the pod")[0].strip() for line in result.output.splitlines() if line]
    assert starts == [
        *("<stdin>:1:1: Pod default/bad", 'policy "a" matches', "hostNamespaces: audit note"),
        *('policy "b" matches', "hostNamespaces: denied"),
        *("<stdin>:9:1: Pod default/good", 'policy "a" matches', "hostNamespaces: passes"),
        *('policy "b" matches', "hostNamespaces: passes"),
    ]


def test_levels_of_namespace_labels_are_explained(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, podSecurityStandard={"fromNamespaceLabels": True})
    unknown = sekisho("explain", "-p", policy, "-", text=BAD_POD)
    assert "the namespace's labels are unknown: it was read as a namespace without labels" in unknown.output
    (tmp_path / "labels").write_text("default: {pod-security.kubernetes.io/enforce: baseline}\n")
    known = sekisho("explain", "-p", policy, "--namespace-labels", tmp_path / "labels", "-", text=BAD_POD)
    assert "not known" not in known.output
    assert "hostNamespaces: denied" in known.output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: Pod\n", "is not a Kubernetes object"),
        ("apiVersion: v1\nkind: ConfigMap\n", "holds no pods and no workloads"),
        ("a: b: c\n", "<stdin>:1:5: mapping values"),
        ("apiVersion: v1\nkind: Pod\nspec: {hostPID: 1}\n", "<stdin>:3:8: spec.hostPID: Expected"),
    ],
)
def test_bad_input_is_reported(text: str, expected: str) -> None:
    result = sekisho("explain", "--standard", "baseline", "-", text=text)
    assert (result.exit_code, expected in result.stderr) == (2, True)
