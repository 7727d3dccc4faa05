"""Requests that look like ways around the verdict, as docs/security.md lists them; each with an allowed near-twin."""

import json
from typing import Any

import msgspec
import pytest

from sekisho import admission
from sekisho.admission import Decision
from sekisho.policies import ClusterPodPolicy, PolicySet
from tests.pods import container, restricted_pod
from tests.reviews import review

Json = dict[str, Any]

SPEC = {"podSecurityStandard": {"level": "restricted"}, "controls": {"hostPathVolumes": {}}}
POLICIES = PolicySet.of([msgspec.convert({"metadata": {"name": "p"}, "spec": SPEC}, ClusterPodPolicy)])
BAD = restricted_pod(container(securityContext={"privileged": True}))
TWO_SOURCES = restricted_pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}])
ONE_SOURCE = restricted_pod(volumes=[{"name": "v", "emptyDir": {}}])
IMAGES = [{"name": "a", "image": "evil.example/x"}]
LABELLED = BAD | {"metadata": {"name": "pod", "labels": {"a": "b"}}}


def decision(body: Json | bytes) -> Decision:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return admission.validate(admission.decode(raw), POLICIES, {}).decision


def with_duplicate(first: str, second: str) -> bytes:
    """A review of a pod with two values of hostPID."""
    text = json.dumps(review(restricted_pod(hostPID="HERE")))
    return text.replace('"hostPID": "HERE"', f'"hostPID": {first}, "hostPID": {second}').encode()


@pytest.mark.parametrize(
    ("denied", "by", "twin"),
    [
        (
            review(restricted_pod(futureContainers=IMAGES)),
            "error",
            review(restricted_pod(futureThings=[{"name": "a"}])),
        ),
        (review(TWO_SOURCES), "deny", review(ONE_SOURCE)),
        (review(None), "error", review(restricted_pod())),
        (review(restricted_pod(), namespace=""), "error", review(restricted_pod(), namespace="shop")),
        (review(LABELLED, operation="UPDATE", oldObject=None), "deny", review(LABELLED, old=BAD)),
        (with_duplicate("true", "false"), "error", review(restricted_pod(hostPID=False))),
        (review(BAD, subResource="future"), "deny", review(restricted_pod(), subResource="future")),
    ],
    ids=[
        "unknown list",
        "two sources",
        "no object",
        "no namespace",
        "no old object",
        "duplicate key",
        "unknown subresource",
    ],
)
def test_way_around_the_verdict_is_denied(denied: Json | bytes, by: str, twin: Json) -> None:
    assert decision(denied) == by
    assert decision(twin) == "allow"
