"""Reviews sent straight to a replica, past the API server."""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from tests.controlplane.replicas import Replica
from tests.drills.traffic import DrillError
from tests.reviews import review_body


def review(namespace: str, spec: dict[str, Any], name: str = "direct") -> bytes:
    """The AdmissionReview of a pod's creation."""
    metadata = {"name": name, "namespace": namespace}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    return review_body(pod, name=name, namespace=namespace, userInfo={"username": "drill"}, dryRun=True)


async def hang_up(writers: Iterable[asyncio.StreamWriter]) -> None:
    """Abort connections, and return when they are closed."""
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
