"""`sekisho fix`: what it changes, what it leaves, and that a check afterwards has no finding that it could fix."""

import base64
import json
from pathlib import Path
from typing import Any

import jsonpatch
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho import admission
from sekisho.documents import read_documents, write_document
from sekisho.manifests import Checker, Namespaces, fix_source, read_policies, sources_of
from sekisho.policies import ClusterPodPolicy, Enforcement, PolicySet
from tests.pods import container, restricted_pod, with_container_in
from tests.reviews import review_body
from tests.strategies import SPECS, defaults, pods
from tests.unit.cli.sekisho_command import BAD_POD, GOOD_POD, MANIFESTS, RESTRICTED, policy_file, sekisho


def documents(text: str) -> list[Any]:
    return [document.value for document in read_documents(text, "f")]


def test_defaults_are_applied_and_the_rest_is_unchanged() -> None:
    path = MANIFESTS / "web.yaml"
    result = sekisho("fix", "-p", RESTRICTED, path)
    assert (result.exit_code, result.stderr) == (0, "")
    before, after = documents(path.read_text()), documents(result.stdout)
    spec = before[0]["spec"]["template"]["spec"]
    spec["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    for one in spec["containers"]:
        one["securityContext"] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert after == before
    assert sekisho("check", "--standard", "restricted", "-", text=result.stdout).exit_code == 0
    assert sekisho("fix", "-p", RESTRICTED, "-", text=result.stdout).stdout == result.stdout


@given(pods())
def test_a_pod_gets_the_mutating_webhooks_changes_except_the_annotation(pod: Any) -> None:
    policies = PolicySet.of(read_policies(RESTRICTED))
    pod = {"apiVersion": "v1", "kind": "Pod"} | pod
    review = admission.decode(review_body(pod))
    answer = json.loads(admission.mutate(review, policies, None).response)["response"]
    operations = json.loads(base64.b64decode(answer.get("patch", "W10=")))
    expected = jsonpatch.apply_patch(pod, [o for o in operations if not o["path"].startswith("/metadata")])
    checker = Checker(policies, Namespaces(), "shop")
    (source,) = sources_of(write_document(pod), "f")
    assert documents(fix_source(source, checker, apply_changes=False).text) == [expected]


def test_mirrors_labels_and_annotations_are_written_into_templates(tmp_path: Path) -> None:
    policy = policy_file(
        tmp_path,
        controls={"images": {"trustedRegistries": ["mirror.example.com/hub"]}},
        defaults={
            "mirrors": {"docker.io": "mirror.example.com/hub"},
            "pod": {"labels": {"team": "shop"}, "annotations": {"example.com/owner": "shop"}},
            "container": {"resources": {"requests": {"cpu": "100m"}}},
        },
    )
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx:1"}]}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
    result = sekisho("fix", "-p", policy, "-", text=write_document(deployment))
    assert result.exit_code == 0, result.stderr
    [after] = documents(result.stdout)
    assert after["spec"]["template"] == {
        "metadata": {"labels": {"app": "web", "team": "shop"}, "annotations": {"example.com/owner": "shop"}},
        "spec": {
            "containers": [
                {
                    "name": "web",
                    "image": "mirror.example.com/hub/library/nginx:1",
                    "resources": {"requests": {"cpu": "100m"}},
                }
            ]
        },
    }
    assert sekisho("check", "-p", policy, "-", text=write_document(deployment)).exit_code == 0
    assert sekisho("fix", "-p", policy, "-", text=result.stdout).stdout == result.stdout


def test_documents_without_changes_are_written_as_they_are() -> None:
    kept = "# why\napiVersion: v1\nkind: ConfigMap   # kept\nmetadata: {name: c}\ndata: {a: 'x'}\n"
    text = f"{kept}--- # next\n{BAD_POD}---\n{kept}"
    result = sekisho("fix", "--all", "--standard", "baseline", "-", text=text)
    assert result.exit_code == 0
    assert result.stdout == f"{kept}--- # next\n{GOOD_POD.replace('good', 'bad')}---\n{kept}"


def test_files_become_one_stream(tmp_path: Path) -> None:
    texts = [GOOD_POD, "%YAML 1.1\n---\n" + GOOD_POD, '{"apiVersion": "v1", "kind": "ConfigMap"}', BAD_POD]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.yaml").write_text(text)
    result = sekisho("fix", "--all", "--standard", "baseline", tmp_path)
    assert result.exit_code == 0
    kinds = [document["kind"] for document in documents(result.stdout)]
    assert kinds == ["Pod", "Pod", "ConfigMap", "Pod"]


def test_items_of_lists_and_aliases_are_fixed_one_by_one() -> None:
    text = (
        "apiVersion: v1\nkind: List\nitems:\n"
        "- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n  spec: &spec\n"
        "    containers: [{name: x, image: i, securityContext: &c {privileged: true}}, "
        "{name: y, image: i, securityContext: *c}]\n"
        "- {apiVersion: apps/v1, kind: Deployment, metadata: {name: b}, spec: {template: {spec: *spec}}}\n"
    )
    result = sekisho("fix", "--all", "--standard", "baseline", "-", text=text)
    (document,) = documents(result.stdout)
    pod, deployment = document["items"]
    for spec in (pod["spec"], deployment["spec"]["template"]["spec"]):
        assert [one["securityContext"]["privileged"] for one in spec["containers"]] == [False, False]
    assert result.stdout == text.replace("privileged: true", "privileged: false")


def test_without_all_findings_remain_and_are_reported() -> None:
    result = sekisho("fix", "--standard", "baseline", "-", text=BAD_POD)
    assert (result.exit_code, result.stdout) == (1, BAD_POD)
    assert "<stdin>:4:8: denied: the pod for host namespaces: spec.hostPID is true" in result.stderr
    result = sekisho("fix", "--standard", "baseline", "-", text=GOOD_POD)
    assert (result.exit_code, result.stdout, result.stderr) == (0, GOOD_POD, "")


def test_what_a_person_must_decide_remains_and_is_reported() -> None:
    pod = restricted_pod(container(image="evil.io/x", securityContext={"privileged": True}))
    policies = ("-p", RESTRICTED, "-p", RESTRICTED.parents[1] / "trusted-registries/policy.yaml")
    result = sekisho("fix", "--all", *policies, "-", text=write_document(pod))
    assert result.exit_code == 1
    assert "[images, policy" in result.stderr
    assert "privileged" not in result.stderr
    assert documents(result.stdout)[0]["spec"]["containers"][0]["securityContext"]["privileged"] is False


def test_user_0_is_removed_only_where_the_pods_user_applies_then() -> None:
    pod = restricted_pod(container(securityContext={"runAsUser": 0}))
    result = sekisho("fix", "--all", "--standard", "restricted", "-", text=write_document(pod))
    assert (result.exit_code, documents(result.stdout)) == (1, [pod])
    assert "set an id above 0, here or only in the image. [runAsUser" in result.stderr
    pod["spec"]["securityContext"]["runAsUser"] = 1000
    result = sekisho("fix", "--all", "--standard", "restricted", "-", text=write_document(pod))
    assert result.exit_code == 0, result.stderr
    assert "runAsUser" not in documents(result.stdout)[0]["spec"]["containers"][0]["securityContext"]


def test_what_the_api_server_would_reject_remains_and_is_reported() -> None:
    mounts = [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]
    pod = restricted_pod(container(securityContext={"privileged": True}, volumeMounts=mounts))
    del pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"]
    result = sekisho("fix", "--all", "--standard", "restricted", "-", text=write_document(pod))
    assert (result.exit_code, documents(result.stdout)) == (1, [pod])
    assert "remove it or set it to false, and mountPropagation Bidirectional with it. [privileged" in result.stderr
    assert "set it to false and unset privileged. [allowPrivilegeEscalation" in result.stderr
    del mounts[0]["mountPropagation"]
    result = sekisho("fix", "--all", "--standard", "restricted", "-", text=write_document(pod))
    context = documents(result.stdout)[0]["spec"]["containers"][0]["securityContext"]
    assert (result.exit_code, context["privileged"], context["allowPrivilegeEscalation"]) == (0, False, False)


def test_warnings_are_fixed_too_and_do_not_fail(tmp_path: Path) -> None:
    policy = policy_file(tmp_path, enforcement="Warn", controls={"hostNamespaces": {}, "images": {}})
    result = sekisho("fix", "--all", "-p", policy, "-", text=BAD_POD)
    assert (result.exit_code, documents(result.stdout)[0]["spec"]) == (0, {"hostPID": False})
    pod = restricted_pod(container(image="UPPER"), hostPID=True)
    result = sekisho("fix", "--all", "-p", policy, "-", text=write_document(pod))
    assert (result.exit_code, "warning: container" in result.stderr) == (0, True)


def test_bad_input_is_written_as_it_is_and_reported() -> None:
    text = f"{BAD_POD}---\na: b: c\n---\napiVersion: v1\nkind: Pod\nspec: {{hostPID: 1}}\n"
    result = sekisho("fix", "--all", "--standard", "baseline", "-", text=text)
    assert result.exit_code == 2
    assert "---\na: b: c\n---\napiVersion: v1\nkind: Pod\nspec: {hostPID: 1}\n" in result.stdout
    assert "hostPID: false" in result.stdout
    assert "Error: <stdin>:6:5: mapping values" in result.stderr
    assert "Error: <stdin>:10:8: spec.hostPID: Expected" in result.stderr


# Whatever a pod is like, once fixed it has no finding unfixed that could have been fixed.

LISTS = ("containers", "initContainers", "sidecar", "ephemeralContainers")
CONTEXTS: dict[str, list[Any]] = {
    "privileged": [True, None],
    "allowPrivilegeEscalation": [True, None],
    "runAsNonRoot": [False, True, None],
    "runAsUser": [0, 1000, None],
    "procMount": ["Unmasked", "Default"],
    "capabilities": [None, {}, {"add": ["SYS_ADMIN", "CHOWN", "NET_ADMIN"]}, {"drop": ["KILL"]}, {"drop": None}],
    "seccompProfile": [None, {"type": "Unconfined"}, {"type": "RuntimeDefault"}],
    "appArmorProfile": [None, {"type": "Unconfined"}],
    "seLinuxOptions": [None, {"type": "spc_t", "user": "root", "role": "sys"}],
    "windowsOptions": [None, {"hostProcess": True}],
}
SPEC: dict[str, list[Any]] = {
    "hostNetwork": [True, None],
    "hostPID": [True, False],
    "hostIPC": [True, None],
    "hostUsers": [False, None],
    "os": [None, {"name": "windows"}],
    "securityContext": [
        None,
        {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_syncookies"}, {"name": "a"}]},
    ],
    "volumes": [None, [{"name": "v", "hostPath": {"path": "/"}}, {"name": "e", "emptyDir": {}}]],
}
PORTS = st.sampled_from([None, [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81}]])
PROBES = st.sampled_from([None, {"httpGet": {"host": "h", "port": 80}}])


def any_of(fields: dict[str, list[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in fields.items()})


@st.composite
def broken_pods(draw: st.DrawFn) -> dict[str, Any]:
    """A pod of tests/pods.py with a container that breaks what it can, in any of the lists, and a spec that does."""
    bad = container(ports=draw(PORTS), livenessProbe=draw(PROBES))
    bad["securityContext"] = draw(st.none() | any_of(CONTEXTS))
    pod = with_container_in(draw(st.sampled_from(LISTS)), bad)
    own = draw(any_of(SPEC))
    context = own.pop("securityContext", None)
    pod["spec"] |= own
    pod["spec"]["securityContext"] = draw(
        st.sampled_from([pod["spec"]["securityContext"], None, {"runAsNonRoot": False, "runAsUser": 0}, context])
    )
    return pod


LEVELS = st.fixed_dictionaries(
    {
        "level": st.sampled_from(["restricted", "baseline"]),
        "version": st.sampled_from(["v1.0", "v1.24", "v1.34", "latest"]),
    }
)
STANDARDS = st.fixed_dictionaries({"podSecurityStandard": LEVELS}, optional={"defaults": defaults(safe=True)})
WITHOUT_DEFAULTS = SPECS.map(lambda spec: {key: value for key, value in spec.items() if key != "defaults"})


@given(broken_pods() | pods(), STANDARDS | WITHOUT_DEFAULTS)
def test_after_fix_all_no_finding_with_a_change_remains(pod: dict[str, Any], spec: Any) -> None:
    policy = msgspec.convert({"metadata": {"name": "p"}, "spec": spec}, ClusterPodPolicy)
    checker = Checker(PolicySet.of([policy]), Namespaces(), "shop")
    template = {"metadata": pod["metadata"], "spec": pod["spec"]}
    for manifest in (
        {"apiVersion": "v1", "kind": "Pod", **template},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": template}},
    ):
        (source,) = sources_of(write_document(manifest), "f")
        fixed = fix_source(source, checker, apply_changes=True)
        (again,) = sources_of(fixed.text, "f")
        (checked,) = checker.check(again).checked
        unfixed = [located.violation for located in checked.violations]
        assert [violation.finding for violation in unfixed if violation.finding.change is not None] == []
        assert unfixed == [located.violation for result in fixed.unfixed for located in result.violations]
        assert fix_source(again, checker, apply_changes=True).text == again.text
        denied = any(violation.enforcement == Enforcement.DENY for violation in unfixed)
        assert any(result.is_denied for result in fixed.unfixed) is denied


@pytest.mark.parametrize("kind", LISTS)
def test_a_privileged_container_of_each_list_is_fixed(kind: str) -> None:
    pod = with_container_in(kind, container(securityContext={"privileged": True}))
    result = sekisho("fix", "--all", "--standard", "restricted", "-", text=write_document(pod))
    assert result.exit_code == 0
    assert sekisho("check", "--standard", "restricted", "-", text=result.stdout).exit_code == 0
    assert sekisho("check", "--standard", "restricted", "-", text=write_document(pod)).exit_code == 1


def test_findings_of_conflicting_policies_remain_and_are_reported(tmp_path: Path) -> None:
    policies = [
        policy_file(tmp_path, name, controls={"seccompProfile": {"allowedTypes": [kind], "required": True}})
        for name, kind in (("one", "RuntimeDefault"), ("two", "Unconfined"))
    ]
    text = write_document(restricted_pod())
    result = sekisho("fix", "--all", "-p", policies[0], "-p", policies[1], "-", text=text)
    assert (result.exit_code, "for seccomp" in result.stderr) == (1, True)
    assert sekisho("fix", "--all", "-p", policies[0], "-", text=text).exit_code == 0


@pytest.mark.parametrize(("levels", "code"), [(390, 2), (30, 0)])
def test_too_deep_nesting_for_writing_again_is_reported(levels: int, code: int) -> None:
    text = f"x: &host true\n{BAD_POD}".replace("hostPID: true", "hostPID: *host")
    text = text.replace("}\n", f", x: {'[' * levels}{']' * levels}}}\n").replace("{name: bad, x", "{name: bad, y")
    result = sekisho("fix", "--all", "--standard", "baseline", "-", text=text)
    assert (result.exit_code, "is nested too deeply to be changed" in result.stderr) == (code, bool(code))
