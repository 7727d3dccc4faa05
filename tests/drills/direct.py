"""Reviews sent straight to a replica, past the API server."""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from tests.controlplane.replicas import Replica
from tests.drills.traffic import DrillError


def review(namespace: str, spec: dict[str, Any], name: str = "direct") -> bytes:
    """The AdmissionReview of a pod's creation."""
    metadata = {"name": name, "namespace": namespace}
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "name": name,
        "namespace": namespace,
        "operation": "CREATE",
        "userInfo": {"username": "drill"},
        "object": {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
        "dryRun": True,
    }
    return msgspec.json.encode({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})


async def hang_up(writers: Iterable[asyncio.StreamWriter]) -> None:
    """Close connections without a word, and return when they are gone."""
    closing = list(writers)
    for writer in closing:
        writer.transport.abort()
    await asyncio.gather(*(writer.wait_closed() for writer in closing), return_exceptions=True)


def allows(replica: Replica, namespace: str, spec: dict[str, Any]) -> bool:
    """A replica's own verdict on a pod. Raises DrillError when there is none."""
    answer = replica.post("/validate?timeout=3s", review(namespace, spec))
    if answer.status != 200:
        raise DrillError(f"{replica.name} gives no verdict: {answer.status} {answer.body[:200].decode()}")
    return bool(msgspec.json.decode(answer.body)["response"]["allowed"])
