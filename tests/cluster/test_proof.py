"""The proof that the API server sends pods to the webhook: what is reported when it does not, and when it does."""

import base64
import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.conftest import Cluster
from tests.cluster.release_helpers import (
    BAD_POD,
    CONFIGURATIONS,
    GOOD_POD,
    POLICIES,
    enforced_policy,
    get,
    option,
    verdict,
)
from tests.controlplane.answers import ANSWER_IN, ask
from tests.controlplane.component import Component
from tests.controlplane.kubectl import Kubectl
from tests.controlplane.release import RELEASE
from tests.controlplane.waiting import wait_until

VALIDATING, MUTATING = CONFIGURATIONS
PROOF = f"{RELEASE}-proof"
REPORTED_IN = 120.0
"""What is promised for each fault; a change of a webhook configuration is told within seconds."""
Json = dict[str, Any]
Condition = tuple[str, str]


@pytest.fixture
def policy(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A policy that every replica enforces, and that is proven."""
    with enforced_policy(cluster, namespace):
        wait_until(lambda: conditions(cluster, namespace)["Proven"] == PROVEN, REPORTED_IN, "it is proven")
        yield namespace


PROVEN: Condition = ("True", "TriedByDryRun")
ENFORCED: Condition = ("True", "EnforcedByAllReplicas")


def conditions(cluster: Cluster, policy: str) -> dict[str, Condition]:
    stored = get(cluster, f"{POLICIES}/{policy}").get("status", {}).get("conditions", [])
    absent = dict.fromkeys(("Enforced", "Proven"), ("", ""))
    return absent | {item["type"]: (item["status"], item["reason"]) for item in stored}


def message(cluster: Cluster, policy: str) -> str:
    stored = get(cluster, f"{POLICIES}/{policy}")["status"]["conditions"]
    return "".join(item["message"] for item in stored if item["type"] == "Proven")


def metric(controller: Component, name: str) -> float:
    port = int(option(controller, "--metrics-port"))
    body = ask(http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_IN), "GET", "/metrics").body.decode()
    samples = [sample for family in text_string_to_metric_families(body) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == name)


def notes(cluster: Cluster) -> list[str]:
    """The notes of the Events ProofFailed."""
    listed = cluster.plane.kubectl.check("get", "events", "--namespace=default", "--output=json")
    return [event["message"] for event in json.loads(listed)["items"] if event["reason"] == "ProofFailed"]


def put(cluster: Cluster, path: str, body: Json) -> None:
    """Create the object, or replace it whatever its version is."""
    wait_until(lambda: written(cluster, path, body), REPORTED_IN, f"{path} is written")


def written(cluster: Cluster, path: str, body: Json) -> bool:
    """Write once; False if the controller wrote meanwhile."""
    metadata = {
        key: value for key, value in body["metadata"].items() if key in ("name", "namespace", "labels", "annotations")
    }
    stored = get(cluster, path)
    if stored:
        body = {**body, "metadata": metadata | {"resourceVersion": stored["metadata"]["resourceVersion"]}}
        answer = cluster.plane.call("PUT", path, body)
    else:
        body = {**body, "metadata": metadata}
        answer = cluster.plane.call("POST", path.rpartition("/")[0], body)
    assert answer.status in (200, 201, 409), answer
    return answer.status != 409


@contextmanager
def fault(cluster: Cluster, path: str, edit: Callable[[Json], object] | None) -> Iterator[None]:
    """The object edited, or deleted if `edit` is None, while the context lasts."""
    before = get(cluster, path)
    if edit is None:
        cluster.plane.call("DELETE", path)
    else:
        edited = json.loads(json.dumps(before))
        edit(edited)
        put(cluster, path, edited)
    try:
        yield
    finally:
        put(cluster, path, before)


def first(body: Json) -> Json:
    """The webhook that judges pods, or the one that applies defaults."""
    webhook: Json = body["webhooks"][0]
    return webhook


def leave_out(body: Json) -> None:
    first(body)["namespaceSelector"]["matchExpressions"][0]["values"].append("shop")


def ignore(body: Json) -> None:
    first(body)["failurePolicy"] = "Ignore"


def call_nobody(body: Json) -> None:
    first(body)["clientConfig"]["url"] = "https://127.0.0.1:9/validate"


def ignore_nobody(body: Json) -> None:
    ignore(body)
    call_nobody(body)


FAULTS: dict[str, tuple[str, Callable[[Json], object] | None, Condition, Condition, str]] = {
    "validating configuration deleted": (
        VALIDATING,
        None,
        ("False", "WebhookMissing"),
        ("False", "WebhookMissing"),
        "the validating webhook configuration does not exist",
    ),
    "mutating configuration deleted": (MUTATING, None, ("False", "WebhookMissing"), ENFORCED, "does not exist"),
    "namespace left out": (
        VALIDATING,
        leave_out,
        ("False", "WebhookNarrowed"),
        ("False", "WebhookNarrowed"),
        "leaves out shop",
    ),
    "rules edited": (
        VALIDATING,
        lambda body: first(body)["rules"].pop(),
        ("False", "WebhookNarrowed"),
        ("False", "WebhookNarrowed"),
        "rules of validate.pods.sekisho.dev leave out UPDATE pods/ephemeralcontainers",
    ),
    "failurePolicy Ignore": (VALIDATING, ignore, ("False", "FailurePolicyIgnore"), ENFORCED, "Ignore"),
    "nobody at the address": (
        VALIDATING,
        call_nobody,
        ("False", "WebhookUnreachable"),
        ("False", "WebhookUnreachable"),
        "failed calling webhook",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_webhook_configuration_is_reported_everywhere_and_its_end_too(
    cluster: Cluster, policy: str, name: str
) -> None:
    path, edit, proven, enforced, text = FAULTS[name]
    controller = cluster.sekisho.controller
    logged = len(controller.log.read_text())
    with fault(cluster, path, edit):
        expected = {"Proven": proven, "Enforced": enforced}
        wait_until(
            lambda: conditions(cluster, policy) | expected == conditions(cluster, policy),
            REPORTED_IN,
            lambda: f"the conditions say so; they say {conditions(cluster, policy)}",
        )
        assert text in message(cluster, policy)
        assert metric(controller, "sekisho_controller_unproven") == 1
        wait_until(lambda: any(text in note for note in notes(cluster)), REPORTED_IN, "an Event says so")
        assert f"not proven ({proven[1]})" in controller.log.read_text()[logged:]
    wait_until(lambda: conditions(cluster, policy)["Proven"] == PROVEN, REPORTED_IN, "it is proven again")
    wait_until(lambda: conditions(cluster, policy)["Enforced"] == ENFORCED, REPORTED_IN, "it is enforced again")
    assert metric(controller, "sekisho_controller_unproven") == 0


def test_a_ca_bundle_that_nobody_repairs_is_reported(cluster: Cluster, policy: str) -> None:
    def distrust(body: Json) -> None:
        first(body)["clientConfig"]["caBundle"] = base64.b64encode(cluster.plane.ca.read_bytes()).decode()

    controller = cluster.sekisho.controller
    command = controller.command
    controller.stop()
    controller.command = (*command, "--certificates=cert-manager")
    try:
        controller.start()
        with fault(cluster, VALIDATING, distrust):
            cut = ("False", "WebhookUnreachable")
            wait_until(
                lambda: conditions(cluster, policy)["Enforced"] == cut, REPORTED_IN, "the policy is not enforced"
            )
            assert "certificate signed by unknown authority" in message(cluster, policy)
        wait_until(lambda: conditions(cluster, policy)["Enforced"] == ENFORCED, REPORTED_IN, "it is enforced again")
    finally:
        controller.stop()
        controller.command = command
        controller.start()


def test_pods_that_may_be_admitted_unjudged_cause_no_failure_until_one_is(cluster: Cluster, policy: str) -> None:
    controller = cluster.sekisho.controller
    command = controller.command
    controller.stop()
    controller.command = (*command, "--admit-pods-unjudged")
    try:
        with fault(cluster, VALIDATING, ignore), fault(cluster, MUTATING, ignore):
            controller.start()
            open_ = ("True", "FailurePolicyIgnore")
            wait_until(lambda: conditions(cluster, policy)["Proven"] == open_, REPORTED_IN, "it is what was asked for")
            wait_until(lambda: conditions(cluster, policy)["Enforced"] == ENFORCED, REPORTED_IN, "it is enforced")
            assert "pods are admitted without a verdict while no webhook answers" in message(cluster, policy)
            assert metric(controller, "sekisho_controller_unproven") == 0
            with fault(cluster, VALIDATING, ignore_nobody):
                cut = ("False", "PodsNotJudged")
                wait_until(lambda: conditions(cluster, policy)["Enforced"] == cut, REPORTED_IN, "a pod was admitted")
                assert metric(controller, "sekisho_controller_unproven") == 1
    finally:
        controller.stop()
        controller.command = command
        controller.start()


def test_no_pod_can_be_created_where_it_is_proven(cluster: Cluster, policy: str) -> None:
    kubectl = cluster.plane.kubectl.in_namespace(PROOF)
    for pod in (GOOD_POD, BAD_POD):
        assert "exceeded quota" in verdict(kubectl, pod)
    assert json.loads(kubectl.check("get", "pods", "--output=json"))["items"] == []


def test_a_dry_run_of_a_user_is_judged_by_the_policies_of_the_cluster(
    cluster: Cluster, kubectl: Kubectl, policy: str
) -> None:
    assert "privileged" in verdict(kubectl, BAD_POD)
    assert verdict(kubectl, GOOD_POD) == "admitted"
