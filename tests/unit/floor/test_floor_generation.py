"""The floor's objects: what is in them, once and by whom, and what they lack."""

from typing import Any

import pytest

from sekisho.floor import Floor, Missing, floor_of
from sekisho.floor.generation import MAX_VALIDATIONS
from tests.differential.floor import Json, policies_of

BASELINE = {"podSecurityStandard": {"level": "baseline"}}


def policy(name: str, **spec: Any) -> Json:
    return {"kind": "ClusterPodPolicy", "metadata": {"name": name}, "spec": spec}


def waiver(name: str, policies: list[str], controls: list[str], **spec: Any) -> Json:
    fields = {"policies": policies, "controls": controls, "expires": "2027-01-31T00:00:00Z", "reason": "a test"}
    return {"kind": "PolicyWaiver", "metadata": {"name": name}, "spec": fields | spec}


def made(*written: Json) -> Floor:
    return floor_of(policies_of(written), ["kube-system", "sekisho-system"])


def spec_of(floor: Floor) -> Json:
    spec: Json = floor.objects[0]["spec"]
    return spec


def messages(floor: Floor) -> list[str]:
    return [validation["message"] for one in floor.objects[::2] for validation in one["spec"]["validations"]]


def expressions(floor: Floor) -> dict[str, str]:
    return {variable["name"]: variable["expression"] for variable in spec_of(floor)["variables"]}


def test_binding_denies_and_follows_its_policy() -> None:
    floor = made(policy("a", controls={"privileged": {}}))
    rule, binding = floor.objects
    assert (rule["kind"], binding["kind"]) == ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    assert binding["spec"] == {"policyName": rule["metadata"]["name"], "validationActions": ["Deny"]}
    assert (rule["spec"]["failurePolicy"], "paramKind" in rule["spec"]) == ("Fail", False)


def test_namespaces_that_the_webhook_is_not_called_for_are_left_out() -> None:
    [condition] = spec_of(made(policy("a", **BASELINE)))["matchConstraints"]["namespaceSelector"]["matchExpressions"]
    assert condition["values"] == ["kube-system", "sekisho-system"]
    assert (condition["key"], condition["operator"]) == ("kubernetes.io/metadata.name", "NotIn")


def test_identical_controls_of_two_policies_are_judged_once_and_both_are_named() -> None:
    floor = made(policy("a", controls={"privileged": {}}), policy("b", controls={"privileged": {}}))
    assert messages(floor) == ["privileged (policy a, b): securityContext.privileged must be unset or false"]


def test_controls_with_other_parameters_are_judged_apart() -> None:
    allowed = {"hostPorts": {"allowed": [{"min": 80, "max": 80}]}}
    floor = made(policy("a", controls={"hostPorts": {}}), policy("b", controls=allowed))
    assert messages(floor) == [
        "hostPorts (policy a): ports[*].hostPort must be unset",
        "hostPorts (policy b): ports[*].hostPort must be unset or 80",
    ]


def test_a_waiver_of_one_policy_does_not_exempt_from_the_same_control_of_another() -> None:
    policies = [policy(name, controls={"privileged": {}}) for name in "ab"]
    floor = made(*policies, waiver("w", ["a"], ["privileged", "hostPorts"]))
    by_variable = {name: text for name, text in expressions(floor).items() if name.startswith("privileged")}
    waived = {name for name, text in by_variable.items() if "waiver_0" in text}
    assert (len(by_variable), len(waived)) == (2, 1)
    [of_a, _of_b] = spec_of(floor)["validations"]
    assert of_a["message"].startswith("privileged (policy a)")
    assert of_a["expression"] == f"size(variables.{waived.pop()}) == 0"
    assert expressions(floor)["waiver_0"] == (
        'oldObject == null && timestamp(object.metadata.creationTimestamp) < timestamp("2027-01-31T00:00:00Z")'
    )


@pytest.mark.parametrize(
    ("spec", "judged"),
    [
        ({"enforcement": "Deny"}, True),
        ({"enforcement": "Warn"}, False),
        ({"enforcement": "Audit"}, False),
        ({"enforcement": "Warn", "controls": {"privileged": {"enforcement": "Deny"}}}, True),
        ({"enforcement": "Deny", "controls": {"privileged": {"enforcement": "Off"}}}, False),
    ],
)
def test_only_what_a_policy_denies_is_in_the_floor(spec: Json, *, judged: bool) -> None:
    floor = made(policy("a", **BASELINE, **spec))
    assert any(message.startswith("privileged") for message in messages(floor)) is judged


def test_pod_policies_are_not_in_the_floor() -> None:
    own = {"kind": "PodPolicy", "metadata": {"name": "a", "namespace": "shop"}, "spec": BASELINE}
    assert made(own) == Floor((), {}, ())


MISSING = [
    ({"controls": {"runAsNonRoot": {}}}, "runAsNonRoot", "only the webhook"),
    ({"controls": {"seccompProfile": {"required": True}}}, "seccompProfile", "a profile where there is none"),
    ({"controls": {"capabilities": {"requiredDrop": ["ALL"]}}}, "capabilities", "capabilities.drop"),
    ({"controls": {"hostPathVolumes": {"allowed": [{"pathPrefix": "/var"}]}}}, "hostPathVolumes", "as the node"),
    ({"controls": {"images": {"trustedRegistries": ["[::1]:5000"]}}}, "images", "IPv6"),
    ({"controls": {"images": {"catalogs": {"anyOf": ["c"]}}}}, "images", "need look-ups"),
    ({"podSecurityStandard": {"fromNamespaceLabels": True}}, "", "labels"),
    ({"podSecurityStandard": {"level": "baseline", "version": "v1.18"}}, "seccompProfile", "v1.19"),
]


@pytest.mark.parametrize(("spec", "control", "reason"), MISSING)
def test_what_the_floor_lacks_is_said_with_its_reason(spec: Json, control: str, reason: str) -> None:
    lacking = made(policy("a", **spec)).missing
    assert any(one.policy == "a" and one.control == control and reason in one.reason for one in lacking), lacking


def test_baseline_lacks_only_what_keeps_no_pod_off_its_node() -> None:
    floor = made(policy("a", **BASELINE))
    assert {one.control for one in floor.missing} == {"hostProbesAndHostLifecycle", "seLinuxOptions"}
    assert floor.controls["a"][:3] == ("privileged", "hostNamespaces", "hostPathVolumes")


def test_a_waiver_whose_images_the_floor_cannot_compare_keeps_its_control_out() -> None:
    floor = made(
        policy("a", controls={"privileged": {}, "hostNamespaces": {}}),
        waiver("w", ["a"], ["privileged"], match={"images": ["[::1]/x"]}),
    )
    assert floor.controls == {"a": ("hostNamespaces",)}
    assert [one.control for one in floor.missing] == ["privileged"]


def test_variables_that_nothing_reads_are_left_out() -> None:
    floor = made(policy("a", controls={"hostNamespaces": {}}))
    assert list(expressions(floor)) == ["hostNamespaces_0"]
    floor = made(policy("a", controls={"privileged": {}}), waiver("w", ["a"], ["privileged"], match={"names": ["x"]}))
    assert {"owner", "owner_names", "waiver_0"} <= expressions(floor).keys()
    assert "images" not in expressions(floor)


def test_many_rules_are_spread_over_several_objects() -> None:
    policies = [
        policy(f"p{port}", controls={"hostPorts": {"allowed": [{"min": port, "max": port}]}})
        for port in range(1, MAX_VALIDATIONS + 2)
    ]
    floor = made(*policies)
    assert [one["metadata"]["name"] for one in floor.objects] == ["sekisho-floor"] * 2 + ["sekisho-floor-2"] * 2
    assert [len(one["spec"]["validations"]) for one in floor.objects[::2]] == [MAX_VALIDATIONS, 1]


def test_order_of_policies_does_not_change_the_objects() -> None:
    written = [policy("a", **BASELINE), policy("b", **BASELINE), waiver("w", ["a"], ["privileged"])]
    assert made(*written) == made(*reversed(written))


def test_missing_names_policy_control_and_reason() -> None:
    [one] = made(policy("a", controls={"runAsNonRoot": {}})).missing
    assert one == Missing("a", "runAsNonRoot", "only the webhook judges it")
