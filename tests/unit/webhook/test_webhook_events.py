"""Which Events a review leads to, and what they say."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from sekisho import admission
from sekisho.admission import Outcome
from sekisho.cluster.events import Occurrence, Reason
from sekisho.policies import PolicySet, PolicyWaiver
from sekisho.webhook.reporting import REASONS, report, statements_of
from tests.reviews import review
from tests.unit.webhook.serving_reviews import BAD, GOOD, pod, policy

DEPLOYMENT: dict[str, Any] = {
    "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
    "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
}
WARNS = policy("warns", enforcement="Warn")
AUDITS = policy("audits", enforcement="Audit")
SETS_DEFAULTS = policy("sets-defaults", controls={}, defaults={"profile": "restricted"})
WAIVER = msgspec.convert(
    {
        "metadata": {"name": "drivers"},
        "spec": {
            "policies": ["no-privilege"],
            "controls": ["privileged"],
            "expires": "2027-01-31T00:00:00Z",
            "reason": "it mounts disks",
        },
    },
    PolicyWaiver,
)


def validated(thing: Any, *policies: Any, **request: Any) -> Outcome:
    decoded = admission.decode(msgspec.json.encode(review(thing, **request)))
    return admission.validate(decoded, PolicySet.of(policies), None, lambda: datetime(2026, 11, 23, tzinfo=UTC))


def mutated(thing: Any, *policies: Any) -> Outcome:
    return admission.mutate(admission.decode(msgspec.json.encode(review(thing))), PolicySet.of(policies), None)


def template(container: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "web"}, "spec": {"template": pod(container)}}


def test_denial_names_policies_controls_and_fixes_with_their_fields() -> None:
    (said,) = statements_of(validated(pod(BAD), policy("a"), policy("b"), WARNS))
    assert said.reason == Reason.POD_DENIED
    assert said.note.startswith('policies "a" and "b" deny container "app" for privileged mode: ')
    assert (said.policies, said.controls) == (("a", "b"), ("privileged",))
    assert said.fixes == ("spec.containers[0].securityContext.privileged: remove it or set it to false",)


OWNED: list[tuple[str, str, str]] = [
    ("ReplicaSet", "web-5d4f8c7b9", "spec.template."),
    ("Job", "backup", "spec.template."),
    ("Job", "backup-29384756", "spec.jobTemplate.spec.template."),
    ("Workflow", "build", ""),
]


@pytest.mark.parametrize(("kind", "name", "above"), OWNED)
def test_fixes_name_the_field_once_as_the_owners_author_writes_it(kind: str, name: str, above: str) -> None:
    owner = {"apiVersion": "x/v1", "kind": kind, "name": name, "uid": "u", "controller": True}
    owned = pod({"name": "app", "image": "x"})
    owned["metadata"]["ownerReferences"] = [owner]
    (said,) = statements_of(validated(owned, policy("a", controls={"seccompProfile": {}})))
    container = f"{above}spec.containers[0].securityContext.seccompProfile.type"
    of_pod = f"{above}spec.securityContext.seccompProfile.type"
    assert said.fixes == (f"{container}: set {of_pod} to RuntimeDefault",)


def test_fixes_of_a_denied_template_name_the_field_once() -> None:
    denies = policy("a", templates="Deny", controls={"seccompProfile": {}})
    (said,) = statements_of(validated(template({"name": "app", "image": "x"}), denies, **DEPLOYMENT))
    container = "spec.template.spec.containers[0].securityContext.seccompProfile.type"
    of_pod = "spec.template.spec.securityContext.seccompProfile.type"
    assert said.fixes == (f"{container}: set {of_pod} to RuntimeDefault",)


def test_warning_about_a_pod_is_reported_and_one_about_a_template_is_shown_to_the_user_who_applies_it() -> None:
    (said,) = statements_of(validated(pod(BAD), WARNS))
    assert (said.reason, said.policies) == (Reason.POD_WARNED, ("warns",))
    assert said.note.startswith('policy "warns" warns about container "app" for privileged mode: ')
    warned = validated(template(BAD), policy(), **DEPLOYMENT)
    assert warned.decision == "warn"
    assert list(statements_of(warned)) == []


def test_what_is_only_audited_is_reported_as_such() -> None:
    (said,) = statements_of(validated(pod(BAD), AUDITS))
    assert (said.reason, said.policies) == (Reason.POD_AUDITED, ("audits",))
    assert said.note.startswith('policy "audits" audits container "app" for privileged mode: ')
    (warned,) = statements_of(validated(pod(BAD), AUDITS, WARNS))
    assert (warned.reason, warned.policies) == (Reason.POD_WARNED, ("warns",))
    assert list(statements_of(validated(template(BAD), AUDITS, **DEPLOYMENT))) == []


def test_defaults_are_reported_by_policy_and_field() -> None:
    (said,) = statements_of(mutated(pod(GOOD), SETS_DEFAULTS))
    assert (said.reason, said.policies, said.fixes) == (Reason.POD_DEFAULTED, ("sets-defaults",), ())
    assert said.note.startswith('policy "sets-defaults" set spec.securityContext.runAsNonRoot, ')


def test_use_of_a_waiver_is_reported_with_its_reason() -> None:
    (said,) = statements_of(validated(pod(BAD), policy(), WAIVER))
    assert (said.reason, said.policies, said.controls) == (Reason.WAIVER_USED, ("no-privilege",), ("privileged",))
    assert "it mounts disks" in said.note


@pytest.mark.parametrize("outcome", [validated(pod(GOOD), policy()), validated(pod(BAD)), mutated(pod(GOOD), policy())])
def test_what_passes_is_not_reported(outcome: Outcome) -> None:
    assert list(statements_of(outcome)) == []


def test_only_configured_reasons_are_recorded_and_no_dry_run() -> None:
    outcomes = [
        validated(pod(BAD), policy()),
        validated(pod(BAD), WARNS),
        validated(pod(BAD), AUDITS),
        mutated(pod(GOOD), SETS_DEFAULTS),
    ]

    def recorded(*reasons: Reason) -> list[Reason]:
        occurrences: list[Occurrence] = []
        for outcome in outcomes:
            report(outcome, occurrences.append, frozenset(reasons))
        return [occurrence.statement.reason for occurrence in occurrences]

    assert recorded() == []
    assert recorded(Reason.POD_DENIED) == [Reason.POD_DENIED]
    assert recorded(*REASONS) == [Reason.POD_DENIED, Reason.POD_WARNED, Reason.POD_AUDITED, Reason.POD_DEFAULTED]
    outcomes = [validated(pod(BAD), policy(), dryRun=True)]
    assert recorded(*REASONS) == []
