"""Nothing secret leaves the real process: not in answers, in logs at the level debug, or in metrics."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.reviews import POD, review
from tests.secret_pods import ALL_CONTROLS, SECRET, container_with_secrets, pod_with_secrets
from tests.unit.webhook.test_webhook_process import Webhook, wait_until

DEPLOYMENT = {"group": "apps", "version": "v1", "kind": "Deployment"}
USER = {"username": "someone", "groups": ["system:authenticated"], "extra": {"token": [f"{SECRET}-extra"]}}


@pytest.fixture(scope="module")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    started = Webhook(tmp_path_factory.mktemp("webhook"), "--log-level=debug")
    spec = {
        "podSecurityStandard": {"level": "restricted"},
        "controls": ALL_CONTROLS,
        "templates": "Deny",
        "defaults": {"profile": "restricted"},
    }
    policies: list[Any] = [
        {
            "apiVersion": "sekisho.dev/v1alpha1",
            "kind": "ClusterPodPolicy",
            "metadata": {"name": name},
            "spec": of_policy,
        }
        for name, of_policy in (("deny", spec), ("warn", spec | {"enforcement": "Warn", "templates": "Warn"}))
    ]
    (started.policies / "policy.yaml").write_text("\n---\n".join(map(json.dumps, policies)))
    try:
        started.wait_serving()
        yield started
    finally:
        started.process.kill()
        started.process.wait(10)


def answered(webhook: Webhook, path: str, body: bytes) -> str:
    """The answer to a body, its head included."""
    connection = webhook.connect()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {SECRET}-bearer"}
    connection.request("POST", f"{path}?timeout=3s&token={SECRET}-query", body, headers)
    answer = connection.getresponse()
    response_text = f"{answer.status} {answer.getheaders()} {answer.read().decode()}"
    connection.close()
    return response_text


def reviews() -> dict[str, Any]:
    pod = pod_with_secrets()
    deployment = {"metadata": pod["metadata"], "spec": {"template": {"metadata": {}, "spec": pod["spec"]}}}
    ephemeral = pod_with_secrets(ephemeralContainers=[container_with_secrets("debug")])
    odd_env = pod_with_secrets(containers=[{"name": "app", "env": f"{SECRET}-odd"}])
    odd_user = pod_with_secrets(containers=[{"name": "app", "securityContext": {"runAsUser": f"{SECRET}-user"}}])
    user = f"user:{SECRET}-image@untrusted.example/app"
    credentials = pod_with_secrets(
        containers=[{"name": "app", "image": user}, {"name": "pinned", "image": f"{user}@sha256:{'a' * 64}"}],
        volumes=[{"name": "files", "image": {"reference": user}}],
    )
    return {
        "credentials in images": review(credentials),
        "a new pod": review(pod, userInfo=USER),
        "a pod that gained a container": review(ephemeral, operation="UPDATE", oldObject=pod, userInfo=USER),
        "a workload": review(deployment, kind=DEPLOYMENT, resource={"group": "apps", "resource": "deployments"}),
        "an environment that is no list": review(odd_env),
        "a user that is no number": review(odd_user),
        "another kind": review(pod, kind=POD | {"kind": "Secret"}, resource={"group": "", "resource": "secrets"}),
        "no namespace": review(pod, namespace=""),
    }


def bodies() -> dict[str, bytes]:
    whole = {name: msgspec.json.encode(review) for name, review in reviews().items()}
    one = whole["a new pod"]
    return whole | {
        "half a body": one[: one.index(b"-argument")],
        "a key twice": one.replace(b'"hostPID":', f'"hostPID":"{SECRET}-twice","hostPID":'.encode(), 1),
        "no review": msgspec.json.encode({"password": f"{SECRET}-body"}),
        "no JSON": f"password={SECRET}-form".encode(),
        "no text": f"{SECRET}".encode() + b"\xff\xfe",
    }


@pytest.mark.parametrize("path", ["/validate", "/mutate", "/nothing"])
@pytest.mark.parametrize("name", bodies())
def test_no_answer_holds_a_secret(webhook: Webhook, path: str, name: str) -> None:
    body = bodies()[name]
    assert SECRET.encode() in body
    assert SECRET not in answered(webhook, path, body)


def test_what_breaks_every_rule_says_much_and_nothing_secret_in_logs_and_metrics(webhook: Webhook) -> None:
    response_text = answered(webhook, "/validate", bodies()["a new pod"])
    response = json.loads(response_text.partition("] ")[2])["response"]
    violated = {cause["reason"] for cause in response["status"]["details"]["causes"]}
    assert len(violated) > 20
    wait_until(lambda: webhook.logged("denied"))
    log, metrics = webhook.log.read_text(), webhook.get("/metrics")[1].decode()
    assert 'decision="deny"' in metrics
    assert SECRET not in log
    assert SECRET not in metrics
