"""The audit of what runs: two numbers by policy and by owner, and neither says more than is so."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given
from msgspec import Raw

from sekisho.admission import (
    NO_OBJECTS,
    CheckTime,
    Context,
    Form,
    NamespaceObjects,
    UnjudgedError,
    denying,
    evaluate,
)
from sekisho.audit import TEMPLATES, Audit, Owner, Result, Surroundings, promotions_of
from sekisho.pods import OwnerReference, Pod, Workload, stored_controller_of
from sekisho.policies import PolicySet
from tests import strategies
from tests.pods import container
from tests.unit.audit.running import NOW, PLAIN, PRIVILEGED, RESTRICTED, Json, audit, link, pod, policy, workload

DEFAULTING = policy("restricted", podSecurityStandard={"level": "restricted"}, defaults={"profile": "restricted"})
STRICT = policy("strict", podSecurityStandard={"level": "restricted"})
UNPRIVILEGED = policy("unprivileged", controls={"privileged": {}})
WEB = workload("Deployment", "web")
WEB_SET = link("ReplicaSet", "web-5d8", WEB)
BAD = workload("Deployment", "bad", PRIVILEGED)
BAD_SET = link("ReplicaSet", "bad-7f9", BAD)


def counts(result: Result) -> tuple[int, int, int]:
    """The pods, those that violate, and those that would be denied."""
    return result.pods, result.violating, result.denied


def test_pod_that_defaults_correct_violates_and_would_not_be_denied() -> None:
    result = audit([DEFAULTING], [WEB_SET, WEB, pod("web-1", WEB_SET), BAD_SET, BAD, pod("bad-1", BAD_SET, PRIVILEGED)])
    assert counts(result) == (2, 2, 1)
    (first, second) = result.owners
    assert (first.owner.title, first.denied, second.owner.title, second.denied) == (
        "Deployment shop/bad",
        1,
        "Deployment shop/web",
        0,
    )


def test_pod_with_defaults_of_a_policy_that_is_gone_would_be_denied() -> None:
    objects = [WEB_SET, WEB, pod("web-1", WEB_SET, RESTRICTED)]
    assert counts(audit([STRICT], objects)) == (1, 0, 1)
    assert counts(audit([DEFAULTING], objects)) == (1, 0, 0)


def test_violations_have_the_paths_of_the_owner() -> None:
    (bad,) = audit([UNPRIVILEGED], [BAD_SET, BAD, pod("bad-1", BAD_SET, PRIVILEGED)]).owners
    (violation,) = bad.violations
    assert violation.finding.field == "spec.template.spec.containers[0].securityContext.privileged"
    cron = workload("CronJob", "nightly", PRIVILEGED)
    (nightly,) = audit([UNPRIVILEGED], [cron]).owners
    assert nightly.violations[0].finding.field.startswith("spec.jobTemplate.spec.template.spec.containers[0]")


@pytest.mark.parametrize("many", [1, 19_000])
def test_what_is_kept_of_a_violation_does_not_grow_with_its_value(many: int) -> None:
    dropped = [f"NET_{number}" for number in range(many)]
    spec = {"containers": [container(securityContext={"capabilities": {"drop": dropped}})]}
    (owner,) = audit([STRICT], [workload("Deployment", "many", spec)]).owners
    (finding,) = [one.finding for one in owner.violations if one.finding.control == "capabilities"]
    assert finding.value.startswith('["NET_0"')
    assert len(msgspec.json.encode(finding)) < 1024


def test_waiver_that_has_not_ended_exempts_and_one_that_has_does_not() -> None:
    waived: dict[str, Any] = {"policies": ["unprivileged"], "controls": ["privileged"], "reason": "an agent"}
    waived["match"] = {"namespaces": ["shop"]}
    objects = [BAD_SET, BAD, pod("bad-1", BAD_SET, PRIVILEGED)]
    for expires, expected in (("2026-12-01T00:00:00Z", (1, 0, 0)), ("2026-11-01T00:00:00Z", (1, 1, 1))):
        waiver = policy("w", "PolicyWaiver", expires=expires, **waived)
        assert counts(audit([UNPRIVILEGED, waiver], objects)) == expected


def test_pods_that_the_webhook_is_not_sent_never_count() -> None:
    there = [pod("p", spec=PRIVILEGED, namespace="kube-system"), workload("Deployment", "d", PRIVILEGED, "kube-system")]
    assert counts(audit([UNPRIVILEGED], there)) == (0, 0, 0)
    assert not audit([UNPRIVILEGED], there).owners
    assert counts(audit([UNPRIVILEGED], [pod("p", spec=PRIVILEGED)])) == (1, 1, 1)


@pytest.mark.parametrize(
    ("between", "owner", "title"),
    [
        ("ReplicaSet", workload("Deployment", "d", PRIVILEGED), "Deployment shop/d"),
        ("Job", workload("CronJob", "c", PRIVILEGED), "CronJob shop/c"),
        ("ReplicaSet", {"kind": "Rollout", "metadata": {"name": "r", "uid": "r"}}, "Rollout shop/r"),
        (None, workload("StatefulSet", "s", PRIVILEGED), "StatefulSet shop/s"),
        (None, workload("DaemonSet", "ds", PRIVILEGED), "DaemonSet shop/ds"),
        (None, {"kind": "Job", "metadata": {"name": "j", "uid": "j"}}, "Job shop/j"),
        (None, {"kind": "Node", "metadata": {"name": "n", "uid": "n"}}, "Pod shop/bad-1"),
        (None, None, "Pod shop/bad-1"),
    ],
)
def test_owner_is_what_a_user_created(between: str | None, owner: Json | None, title: str) -> None:
    direct = link(between, f"{title[-1]}-1", owner) if between and owner else owner
    objects = [one for one in (direct, owner) if one is not None]
    result = audit([UNPRIVILEGED], [*objects, pod("bad-1", direct, PRIVILEGED), pod("bad-2", direct, PRIVILEGED)])
    assert counts(result) == (2, 2, 2)
    assert result.owners[0].owner.title == title
    assert result.owners[0].violations


def test_violations_are_those_of_all_pods_of_an_owner_without_a_template() -> None:
    rollout = {"kind": "Rollout", "metadata": {"name": "r", "uid": "r"}}
    hosting = {"hostNetwork": True, **PLAIN}
    both = policy("both", controls={"privileged": {}, "hostNamespaces": {}})
    pods = [pod("r-1", rollout, PRIVILEGED), pod("r-2", rollout, hosting), pod("r-3", rollout, PRIVILEGED)]
    (owner,) = audit([both], pods).owners
    assert [one.finding.control for one in owner.violations] == ["privileged", "hostNamespaces"]


def test_owner_in_another_namespace_is_not_believed() -> None:
    forged = pod("p", BAD, PLAIN, namespace="elsewhere")
    result = audit([UNPRIVILEGED], [BAD, forged])
    assert counts(result) == (1, 0, 0)
    assert [(one.owner.title, one.is_idle) for one in result.owners] == [("Deployment shop/bad", True)]


def test_template_without_pods_counts_apart() -> None:
    result = audit([UNPRIVILEGED], [workload("CronJob", "nightly", PRIVILEGED), WEB])
    assert counts(result) == (0, 0, 0)
    impact = result.policies["unprivileged"]
    assert (impact.pods, impact.denied, impact.owners, impact.idle_templates) == (0, 0, 0, 1)
    assert result.idle_templates == 1


@pytest.mark.parametrize("enforcement", ["Warn", "Audit"])
def test_policy_that_does_not_deny_counts_as_if_it_did(enforcement: str) -> None:
    lenient = policy("lenient", enforcement=enforcement, controls={"privileged": {}})
    objects = [BAD_SET, BAD, pod("bad-1", BAD_SET, PRIVILEGED)]
    result = audit([lenient], objects)
    assert (*counts(result), result.denied_now) == (1, 1, 1, 0)
    assert audit([UNPRIVILEGED], objects).denied_now == 1


def test_control_with_an_enforcement_of_its_own_keeps_it() -> None:
    own = policy("own", enforcement="Audit", controls={"privileged": {"enforcement": "Warn"}, "hostNamespaces": {}})
    objects = [BAD_SET, BAD, pod("bad-1", BAD_SET, PRIVILEGED), pod("host", spec={"hostNetwork": True, **PLAIN})]
    impact = audit([own], objects).policies["own"]
    assert (impact.pods, impact.violating, impact.denied) == (2, 2, 1)


def test_pods_of_a_controller_that_a_policy_excludes_do_not_count() -> None:
    excluded = {"serviceAccounts": ["kube-system/daemon-set-controller"]}
    policies = [policy("agents", controls={"privileged": {}}, match={"excludeSubjects": excluded})]
    agent = workload("DaemonSet", "agent", PRIVILEGED)
    objects = [agent, pod("agent-1", agent, PRIVILEGED), BAD_SET, BAD, pod("bad-1", BAD_SET, PRIVILEGED)]
    result = audit(policies, objects)
    assert counts(result) == (2, 1, 1)
    assert result.policies["agents"].pods == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 1),
        ({"status": {"phase": "Pending"}}, 1),
        ({"status": {"phase": "Succeeded"}}, 0),
        ({"status": {"phase": "Failed"}}, 0),
        ({"metadata": {"deletionTimestamp": "2026-11-27T00:00:00Z"}}, 0),
    ],
)
def test_pods_that_have_ended_do_not_count(change: Json, expected: int) -> None:
    assert counts(audit([UNPRIVILEGED], [pod("p", spec=PRIVILEGED, **change)])) == (expected,) * 3


def test_node_of_the_scheduler_is_not_a_violation() -> None:
    no_node = policy("nodes", controls={"nodeName": {}})
    assert counts(audit([no_node], [pod("p", spec={**PLAIN, "nodeName": "n1"})])) == (1, 0, 0)
    pinned = workload("Deployment", "pinned", {**PLAIN, "nodeName": "n1"})
    assert counts(audit([no_node], [pinned, pod("p", pinned, {**PLAIN, "nodeName": "n1"})])) == (1, 0, 1)


def test_debug_container_violates_and_is_not_created_again() -> None:
    debugged = {**PLAIN, "ephemeralContainers": [container("debug", securityContext={"privileged": True})]}
    assert counts(audit([UNPRIVILEGED], [pod("p", spec=debugged)])) == (1, 1, 0)


def test_rules_that_need_evidence_about_images_do_not_count() -> None:
    rules = [{"images": ["trusted.io/*"], "by": {"anyOf": ["release"]}}]
    signed = policy("signed", controls={"images": {"signatures": rules}})
    result = audit([signed], [WEB_SET, WEB, pod("web-1", WEB_SET)])
    assert (counts(result), result.has_unverified) == ((1, 0, 0), True)
    assert not audit([UNPRIVILEGED], [WEB]).has_unverified


def test_pod_that_cannot_be_judged_is_counted_apart() -> None:
    large = {"containers": [{"name": f"c{number}", "image": "a"} for number in range(513)]}
    result = audit([UNPRIVILEGED], [pod("large", spec=large), pod("p"), {"kind": "Pod", "metadata": 3}])
    assert (counts(result), result.unjudged) == ((1, 0, 0), 2)


def test_defect_in_one_pod_leaves_the_others_judged() -> None:
    def objects_of(namespace: str, pod: Pod) -> NamespaceObjects:
        if pod.metadata.name == "odd":
            raise ZeroDivisionError
        return NO_OBJECTS

    around = Surroundings(NOW, (), lambda namespace: {}, objects_of)
    one = Audit(PolicySet.of([UNPRIVILEGED]), promotions_of([UNPRIVILEGED]), around)
    one.add_pods([Raw(msgspec.json.encode(pod(name, spec=PRIVILEGED))) for name in ("odd", "p")])
    result = one.result()
    assert (counts(result), result.unjudged) == ((1, 1, 1), 1)
    assert isinstance(one.defect, ZeroDivisionError)


def test_nothing_is_judged_after_the_end() -> None:
    one = Audit(
        PolicySet.of([UNPRIVILEGED]),
        promotions_of([UNPRIVILEGED]),
        Surroundings(NOW, (), lambda _: None, lambda *_: NO_OBJECTS),
    )
    one.end()
    one.add_pods([Raw(msgspec.json.encode(pod("p", spec=PRIVILEGED)))])
    assert counts(one.result()) == (0, 0, 0)


def test_pods_of_an_unknown_namespace_do_not_count_where_labels_matter() -> None:
    by_labels = policy(
        "labelled", match={"namespaceSelector": {"matchLabels": {"team": "a"}}}, controls={"privileged": {}}
    )
    objects = [pod("p", spec=PRIVILEGED), pod("q", spec=PRIVILEGED, namespace="known")]
    result = audit([by_labels], objects, labels={"known": {"team": "a"}})
    assert counts(result) == (1, 1, 1)


def test_examples_are_the_owners_with_most_pods() -> None:
    owners = [workload("StatefulSet", f"s{number}", PRIVILEGED) for number in range(7)]
    pods = [pod(f"{n}-{m}", one, PRIVILEGED) for n, one in enumerate(owners) for m in range(n)]
    impact = audit([UNPRIVILEGED], [*owners, *pods]).policies["unprivileged"]
    assert (impact.denied, impact.owners, impact.idle_templates) == (21, 6, 1)
    assert [one.owner.name for one in impact.examples] == ["s6", "s5", "s4", "s3", "s2"]
    assert impact.examples[0].owner == Owner("shop", "StatefulSet", "s6", "apps/v1")


def test_pod_policy_counts_in_its_namespace_only() -> None:
    own = policy("own", "PodPolicy", "shop", controls={"privileged": {}})
    result = audit([own], [pod("p", spec=PRIVILEGED), pod("q", spec=PRIVILEGED, namespace="other")])
    assert counts(result) == (2, 1, 1)
    assert result.policies["shop/own"].pods == 1


@given(strategies.pods(), strategies.SPECS)
def test_bare_pod_counts_as_it_is_judged(body: Json, spec: Json) -> None:
    body = {**body, "kind": "Pod", "metadata": {"name": "p", **(body.get("metadata") or {}), "namespace": "shop"}}
    body["metadata"].pop("ownerReferences", None)
    body["spec"].pop("nodeName", None)
    body["spec"].pop("ephemeralContainers", None)
    policies = [policy("p", **{**spec, "enforcement": "Deny"})]
    result = audit(policies, [body], labels={"shop": {}})
    if result.unjudged:
        return
    typed: Pod = msgspec.json.decode(msgspec.json.encode(body), type=Workload)
    judged = [
        evaluate(typed, Context(PolicySet.of(policies), "shop", {}, clock=lambda: NOW), form=form)
        for form in (Form.POD, Form.MANIFEST)
    ]
    violating, denied = bool(judged[0].violations), bool(denying(judged[1].violations))
    assert counts(result) == (1, violating, denied)


@pytest.mark.parametrize(("length", "is_kept"), [(317, True), (318, False)])
def test_owner_whose_names_no_object_can_have_is_passed_over(length: int, is_kept: bool) -> None:
    owner = OwnerReference("apps/v1", "Deployment", "x" * length, "u", controller=True)
    assert (stored_controller_of([owner]) is owner) is is_kept


@pytest.mark.parametrize("kind", ["Deployment", "Pod"])
def test_nearly_all_time_of_an_object_counts_for_its_namespace(kind: str) -> None:
    counted = 0.0

    @contextmanager
    def timed(namespace: str) -> Iterator[CheckTime]:
        nonlocal counted
        assert namespace == "shop"
        began = time.thread_time()
        yield lambda: None
        counted += time.thread_time() - began

    added = [f"C{index}" for index in range(97)]
    spec = {"containers": [container(securityContext={"capabilities": {"add": added}}) for _ in range(100)]}
    policies = [policy(f"policy-{index}", enforcement="Warn", controls={"capabilities": {}}) for index in range(500)]
    around = Surroundings(NOW, (), lambda namespace: {}, lambda namespace, pod: NO_OBJECTS, timed)
    audit_of_many = Audit(PolicySet.of(policies), promotions_of(policies), around)
    began = time.thread_time()
    if kind == "Pod":
        audit_of_many.add_pods([Raw(msgspec.json.encode(pod("many", spec=spec)))])
    else:
        audit_of_many.add_templates(TEMPLATES[0], [Raw(msgspec.json.encode(workload(kind, "many", spec)))])
    took = time.thread_time() - began
    assert counted > 0.9 * took
    assert took < 1.0  # 9,700 violations of 500 policies
    assert len(audit_of_many.result().owners[0].violations) == 1


def test_objects_of_a_namespace_without_time_are_not_read() -> None:
    @contextmanager
    def ended(namespace: str) -> Iterator[CheckTime]:
        if namespace == "shop":
            raise UnjudgedError("its namespace has taken too much CPU time in this pass")
        yield lambda: None

    around = Surroundings(NOW, (), lambda namespace: {}, lambda namespace, pod: NO_OBJECTS, ended)
    one = Audit(PolicySet.of([UNPRIVILEGED]), promotions_of([UNPRIVILEGED]), around)
    there = [
        pod("a", spec=PRIVILEGED),
        pod("ended", status={"phase": "Failed"}),
        pod("b", spec=PRIVILEGED, namespace="x"),
    ]
    one.add_pods([Raw(msgspec.json.encode(body)) for body in there])
    result = one.result()
    assert (counts(result), result.unjudged) == ((1, 1, 1), 2)
