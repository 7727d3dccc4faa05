"""A storm of denials: reviews of pods of many owners, posted to a webhook as an API server posts them."""

import asyncio
import json
import re
import ssl
import time
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from tests.controlplane.kubectl import Kubectl
from tests.controlplane.waiting import wait_until
from tests.reviews import review_body

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class ReplicaSet(Struct, frozen=True):
    """What a pod of it says about it, and the Deployment above."""

    name: str
    uid: str
    deployment: str


def make_owners(kubectl: Kubectl, count: int, deadline: float) -> list[ReplicaSet]:
    """Make `count` Deployments, without replicas, so without pods, and wait for their ReplicaSets."""
    items = [_deployment(f"web-{number:04}") for number in range(count)]
    for start in range(0, count, 200):
        manifest = {"apiVersion": "v1", "kind": "List", "items": items[start : start + 200]}
        kubectl.check("create", "-f", "-", input=json.dumps(manifest))

    def replica_sets() -> list[ReplicaSet]:
        replica_sets = json.loads(kubectl.check("get", "replicasets", "-o", "json"))["items"]
        made = [
            ReplicaSet(meta["name"], meta["uid"], meta["ownerReferences"][0]["name"])
            for meta in (item["metadata"] for item in replica_sets)
        ]
        return made if len(made) == count else []

    return wait_until(replica_sets, deadline, f"there are {count} ReplicaSets")


def _deployment(name: str) -> dict[str, Any]:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "app", "image": "registry.example/x"}]},
    }
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def privileged_pod(owner: ReplicaSet, namespace: str, *, dry_run: bool) -> bytes:
    """The review of a privileged pod that a ReplicaSet wants."""
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner.name, "uid": owner.uid}
    container = {"name": "app", "image": "registry.example/x", "securityContext": {"privileged": True}}
    pod = {
        "metadata": {
            "generateName": f"{owner.name}-",
            "namespace": namespace,
            "ownerReferences": [reference | {"controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {"containers": [container]},
    }
    user = {"username": "system:serviceaccount:kube-system:replicaset-controller"}
    return review_body(pod, name="", namespace=namespace, userInfo=user, dryRun=dry_run)


async def post(port: int, bodies: Iterable[bytes], connections: int = 16, per_second: float = 0.0) -> list[float]:
    """Post each body to /validate, over kept connections; gives the seconds that each denial took.

    `per_second` is how many begin at most; 0 is as many as can. Raises RuntimeError for an answer that is not a denial.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    remaining, taken, started = enumerate(bodies), list[float](), time.perf_counter()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        for number, body in remaining:
            if per_second:
                await asyncio.sleep(max(0.0, started + number / per_second - time.perf_counter()))
            taken.append(await _denied(reader, writer, body))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(connection() for _ in range(connections)))
    return taken


async def _denied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> float:
    before = time.perf_counter()
    writer.write(
        b"POST /validate?timeout=3s HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    answer = await reader.readexactly(int(length[1])) if length is not None else b""
    if b'"allowed":false' not in answer or b"privileged is true" not in answer:
        raise RuntimeError(f"expected a denial, got {(head + answer)[:500]!r}")
    return time.perf_counter() - before


def from_everybody(owners: list[ReplicaSet], namespace: str, times: int, *, dry_run: bool = False) -> Iterator[bytes]:
    """Each owner's review so often, the owners in turn."""
    bodies = [privileged_pod(owner, namespace, dry_run=dry_run) for owner in owners]
    for _ in range(times):
        yield from bodies
