"""AdmissionReviews in, and the answers to them."""

import base64
import json
from typing import Any

import jsonpatch
import msgspec
import pytest

from sekisho import admission
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.pods import container, restricted_pod
from tests.reviews import DEPLOYMENT, DEPLOYMENTS, UID
from tests.reviews import review_body as review


def policies(**specs: Any) -> PolicySet:
    return PolicySet.of(
        msgspec.convert({"metadata": {"name": name}, "spec": spec}, ClusterPodPolicy) for name, spec in specs.items()
    )


RESTRICTED = policies(
    restricted={"podSecurityStandard": {"level": "restricted"}, "defaults": {"profile": "restricted"}}
)


def validated(body: bytes, policy_set: PolicySet = RESTRICTED) -> dict[str, Any]:
    answer = json.loads(admission.validate(admission.decode(body), policy_set, {}).response)
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: dict[str, Any] = answer["response"]
    return response


def mutated(pod: dict[str, Any], policy_set: PolicySet = RESTRICTED, **request: Any) -> dict[str, Any] | None:
    """The pod after the mutating webhook, None where it sends no patch."""
    answer = json.loads(admission.mutate(admission.decode(review(pod, **request)), policy_set, {}).response)["response"]
    assert answer["allowed"], answer
    if "patch" not in answer:
        return None
    assert answer["patchType"] == "JSONPatch"
    patched: dict[str, Any] = jsonpatch.apply_patch(pod, json.loads(base64.b64decode(answer["patch"])))
    return patched


def test_good_pod_is_allowed_without_warnings() -> None:
    response = validated(review(restricted_pod()))
    assert response == {"uid": UID, "allowed": True}


def test_bad_pod_is_denied_with_field_value_allowed_and_fix() -> None:
    response = validated(review(restricted_pod(container(securityContext={"privileged": True}))))
    assert response["allowed"] is False
    assert response["status"]["code"] == 403
    assert response["status"]["reason"] == "Forbidden"
    assert response["status"]["message"] == (
        'policy "restricted" denies container "app" for privileged mode: '
        "securityContext.privileged is true "
        "(allowed: unset or false). Fix: remove it or set it to false. [privileged]"
    )
    (cause,) = response["status"]["details"]["causes"]
    assert cause["field"] == "spec.containers[0].securityContext.privileged"
    assert cause["reason"] == "ViolatesPrivileged"


def test_first_line_stands_alone_and_names_no_pod() -> None:
    pod = restricted_pod(container("a", securityContext={"privileged": True}), container("b", image="x"), hostPID=True)
    pod["metadata"] = {"generateName": "web-5d4f8-", "name": "web-5d4f8-x7x2v"}
    message = validated(review(pod))["status"]["message"]
    first, *others = message.splitlines()
    assert first.startswith('policy "restricted" denies container "a" for privileged mode: securityContext.')
    assert first.endswith("(1 more)")
    assert len(others) == 1
    assert "web-5d4f8" not in message


def test_same_problem_in_several_containers_is_one_line() -> None:
    pod = restricted_pod(*(container(n, securityContext={"capabilities": {}}) for n in "abc"))
    response = validated(review(pod))
    (line,) = response["status"]["message"].splitlines()
    assert 'denies containers "a", "b" and "c" for unrestricted capabilities: ' in line
    assert "securityContext.capabilities.drop is unset" in line
    assert len(response["status"]["details"]["causes"]) == 3


def test_many_findings_are_capped() -> None:
    pod = restricted_pod(*(container(f"c{i}", image=f"bad image {i}" + "x" * 500) for i in range(300)))
    registries = policies(p={"controls": {"images": {"trustedRegistries": ["trusted.io"]}}})
    response = validated(review(pod), registries)
    assert len(response["status"]["message"]) < 10_000
    assert len(response["status"]["details"]["causes"]) == 100
    assert response["status"]["message"].splitlines()[-1] == "280 more violations; `sekisho check` lists them all"


def test_violations_that_no_line_shows_are_counted_one_by_one() -> None:
    ports = policies(p={"controls": {"hostPorts": {}}})
    for lines, last in ((21, "2 more violations"), (20, 'policy "p" denies containers "a" and "b"')):
        listed = [{"containerPort": 1, "hostPort": 80 + number} for number in range(lines)]
        pod = restricted_pod(container("a", ports=listed), container("b", ports=listed))
        first, *_, shown = validated(review(pod), ports)["status"]["message"].splitlines()
        assert first.endswith(f"[hostPorts] ({2 * lines - 2} more)")
        assert shown.startswith(last)


def test_findings_of_several_policies_name_them_all_in_order() -> None:
    both = policies(b={"controls": {"privileged": {}}}, a={"controls": {"privileged": {}}})
    message = validated(review(restricted_pod(container(securityContext={"privileged": True}))), both)["status"][
        "message"
    ]
    assert message.startswith('policies "a" and "b" deny container "app"')


def test_lines_of_the_policies_follow_the_fix_in_denial_causes_and_warnings() -> None:
    line, other = "See https://rules.example.com.", "Ask the platform team."
    spec: dict[str, Any] = {"controls": {"privileged": {}}}
    denied = review(restricted_pod(container(securityContext={"privileged": True})))
    both = policies(a=spec, b=spec | {"message": line}, c=spec | {"message": other}, d=spec | {"message": line})
    status = validated(denied, both)["status"]
    assert status["message"].endswith(f"Fix: remove it or set it to false. [privileged] {line} {other}")
    assert [cause["message"] for cause in status["details"]["causes"]] == [status["message"]]
    (warning,) = validated(denied, policies(a=spec | {"message": line, "enforcement": "Warn"}))["warnings"]
    assert warning.endswith(f"[privileged] {line}")


def test_lines_of_many_policies_are_bounded() -> None:
    spec: dict[str, Any] = {"controls": {"privileged": {}}}
    many = policies(**{f"p{number}": spec | {"message": f"{number}" * 256} for number in range(9)})
    status = validated(review(restricted_pod(container(securityContext={"privileged": True}))), many)["status"]
    assert len(status["message"]) < 1200


def test_what_a_policy_allows_is_shown_in_part_where_it_is_long() -> None:
    allowed = [{"key": f"key-{number}", "values": ["v" * 200] * 60} for number in range(30)]
    pod = restricted_pod(nodeSelector={f"other-{number}": "x" * 60 for number in range(20)})
    status = validated(review(pod), policies(nodes={"controls": {"nodeSelectors": {"allowed": allowed}}}))["status"]
    first, *_ = status["message"].splitlines()
    assert len(first) < 1500
    assert "(allowed: key-0=vvv" in first
    assert first.endswith("…). Fix: remove it. [nodeSelectors] (19 more)")


def test_selections_of_many_values_are_distinguished() -> None:
    values = [f"{number:04}" for number in range(1000)]
    limited = policies(nodes={"controls": {"nodeSelectors": {"denied": ["team"]}}})

    def gated(values: list[str]) -> dict[str, Any]:
        term = {"matchExpressions": [{"key": "team", "operator": "In", "values": values}]}
        terms = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        return restricted_pod(affinity={"nodeAffinity": terms})

    pod = gated(values)
    assert validated(review(pod, operation="UPDATE", oldObject=pod), limited)["allowed"]
    changed = review(gated([*values[:-1], "9999"]), operation="UPDATE", oldObject=pod)
    assert not validated(changed, limited)["allowed"]


def test_changed_line_of_a_policy_is_shown_at_once() -> None:
    spec: dict[str, Any] = {"controls": {"privileged": {}}}
    denied = review(restricted_pod(container(securityContext={"privileged": True})))
    for line in ("Ask a.", "Ask b."):
        assert validated(denied, policies(a=spec | {"message": line}))["status"]["message"].endswith(line)


def test_many_policies_are_named_in_part_and_counted() -> None:
    named: dict[str, dict[str, Any]] = {f"p{number}": {"controls": {"privileged": {}}} for number in range(6)}
    bad = restricted_pod(container(securityContext={"privileged": True}))
    said = validated(review(bad), policies(**named))["status"]["message"]
    assert said.startswith('policies "p0", "p1", "p2", "p3" and 2 more deny container "app" for privileged mode: ')
    named.popitem()
    said = validated(review(bad), policies(**named))["status"]["message"]
    assert said.startswith('policies "p0", "p1", "p2", "p3" and "p4" deny container "app" for privileged mode: ')


@pytest.mark.parametrize("operation", ["DELETE", "CONNECT"])
def test_requests_without_a_pod_pass(operation: str) -> None:
    options = {"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh"], "container": "app"}
    assert validated(review(None if operation == "DELETE" else options, operation=operation))["allowed"]


@pytest.mark.parametrize(
    ("subresource", "judged"), [("status", False), ("binding", False), ("resize", True), ("new", True)]
)
def test_subresource_that_can_change_what_runs_is_judged(subresource: str, *, judged: bool) -> None:
    bad = restricted_pod(container(securityContext={"privileged": True}))
    body = review(bad, restricted_pod(), "UPDATE", subResource=subresource)
    assert validated(body)["allowed"] is not judged
    assert validated(review(restricted_pod(), restricted_pod(), "UPDATE", subResource=subresource))["allowed"]


def test_update_of_a_pod_that_violates_already_may_change_its_labels() -> None:
    old = restricted_pod(container(securityContext={"privileged": True}))
    new = old | {"metadata": {"name": "pod", "labels": {"a": "b"}}}
    assert validated(review(new, old, "UPDATE"))["allowed"]


def test_update_that_adds_a_container_has_the_pod_judged_whole() -> None:
    old = restricted_pod(container(securityContext={"privileged": True}))
    new = restricted_pod(
        container(securityContext={"privileged": True}), container("b", securityContext={"privileged": True})
    )
    response = validated(review(new, old, "UPDATE"))
    assert [cause["field"] for cause in response["status"]["details"]["causes"]] == [
        "spec.containers[0].securityContext.privileged",
        "spec.containers[1].securityContext.privileged",
    ]


def test_verdict_is_on_the_new_object() -> None:
    bad, good = restricted_pod(container(securityContext={"privileged": True})), restricted_pod()
    assert not validated(review(bad, good, "UPDATE"))["allowed"]
    assert validated(review(good, bad, "UPDATE"))["allowed"]


def test_image_of_a_terminating_pod_is_still_judged() -> None:
    trusted = policies(p={"controls": {"images": {"trustedRegistries": ["trusted.io"]}}})
    old = restricted_pod()
    old["metadata"] = {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"]}
    new = old | {"spec": restricted_pod(container(image="evil.io/x"))["spec"]}
    assert not validated(review(new, old, "UPDATE"), trusted)["allowed"]
    good = old | {"spec": restricted_pod(container(image="trusted.io/y"))["spec"]}
    assert validated(review(good, old, "UPDATE"), trusted)["allowed"]


def test_namespace_of_the_request_counts_not_the_one_in_the_object() -> None:
    scoped = policies(p={"match": {"namespaces": ["shop"]}, "controls": {"privileged": {}}})
    bad = restricted_pod(container(securityContext={"privileged": True}))
    bad["metadata"]["namespace"] = "elsewhere"
    assert not validated(review(bad), scoped)["allowed"]
    assert validated(review(bad, namespace="elsewhere"), scoped)["allowed"]


def test_pod_without_a_namespace_is_denied() -> None:
    response = validated(review(restricted_pod(), namespace=""))
    assert not response["allowed"]
    assert "the request names no namespace" in response["status"]["message"]
    assert validated(review(restricted_pod(), namespace="shop"))["allowed"]


def test_warn_and_audit_admit_and_say_so() -> None:
    bad = review(restricted_pod(container(securityContext={"privileged": True})))
    warned = validated(bad, policies(p={"enforcement": "Warn", "controls": {"privileged": {}}}))
    assert warned["allowed"]
    assert warned["warnings"][0].startswith('policy "p" warns about container "app"')
    audited = validated(bad, policies(p={"enforcement": "Audit", "controls": {"privileged": {}}}))
    assert audited["allowed"]
    assert "warnings" not in audited
    assert audited["auditAnnotations"]["violations"].startswith('policy "p" audits container "app"')


def deployment(template: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": template}}


def test_workload_whose_pods_would_be_denied_is_warned_about() -> None:
    request: dict[str, Any] = {
        "kind": DEPLOYMENT,
        "resource": DEPLOYMENTS,
    }
    bad = deployment({"spec": {"containers": [container(securityContext={"privileged": True})]}})
    response = validated(review(bad, **request))
    assert response["allowed"]
    assert response["warnings"][0].startswith('pods of this Deployment: policy "restricted" denies container "app"')
    plain = deployment({"spec": {"containers": [{"name": "app", "image": "x"}]}})
    assert "warnings" not in validated(review(plain, **request))


def test_warnings_about_a_workload_say_what_its_pods_would_get() -> None:
    request: dict[str, Any] = {
        "kind": DEPLOYMENT,
        "resource": DEPLOYMENTS,
    }
    bad = deployment({"spec": {"containers": [container(securityContext={"privileged": True})]}})
    privileged: dict[str, Any] = {"controls": {"privileged": {}}}
    both = policies(soft={"enforcement": "Warn", **privileged}, hard=privileged)
    warnings = validated(review(bad, **request), both)["warnings"]
    assert [line.partition(" container")[0] for line in warnings] == [
        'pods of this Deployment: policy "hard" denies',
        'pods of this Deployment: policy "soft" warns about',
    ]


def test_warnings_over_the_limit_are_counted() -> None:
    many = [
        container(f"c{number}", securityContext={"privileged": True}, ports=[{"hostPort": 80 + number}])
        for number in range(12)
    ]
    request: dict[str, Any] = {
        "kind": DEPLOYMENT,
        "resource": DEPLOYMENTS,
    }
    ports = policies(ports={"controls": {"hostPorts": {}}})
    warnings = validated(review(deployment({"spec": {"containers": many}}), **request), ports)["warnings"]
    assert warnings[-1] == "pods of this Deployment: 4 more violations; `sekisho check` lists them all"


def test_object_that_is_neither_pod_nor_template_gets_a_clear_denial() -> None:
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    body = review(
        {"metadata": {"name": "x"}}, kind=kind, resource={"group": "", "version": "v1", "resource": "configmaps"}
    )
    response = validated(body)
    assert not response["allowed"]
    assert "judges pods and pod templates, not ConfigMap" in response["status"]["message"]


MALFORMED = [b"", b"{}", b"[]", b"null", b"not json", b'{"request":{}}', b'{"kind":"AdmissionReview"}', b"\xff\xfe{}"]


@pytest.mark.parametrize("body", MALFORMED)
def test_malformed_review_is_rejected(body: bytes) -> None:
    with pytest.raises(admission.MalformedReviewError) as raised:
        admission.decode(body)
    assert "\n" not in str(raised.value)


def test_review_of_another_version_is_rejected() -> None:
    with pytest.raises(admission.MalformedReviewError, match=r"admission\.k8s\.io/v1"):
        admission.decode(review({}).replace(b"admission.k8s.io/v1", b"admission.k8s.io/v2"))


UNREADABLE = [
    {"spec": {"securityContext": {"runAsUser": "0"}}},
    {"spec": {"securityContext": {"runAsUser": True}}},
    {"spec": {"containers": [{"securityContext": {"privileged": "false"}}]}},
    {"spec": {"containers": "app"}},
    {"spec": {"hostNetwork": 1}},
]


@pytest.mark.parametrize("obj", UNREADABLE)
def test_object_that_cannot_be_read_is_denied_with_the_field(obj: Any) -> None:
    response = validated(review(obj))
    assert not response["allowed"]
    assert "$.request.object.spec" in response["status"]["message"]


def test_depth_numbers_and_surrogates_beyond_bounds_are_denied() -> None:
    deep = json.dumps(restricted_pod()).replace('"kind"', '"x": ' + "[" * 1500 + "]" * 1500 + ', "kind"')
    huge = json.dumps(restricted_pod()).replace('"kind"', '"spec2": {"runAsUser": ' + "9" * 5000 + '}, "kind"')
    long_number = json.dumps(restricted_pod(securityContext={"runAsUser": 1})).replace(
        '"runAsUser": 1', '"runAsUser": ' + "9" * 5000
    )
    surrogate = json.dumps(restricted_pod(container(image="x\ud800"))).encode()
    template = review({"a": 1})
    for obj in (deep.encode(), huge.encode(), long_number.encode(), surrogate):
        response = validated(template.replace(b'{"a":1}', obj))
        assert response["uid"] == UID
    assert not validated(template.replace(b'{"a":1}', long_number.encode()))["allowed"]


@pytest.mark.parametrize("number", ["1e3", "NaN", "1.5", "true", '"1"'])
def test_number_of_another_type_is_denied(number: str) -> None:
    body = review({"spec": {"securityContext": {"runAsUser": 424242}}}).replace(b"424242", number.encode())
    try:
        assert not validated(body)["allowed"]
    except admission.MalformedReviewError:
        assert number == "NaN"


def test_no_value_of_the_environment_is_in_an_answer() -> None:
    secret = "hunter2-do-not-print"
    bad = container(securityContext={"privileged": True}, env=[{"name": "PASSWORD", "value": secret}], args=[secret])
    outcome = admission.validate(admission.decode(review(restricted_pod(bad))), RESTRICTED, {})
    assert secret.encode() not in outcome.response
    assert secret not in repr(outcome)


def test_plain_pod_gets_defaults_and_is_then_admitted() -> None:
    plain = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "app", "image": "x"}]}}
    with_defaults = mutated(plain)
    assert with_defaults is not None
    assert with_defaults["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert with_defaults["spec"]["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert json.loads(with_defaults["metadata"]["annotations"]["sekisho.dev/defaulted"]) == {
        "restricted": [
            "spec.securityContext.runAsNonRoot",
            "spec.securityContext.seccompProfile",
            "spec.containers[0].securityContext.allowPrivilegeEscalation",
            "spec.containers[0].securityContext.capabilities",
        ]
    }
    assert validated(review(with_defaults))["allowed"]
    assert mutated(with_defaults) is None


@pytest.mark.parametrize("where", ["initContainers", "containers"])
def test_every_kind_of_container_gets_defaults(where: str) -> None:
    pod = restricted_pod()
    pod["spec"][where] = [*pod["spec"].get(where, []), {"name": "new", "image": "x", "restartPolicy": "Always"}]
    with_defaults = mutated(pod)
    assert with_defaults is not None
    assert with_defaults["spec"][where][-1]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


EXPLICIT = [
    {"privileged": True},
    {"runAsNonRoot": False},
    {"runAsUser": 0},
    {"allowPrivilegeEscalation": True},
    {"seccompProfile": {"type": "Unconfined"}},
    {"capabilities": {"add": ["SYS_ADMIN"]}},
    {"capabilities": {"add": ["CAP_SYS_ADMIN"]}},
]


@pytest.mark.parametrize("context", EXPLICIT)
def test_explicit_value_stays_and_is_judged(context: dict[str, Any]) -> None:
    plain = {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "app", "image": "x", "securityContext": context}]},
    }
    with_defaults = mutated(plain)
    assert with_defaults is not None
    own = with_defaults["spec"]["containers"][0]["securityContext"]
    for key, value in context.items():
        assert own[key] == (value | {"drop": ["ALL"]} if key == "capabilities" else value)
    assert not validated(review(with_defaults))["allowed"]


def test_pod_level_zero_and_false_stay() -> None:
    plain = {
        "metadata": {"name": "p"},
        "spec": {
            "securityContext": {"runAsUser": 0, "runAsNonRoot": False},
            "containers": [{"name": "a", "image": "x"}],
        },
    }
    with_defaults = mutated(plain)
    assert with_defaults is not None
    assert with_defaults["spec"]["securityContext"]["runAsUser"] == 0
    assert with_defaults["spec"]["securityContext"]["runAsNonRoot"] is False
    assert not validated(review(with_defaults))["allowed"]


@pytest.mark.parametrize("context", [{"privileged": True}, {"capabilities": {"add": ["SYS_ADMIN"]}}])
def test_no_default_is_applied_that_the_api_server_would_reject(context: dict[str, Any]) -> None:
    plain = {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "app", "image": "x", "securityContext": context}]},
    }
    with_defaults = mutated(plain)
    assert with_defaults is not None
    assert "allowPrivilegeEscalation" not in with_defaults["spec"]["containers"][0]["securityContext"]


def test_run_as_non_root_is_not_set_for_a_container_that_sets_root() -> None:
    root = {"name": "root", "image": "x", "securityContext": {"runAsUser": 0}}
    plain = {"metadata": {"name": "p"}, "spec": {"containers": [root, {"name": "app", "image": "x"}]}}
    with_defaults = mutated(plain)
    assert with_defaults is not None
    assert "runAsNonRoot" not in with_defaults["spec"]["securityContext"]
    assert "runAsNonRoot" not in with_defaults["spec"]["containers"][0]["securityContext"]
    assert with_defaults["spec"]["containers"][1]["securityContext"]["runAsNonRoot"] is True


def test_pod_in_a_user_namespace_may_stay_root() -> None:
    plain = {"metadata": {"name": "p"}, "spec": {"hostUsers": False, "containers": [{"name": "a", "image": "x"}]}}
    with_defaults = mutated(plain)
    assert with_defaults is not None
    assert "runAsNonRoot" not in with_defaults["spec"]["securityContext"]
    assert validated(review(with_defaults))["allowed"]


def test_windows_pod_gets_no_linux_field() -> None:
    plain = {
        "metadata": {"name": "p"},
        "spec": {"os": {"name": "windows"}, "containers": [{"name": "a", "image": "x"}]},
    }
    with_defaults = mutated(plain)
    assert with_defaults is not None
    assert with_defaults["spec"]["securityContext"] == {"runAsNonRoot": True}
    assert "securityContext" not in with_defaults["spec"]["containers"][0]
    assert validated(review(with_defaults))["allowed"]


def test_default_capabilities_to_drop_are_added_to_the_present_ones() -> None:
    pod = restricted_pod(
        container(securityContext={"capabilities": {"drop": ["NET_RAW"], "add": ["NET_BIND_SERVICE"]}})
    )
    with_defaults = mutated(pod)
    assert with_defaults is not None
    assert with_defaults["spec"]["containers"][0]["securityContext"]["capabilities"] == {
        "drop": ["NET_RAW", "ALL"],
        "add": ["NET_BIND_SERVICE"],
    }


def test_only_the_new_ephemeral_container_gets_defaults() -> None:
    old = restricted_pod(ephemeralContainers=[{"name": "old", "image": "x"}])
    new = restricted_pod(ephemeralContainers=[{"name": "old", "image": "x"}, {"name": "new", "image": "x"}])
    with_defaults = mutated(new, old=old, operation="UPDATE", subResource="ephemeralcontainers")
    assert with_defaults is not None
    assert "securityContext" not in with_defaults["spec"]["ephemeralContainers"][0]
    assert with_defaults["spec"]["ephemeralContainers"][1]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert with_defaults["metadata"] == new["metadata"]


def test_ephemeral_container_gets_the_defaults_that_the_pod_does_not_set() -> None:
    old = {"metadata": {"name": "p"}, "spec": {"containers": [container()]}}
    new = {
        "metadata": {"name": "p"},
        "spec": {"containers": [container()], "ephemeralContainers": [{"name": "d", "image": "x"}]},
    }
    with_defaults = mutated(new, old=old, operation="UPDATE", subResource="ephemeralcontainers")
    assert with_defaults is not None
    assert with_defaults["spec"]["ephemeralContainers"][0]["securityContext"]["runAsNonRoot"] is True
    assert with_defaults["spec"]["ephemeralContainers"][0]["securityContext"]["seccompProfile"] == {
        "type": "RuntimeDefault"
    }
    assert "securityContext" not in with_defaults["spec"]


@pytest.mark.parametrize("operation", ["UPDATE", "DELETE"])
def test_running_pods_are_not_mutated(operation: str) -> None:
    plain = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "app", "image": "x"}]}}
    assert mutated(plain, old=plain, operation=operation) is None


def test_only_genuine_mirror_pods_are_left_alone() -> None:
    mirror = {
        "metadata": {"name": "p", "annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"containers": [{"name": "app", "image": "x"}]},
    }
    node = {"username": "system:node:n1", "groups": ["system:nodes", "system:authenticated"]}
    assert mutated(mirror, userInfo=node) is None
    assert mutated(mirror, userInfo={"username": "alice", "groups": ["system:authenticated"]}) is not None
    assert not validated(review(mirror, userInfo={"username": "alice"}))["allowed"]


def test_forged_or_broken_annotation_of_defaults_is_replaced() -> None:
    plain = {
        "metadata": {"name": "p", "annotations": {"sekisho.dev/defaulted": "[" * 5000}},
        "spec": {"containers": [{"name": "app", "image": "x"}]},
    }
    with_defaults = mutated(plain)
    assert with_defaults is not None
    assert list(json.loads(with_defaults["metadata"]["annotations"]["sekisho.dev/defaulted"])) == ["restricted"]


def test_explicit_defaults_override_the_profile() -> None:
    own = policies(
        p={
            "defaults": {
                "profile": "restricted",
                "pod": {"securityContext": {"fsGroup": 2000, "runAsUser": 1000}, "automountServiceAccountToken": False},
                "container": {
                    "securityContext": {"readOnlyRootFilesystem": True, "capabilities": {"drop": ["NET_RAW"]}}
                },
            }
        }
    )
    with_defaults = mutated({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}, own)
    assert with_defaults is not None
    assert with_defaults["spec"]["automountServiceAccountToken"] is False
    assert with_defaults["spec"]["securityContext"]["fsGroup"] == 2000
    assert with_defaults["spec"]["securityContext"]["runAsUser"] == 1000
    assert with_defaults["spec"]["containers"][0]["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["NET_RAW"]},
        "allowPrivilegeEscalation": False,
    }


def test_baseline_profile_sets_the_seccomp_profile_only() -> None:
    own = policies(p={"defaults": {"profile": "baseline"}})
    with_defaults = mutated({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}, own)
    assert with_defaults is not None
    assert with_defaults["spec"]["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert "securityContext" not in with_defaults["spec"]["containers"][0]


def test_excluded_subject_may_create_pods_but_its_deployment_is_still_judged() -> None:
    excluding = policies(p={"match": {"excludeSubjects": {"users": ["alice"]}}, "controls": {"privileged": {}}})
    bad = restricted_pod(container(securityContext={"privileged": True}))
    assert validated(review(bad), excluding)["allowed"]
    assert not validated(review(bad, userInfo={"username": "alice2"}), excluding)["allowed"]
    deployment = {"metadata": {"name": "web"}, "spec": {"template": bad}}
    assert validated(review(deployment, kind=DEPLOYMENT, resource=DEPLOYMENTS), excluding)["warnings"]


def test_excluded_subject_gets_no_defaults() -> None:
    excluding = policies(p={"match": {"excludeSubjects": {"groups": ["ops"]}}, "defaults": {"profile": "restricted"}})
    plain = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    assert mutated(plain, excluding, userInfo={"username": "alice", "groups": ["ops"]}) is None
    assert mutated(plain, excluding, userInfo={"username": "alice", "groups": ["ops2"]}) is not None


IN_OBJECTS = [
    (DEPLOYMENT, DEPLOYMENTS, lambda template: {"spec": {"template": template}}, "spec.template."),
    (
        {"group": "batch", "version": "v1", "kind": "CronJob"},
        {"group": "batch", "version": "v1", "resource": "cronjobs"},
        lambda template: {"spec": {"jobTemplate": {"spec": {"template": template}}}},
        "spec.jobTemplate.spec.template.",
    ),
]


@pytest.mark.parametrize(("kind", "resource", "wrapped", "above"), IN_OBJECTS)
def test_paths_of_a_template_are_those_that_its_user_writes(
    kind: dict[str, str], resource: dict[str, str], wrapped: Any, above: str
) -> None:
    denies = policies(p={"templates": "Deny", "podSecurityStandard": {"level": "restricted"}})
    template = restricted_pod(container(securityContext={"privileged": True}), hostPID=True)
    del template["spec"]["securityContext"]["runAsNonRoot"]
    response = validated(review(wrapped(template), kind=kind, resource=resource), denies)
    assert not response["allowed"]
    message, causes = response["status"]["message"], response["status"]["details"]["causes"]
    assert 'container "app" for privileged mode: securityContext.privileged is true' in message
    assert f": {above}spec.hostPID is true" in message
    assert f"Fix: set {above}spec.securityContext.runAsNonRoot to true." in message
    assert f"{above}spec.containers[0].securityContext.privileged" in [cause["field"] for cause in causes]
    assert validated(review(wrapped(restricted_pod()), kind=kind, resource=resource), denies)["allowed"]


def test_fix_of_a_controllers_pod_names_the_template_that_its_user_writes() -> None:
    pod = restricted_pod(hostPID=True)
    del pod["spec"]["securityContext"]["runAsNonRoot"]
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8", "uid": "u", "controller": True}
    pod["metadata"]["ownerReferences"] = [owner]
    message = validated(review(pod))["status"]["message"]
    assert ": spec.hostPID is true" in message
    assert "Fix: set spec.template.spec.securityContext.runAsNonRoot to true." in message
    owner |= {"apiVersion": "batch/v1", "kind": "Job", "name": "report"}
    assert "Fix: set spec.template.spec.securityContext" in validated(review(pod))["status"]["message"]
    owner["name"] = "report-29400960"
    assert "Fix: set spec.jobTemplate.spec.template.spec.security" in validated(review(pod))["status"]["message"]
    owner["kind"] = "Workflow"
    assert "Fix: set spec.securityContext.runAsNonRoot to true." in validated(review(pod))["status"]["message"]


def test_fix_of_a_job_made_from_a_cron_job_names_the_path_in_the_cron_job() -> None:
    denies = policies(p={"templates": "Deny", "podSecurityStandard": {"level": "restricted"}})
    template = restricted_pod(hostPID=True)
    del template["spec"]["securityContext"]["runAsNonRoot"]
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "report", "uid": "u", "controller": True}
    job: dict[str, Any] = {"metadata": {"name": "by-hand", "ownerReferences": [owner]}, "spec": {"template": template}}
    request: dict[str, Any] = {
        "kind": {"group": "batch", "version": "v1", "kind": "Job"},
        "resource": {"group": "batch", "version": "v1", "resource": "jobs"},
    }
    message = validated(review(job, **request), denies)["status"]["message"]
    assert ": spec.template.spec.hostPID is true" in message
    assert "Fix: set spec.jobTemplate.spec.template.spec.securityContext.runAsNonRoot to true." in message
    del job["metadata"]["ownerReferences"]
    message = validated(review(job, **request), denies)["status"]["message"]
    assert "Fix: set spec.template.spec.securityContext.runAsNonRoot to true." in message


def test_value_in_a_fix_is_not_taken_for_a_path() -> None:
    trusted = policies(p={"templates": "Deny", "controls": {"images": {"trustedRegistries": ["trusted.io"]}}})
    template = restricted_pod(container(image="spec.securityContext"), container("b", image="spec.os/x"))
    response = validated(review(deployment(template), kind=DEPLOYMENT, resource=DEPLOYMENTS), trusted)
    assert "docker.io/library/spec.template" not in response["status"]["message"]
    assert "spec.template.spec.os" not in response["status"]["message"]


def test_paths_of_a_pod_are_from_its_root() -> None:
    pod = restricted_pod(hostPID=True)
    del pod["spec"]["securityContext"]["runAsNonRoot"]
    message = validated(review(pod))["status"]["message"]
    assert ": spec.hostPID is true" in message
    assert "Fix: set spec.securityContext.runAsNonRoot to true." in message
