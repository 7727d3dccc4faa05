"""Labels and annotations of workloads themselves: judged where a policy says so, besides those of their pods."""

import json
from typing import Any

import msgspec
import pytest

import sekisho
from sekisho import admission
from sekisho.manifests import Checker, Namespaces, Source
from sekisho.manifests.fixes import fix_source
from sekisho.policies import ClusterPodPolicy, PolicySet, PolicyWaiver
from tests.pods import restricted_pod
from tests.reviews import review_body
from tests.unit.cli.sekisho_command import policy_file
from tests.unit.cli.sekisho_command import sekisho as command

TEAM = {"required": ["team"], "denied": ["tmp/*"]}
KINDS = {
    "Deployment": "apps",
    "StatefulSet": "apps",
    "DaemonSet": "apps",
    "ReplicaSet": "apps",
    "ReplicationController": "",
    "Job": "batch",
    "CronJob": "batch",
}


def policies(control: str = "labels", *more: Any, templates: str = "Deny", **parameters: Any) -> PolicySet:
    controls = {control: TEAM | {"onWorkloads": True} | parameters}
    policy = {"metadata": {"name": "p"}, "spec": {"controls": controls, "templates": templates}}
    return PolicySet.of([msgspec.convert(policy, ClusterPodPolicy), *more])


def template() -> dict[str, Any]:
    pod = restricted_pod()
    return pod | {"metadata": {"labels": {"team": "shop"}, "annotations": {"team": "shop"}}}


def workload(kind: str = "Deployment", **metadata: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"template": template()}
    spec = {"jobTemplate": {"spec": spec}} if kind == "CronJob" else spec
    group = KINDS[kind]
    version = f"{group}/v1" if group else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "web"} | metadata, "spec": spec}


def validated(obj: dict[str, Any], of: PolicySet, old: dict[str, Any] | None = None) -> admission.Outcome:
    group, _, version = obj["apiVersion"].rpartition("/")
    kind = {"group": group, "version": version, "kind": obj["kind"]}
    resource = {"group": group, "version": version, "resource": f"{obj['kind'].lower()}s"}
    return admission.validate(admission.decode(review_body(obj, old, kind=kind, resource=resource)), of, {})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("control", ["labels", "annotations"])
def test_workload_without_the_key_is_denied_and_one_with_it_admitted(kind: str, control: str) -> None:
    outcome = validated(workload(kind), policies(control))
    (violation,) = outcome.violations
    assert (outcome.decision, violation.finding.field) == ("deny", f"metadata.{control}.team")
    assert outcome.message.startswith(
        f'policy "p" denies {kind} "web" for its {control}: metadata.{control}.team is unset'
    )
    assert validated(workload(kind, **{control: {"team": "shop"}}), policies(control)).decision == "allow"


@pytest.mark.parametrize(("templates", "decision"), [("Deny", "deny"), ("Warn", "warn"), ("Ignore", "allow")])
def test_templates_says_what_happens_to_the_workload(templates: str, decision: str) -> None:
    outcome = validated(workload(), policies(templates=templates))
    assert outcome.decision == decision
    warnings = json.loads(outcome.response)["response"].get("warnings", [])
    assert [text.partition(":")[0] for text in warnings] == (
        ['policy "p" warns about Deployment "web" for its labels'] if decision == "warn" else []
    )


def test_workloads_are_not_judged_where_the_policy_does_not_say_so() -> None:
    for judged in (None, False):
        assert validated(workload(), policies(onWorkloads=judged)).decision == "allow"


def test_pods_are_still_judged() -> None:
    bare = workload(labels={"team": "shop"})
    bare["spec"]["template"]["metadata"] = {}
    (violation,) = validated(bare, policies()).violations
    assert violation.finding.field == "spec.template.metadata.labels.team"
    pod = restricted_pod() | {"metadata": {"name": "web"}}
    outcome = admission.validate(admission.decode(review_body(pod)), policies(), {})
    assert [violation.finding.field for violation in outcome.violations] == ["metadata.labels.team"]
    pod["metadata"]["labels"] = {"team": "shop"}
    assert admission.validate(admission.decode(review_body(pod)), policies(), {}).decision == "allow"


@pytest.mark.parametrize(
    ("kind", "owner", "decision"),
    [
        ("ReplicaSet", "Deployment", "allow"),
        ("Job", "CronJob", "allow"),
        ("ReplicaSet", "Rollout", "deny"),
        ("Deployment", "Deployment", "deny"),
    ],
)
def test_what_a_controller_makes_is_exempt(kind: str, owner: str, decision: str) -> None:
    reference = {"apiVersion": "x/v1", "kind": owner, "name": "web", "uid": "u", "controller": True}
    assert validated(workload(kind, ownerReferences=[reference]), policies()).decision == decision


def test_an_update_excuses_what_the_workload_had_and_nothing_else() -> None:
    old = workload()
    assert validated(workload(annotations={"a": "b"}), policies(), old).decision == "allow"
    assert validated(workload(labels={"tmp/x": "1"}), policies(), old).decision == "deny"
    assert validated(workload(), policies(), workload(labels={"team": "shop"})).decision == "deny"


def test_check_gives_the_verdict_of_the_workload() -> None:
    for templates, enforcements in (("Deny", ["Deny"]), ("Warn", ["Warn"]), ("Ignore", [])):
        (checked,) = sekisho.check(workload(), policies(templates=templates))
        assert [str(violation.enforcement) for violation in checked.violations] == enforcements
        assert [violation.finding.field for violation in checked.violations] == ["metadata.labels.team"][
            : len(enforcements)
        ]
    (checked,) = sekisho.check(workload(labels={"team": "shop"}), policies())
    assert checked.violations == ()


def test_fix_removes_denied_keys_of_the_workload() -> None:
    written = workload(labels={"team": "shop", "tmp/x": "1"})
    source = Source("w.yaml", 0, json.dumps(written))
    fixed = fix_source(source, Checker(policies(), Namespaces({})), apply_changes=True)
    assert fixed.unfixed == ()
    assert msgspec.yaml.decode(fixed.text)["metadata"]["labels"] == {"team": "shop"}


def test_a_waiver_exempts_the_workload() -> None:
    spec = {"policies": ["p"], "controls": ["labels"], "expires": "2999-01-01T00:00:00Z", "reason": "x"}
    for names, decision in ((["web"], 0), (["other"], 1)):
        named = spec | {"match": {"names": names}}
        waiver = msgspec.convert({"metadata": {"name": "w"}, "spec": named}, PolicyWaiver)
        (checked,) = sekisho.check(workload(), policies("labels", waiver))
        assert len(checked.violations) == decision


def test_explain_shows_the_workload_and_the_line_of_the_policy(tmp_path: Any) -> None:
    controls = {"labels": TEAM | {"onWorkloads": True}}
    for templates, verdict in (("Deny", "denied"), ("Warn", "warning")):
        policy = policy_file(tmp_path, controls=controls, templates=templates, message="Ask the owner of shop.")
        result = command("explain", "-p", policy, "-", text=json.dumps(workload()))
        (line,) = (line for line in result.output.splitlines() if line.startswith("    labels: "))
        assert verdict in line
        assert line.endswith("Fix: set it to a value. Ask the owner of shop.")


def test_values_of_annotations_are_not_shown() -> None:
    allowed = [{"key": "team", "values": ["shop"]}]
    outcome = validated(workload(annotations={"team": "hunter2"}), policies("annotations", allowedValues=allowed))
    assert outcome.decision == "deny"
    assert b"hunter2" not in outcome.response
