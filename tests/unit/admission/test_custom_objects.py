"""Reviews of objects of custom kinds: judged as Deployments are, with one answer for all their pods."""

import json
from typing import Any

import msgspec
import pytest

from sekisho import admission
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.reviews import review_body

BASELINE = {"podSecurityStandard": {"level": "baseline"}, "templates": "Deny"}
GOOD: dict[str, Any] = {"spec": {"containers": [{"name": "a", "image": "x"}]}}
BAD: dict[str, Any] = {"spec": {"hostPID": True, "containers": [{"name": "a", "image": "x"}]}}


def policies(**spec: Any) -> PolicySet:
    value = {"metadata": {"name": "p"}, "spec": {**BASELINE, **spec}}
    return PolicySet.of([msgspec.convert(value, ClusterPodPolicy)])


def answer(group: str, kind: str, value: Any, old: Any = None, **spec: Any) -> dict[str, Any]:
    """The response to the creation of an object, or to its update from an old one."""
    group_version = {"group": group, "version": "v1", "kind": kind}
    resource = {"group": group, "version": "v1", "resource": f"{kind.lower()}s"}
    value, old = (part if part is None else {"metadata": {"name": "w"}, **part} for part in (value, old))
    body = review_body(value, old, kind=group_version, resource=resource)
    response: dict[str, Any] = json.loads(admission.validate(admission.decode(body), policies(**spec), {}).response)[
        "response"
    ]
    return response


def rollout(template: Any) -> dict[str, Any]:
    return {"spec": {"template": template}}


def test_the_template_of_a_custom_kind_is_judged_as_that_of_a_deployment() -> None:
    denied = answer("argoproj.io", "Rollout", rollout(BAD))
    assert denied["allowed"] is False
    assert denied["status"]["message"] == (
        'policy "p" denies the pod for host namespaces: spec.template.spec.hostPID is true (allowed: unset or false). '
        "Fix: remove it or set it to false. [hostNamespaces]"
    )
    assert denied["status"]["details"]["causes"][0]["field"] == "spec.template.spec.hostPID"
    assert answer("argoproj.io", "Rollout", rollout(GOOD)) == {"uid": denied["uid"], "allowed": True}


def test_a_policy_that_warns_about_templates_warns() -> None:
    warned = answer("argoproj.io", "Rollout", rollout(BAD), templates="Warn")
    assert warned["allowed"] is True
    assert warned["warnings"][0].startswith('pods of this Rollout: policy "p" denies the pod for host namespaces')
    assert answer("argoproj.io", "Rollout", rollout(BAD), templates="Ignore")["allowed"] is True


def test_all_pods_of_an_object_are_judged_and_what_they_share_is_named_once() -> None:
    privileged = {"image": "x", "securityContext": {"privileged": True}}
    spec = {"hostNetwork": True, "templates": [{"container": privileged}, {"script": privileged}]}
    message = answer("argoproj.io", "Workflow", {"spec": spec})["status"]["message"]
    assert message.count("spec.hostNetwork is true") == 1
    for field in ("spec.templates[0].container", "spec.templates[1].script"):
        assert f"{field}.securityContext.privileged is true" in message


def test_only_what_an_update_adds_is_denied() -> None:
    assert answer(
        "argoproj.io", "Rollout", {"metadata": {"name": "w", "labels": {"a": "b"}}, **rollout(BAD)}, rollout(BAD)
    )["allowed"]
    assert not answer("argoproj.io", "Rollout", rollout(BAD), rollout(GOOD))["allowed"]
    assert not answer("argoproj.io", "Rollout", rollout(BAD), rollout("unreadable"))["allowed"]


MALFORMED = [
    ("Rollout", rollout("x"), "spec.template is not a template: it has no spec"),
    ("Rollout", rollout({"spec": {"hostPID": "yes"}}), "spec.template.spec.hostPID: Expected"),
    ("Workflow", {"spec": {"templates": "x"}}, "spec.templates: Expected `array`"),
    ("Workflow", {"spec": {"templates": [{"container": "x"}]}}, "spec.templates[0].container: Expected `object`"),
    ("Rollout", rollout({"spec": {"newContainers": [{"image": "x"}]}}), "spec.template.spec.newContainers may hold"),
    ("Rollout", rollout({"spec": {"containers": [{"name": "a"}] * 513}}), "the pod has 513 containers"),
    ("Workflow", {"spec": {"templates": [{"container": {}}] * 257}}, "it makes 257 pods, more than 256"),
    ("Rollout", {"metadata": {"name": 5}}, "metadata.name"),
]


@pytest.mark.parametrize(("kind", "value", "expected"), MALFORMED, ids=[expected[:40] for _, _, expected in MALFORMED])
def test_what_cannot_be_read_is_denied_with_the_field(kind: str, value: dict[str, Any], expected: str) -> None:
    response = answer("argoproj.io", kind, value)
    assert (response["allowed"], response["status"]["code"]) == (False, 500)
    assert expected in response["status"]["message"]


def test_a_duplicate_key_is_denied() -> None:
    body = review_body(
        {"metadata": {"name": "w"}, "spec": {"template": BAD, "tempIate": GOOD}},
        kind={"group": "argoproj.io", "version": "v1", "kind": "Rollout"},
        resource={"group": "argoproj.io", "version": "v1", "resource": "rollouts"},
    ).replace(b"tempIate", b"template")
    outcome = admission.validate(admission.decode(body), policies(), {})
    assert "duplicate key" in outcome.message


@pytest.mark.parametrize("value", [{}, {"spec": None}, {"spec": {"workloadRef": {"name": "w"}}}])
def test_an_object_without_a_template_is_admitted(value: dict[str, Any]) -> None:
    assert answer("argoproj.io", "Rollout", value)["allowed"] is True


def test_null_is_an_unset_field_as_in_pods() -> None:
    template = {"spec": {"hostPID": None, "volumes": [{"name": "v", "emptyDir": None}], "containers": [{"name": "a"}]}}
    assert answer("argoproj.io", "Rollout", rollout(template))["allowed"] is True


def test_a_kind_that_is_not_known_is_denied_and_says_what_to_do() -> None:
    message = answer("example.com", "Widget", rollout(GOOD))["status"]["message"]
    assert "not Widget.example.com; remove that from the webhook's rules" in message


def test_subresources_and_deletions_are_admitted() -> None:
    kind = {"group": "argoproj.io", "version": "v1", "kind": "Rollout"}
    resource = {"group": "argoproj.io", "version": "v1", "resource": "rollouts"}
    for body in (
        review_body(rollout("x"), subResource="status", kind=kind, resource=resource),
        review_body(None, rollout("x"), operation="DELETE", kind=kind, resource=resource),
    ):
        assert json.loads(admission.validate(admission.decode(body), policies(), {}).response)["response"]["allowed"]
