"""The annotation sekisho.dev/waived: what waivers exempted a new pod from, and never what a client wrote."""

import base64
import json
from datetime import timedelta
from typing import Any

import jsonpatch
import pytest

from sekisho import admission
from sekisho.admission import Decision
from sekisho.policies import ClusterPodPolicy, PolicySet
from sekisho.webhook.reporting import statements_of
from tests.pods import container, restricted_pod
from tests.reviews import review_body
from tests.unit.admission.test_waived import BEFORE, EXPIRES, RESTRICTED, admits, at, privileged, waiver
from tests.unit.webhook.serving_reviews import policy

WAIVED = "sekisho.dev/waived"
FORGED = {WAIVED: '{"mine":["privileged"]}'}
WAIVER = waiver(match={"containers": ["app"]})


def with_annotations(pod: dict[str, Any], **annotations: str) -> dict[str, Any]:
    return {**pod, "metadata": {**pod["metadata"], "annotations": annotations}}


def annotation(pod: dict[str, Any], *policies: Any, **request: Any) -> str | None:
    """The annotation of a pod once it is admitted."""
    created = mutated(pod, *policies, **request)
    assert mutated(created, *policies, **request) == created
    value: str | None = (created["metadata"].get("annotations") or {}).get(WAIVED)
    return value


def mutated(pod: dict[str, Any], *policies: Any, now: Any = BEFORE, **request: Any) -> dict[str, Any]:
    review = admission.decode(review_body(pod, **request))
    answer = json.loads(admission.mutate(review, PolicySet.of(policies), {}, at(now)).response)["response"]
    assert answer["allowed"], answer
    patch = json.loads(base64.b64decode(answer["patch"])) if "patch" in answer else []
    patched: dict[str, Any] = jsonpatch.apply_patch(pod, patch)
    return patched


def test_pod_says_which_waivers_exempt_it_and_from_which_controls() -> None:
    host = waiver("host", controls=["hostNamespaces", "hostPorts"])
    pod = restricted_pod(privileged(), privileged("second"))
    pod["spec"]["hostNetwork"] = True
    both = waiver("both", match={"containers": ["app", "second"]})
    assert annotation(pod, RESTRICTED, host, both) == '{"both":["privileged"],"host":["hostNamespaces"]}'
    assert admits(mutated(pod, RESTRICTED, host, both), RESTRICTED, host, both)


@pytest.mark.parametrize("annotations", [{}, {"team": "shop"}, FORGED, {**FORGED, "team": "shop"}])
def test_value_of_a_client_is_replaced_and_others_stay(annotations: dict[str, str]) -> None:
    pod = with_annotations(restricted_pod(privileged()), **annotations)
    created = mutated(pod, RESTRICTED, WAIVER)["metadata"]["annotations"]
    assert created == {**annotations, WAIVED: '{"w":["privileged"]}'}


@pytest.mark.parametrize(
    ("pod", "policies"),
    [
        (restricted_pod(), (RESTRICTED, WAIVER)),
        (restricted_pod(privileged("other")), (RESTRICTED, WAIVER)),
        (restricted_pod(privileged()), (RESTRICTED,)),
        (restricted_pod(privileged()), ()),
        (restricted_pod(privileged()), (policy("other"), WAIVER)),
    ],
    ids=["no-violation", "another-container", "no-waiver", "nothing", "another-policy"],
)
def test_value_of_a_client_is_removed_where_no_waiver_exempts(pod: dict[str, Any], policies: tuple[Any, ...]) -> None:
    assert annotation(with_annotations(pod, **FORGED), *policies) is None
    assert annotation(pod, *policies) is None


def test_expired_waiver_is_not_in_the_annotation() -> None:
    pod = restricted_pod(privileged())
    assert annotation(pod, RESTRICTED, WAIVER, now=EXPIRES) is None
    assert annotation(pod, RESTRICTED, WAIVER, now=EXPIRES - timedelta(seconds=1)) is not None


def test_annotation_admits_no_pod_that_no_waiver_exempts() -> None:
    assert not admits(with_annotations(restricted_pod(privileged()), **FORGED), RESTRICTED)
    assert not admits(with_annotations(restricted_pod(privileged("other")), **FORGED), RESTRICTED, WAIVER)


def defaulting(controls: dict[str, Any]) -> ClusterPodPolicy:
    defaults = {"container": {"securityContext": {"allowPrivilegeEscalation": False}}}
    return policy("restricted", controls=controls, defaults=defaults)


def test_pod_is_judged_with_its_defaults() -> None:
    both = defaulting({"privileged": {}, "allowPrivilegeEscalation": {}})
    pod: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {"containers": [container()]}}
    pod["spec"]["containers"][0]["securityContext"] = {"procMount": "Default"}
    created = mutated(pod, both, waiver(controls=["privileged"]))["metadata"]["annotations"]
    assert list(created) == ["sekisho.dev/defaulted"]  # the default is applied, so that there is nothing to exempt
    created = mutated(pod, both, waiver(controls=["allowPrivilegeEscalation"]))["metadata"].get("annotations")
    assert created == {WAIVED: '{"w":["allowPrivilegeEscalation"]}'}  # the waiver also exempts from the default


def test_pod_as_the_api_server_writes_it_is_judged_with_its_defaults() -> None:
    written = {
        "name": "app",
        "image": "x",
        "env": [{"name": "A", "value": "b"}],
        "securityContext": {"privileged": True},
    }
    pod = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "p"},
        "spec": {"containers": [written]},
        "status": {},
    }
    defaults = policy("defaults", podSecurityStandard={"level": "restricted"}, defaults={"profile": "restricted"})
    body = review_body(pod)
    assert type(admission.decode(body).object).__name__ == "WirePod"
    outcome = admission.mutate(
        admission.decode(body), PolicySet.of([defaults, waiver(policies=["defaults"])]), {}, lambda: BEFORE
    )
    assert outcome.decision is Decision.PATCH


def test_both_annotations_are_written_together() -> None:
    policies = defaulting({"hostPorts": {}}), waiver(controls=["hostPorts"])
    port = {"containerPort": 80, "hostPort": 80}
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "app", "image": "x", "ports": [port]}]}}
    assert sorted(mutated(pod, *policies)["metadata"]["annotations"]) == ["sekisho.dev/defaulted", WAIVED]
    assert mutated(mutated(pod, *policies), *policies) == mutated(pod, *policies)


def test_policy_denies_no_pod_for_the_annotation() -> None:
    keys = policy("restricted", controls={"privileged": {}, "annotations": {"denied": ["sekisho.dev/*"]}})
    created = mutated(restricted_pod(privileged()), keys, WAIVER)
    assert WAIVED in created["metadata"]["annotations"]
    assert admits(created, keys, WAIVER)


def test_pod_without_room_for_the_annotation_is_admitted_without_it() -> None:
    pod = restricted_pod(privileged())
    for spare, fits in ((20, False), (200, True)):
        full = with_annotations(pod, big="x" * (256 * 1024 - 3 - spare))
        assert (annotation(full, RESTRICTED, WAIVER) is not None) is fits


def test_names_are_bounded() -> None:
    waivers = [waiver(f"w-{number:02}", match={"containers": [f"c-{number}"]}) for number in range(40)]
    value = annotation(restricted_pod(*(privileged(f"c-{number}") for number in range(40))), RESTRICTED, *waivers)
    assert list(json.loads(value or "")) == [f"w-{number:02}" for number in range(16)]


def test_annotation_alone_is_not_reported_as_defaults() -> None:
    review = admission.decode(review_body(restricted_pod(privileged())))
    outcome = admission.mutate(review, PolicySet.of([RESTRICTED, WAIVER]), {}, at(BEFORE))
    assert outcome.decision is Decision.PATCH
    assert list(statements_of(outcome)) == []


def test_templates_and_updates_are_not_changed() -> None:
    pod = with_annotations(restricted_pod(privileged()), **FORGED)
    assert mutated(pod, RESTRICTED, WAIVER, operation="UPDATE", subResource="ephemeralcontainers") == pod
