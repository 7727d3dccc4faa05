"""What Sekisho adds to the creation of a pod: dry runs through the real API server, with it and without it.

"Without" is a namespace that the webhooks' namespaceSelector leaves out, so both are measured on one server in one run,
in short blocks that take turns.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from msgspec import Struct

from sekisho.cluster.api import ApiClient, ApiError
from tests.load.figures import Latencies
from tests.load.reviews import pod
from tests.load.servers import WrongAnswerError

JUDGED: Final = "judged"
UNJUDGED: Final = "unjudged"
CLIENTS: Final = (1, 10)
_A_BLOCK: Final = {1: 100, 10: 20}
"""Creations by each client in a block, by how many clients there are."""

Kind = Literal["complete", "plain", "violating"]
KINDS: Final[Mapping[Kind, str]] = {"complete": "nothing to fill", "plain": "all to fill"}
_BODIES: Final[Mapping[Kind, bytes]] = {
    "complete": msgspec.json.encode(pod()),
    "plain": msgspec.json.encode(pod(with_defaults=False)),
    "violating": msgspec.json.encode(pod() | {"spec": pod()["spec"] | {"hostPID": True}}),
}


class Creations(Struct, frozen=True):
    """Latencies of creations of one kind of pod by a number of clients, with and without Sekisho."""

    kind: Kind
    clients: int
    judged: Latencies
    unjudged: Latencies

    def added(self, percent: float) -> float:
        """By how many milliseconds a percentile is larger with Sekisho."""
        return self.judged.at(percent) - self.unjudged.at(percent)


async def prepare(api: ApiClient) -> None:
    """Make both namespaces, and the service account that the pods name."""
    for namespace in (JUDGED, UNJUDGED):
        await api.create("/api/v1/namespaces", msgspec.json.encode({"metadata": {"name": namespace}}))
        account = msgspec.json.encode({"metadata": {"name": "web"}})
        await api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", account)


async def check(api: ApiClient) -> None:
    """Look whether the verdicts are right before they are timed. Raises WrongAnswerError, ApiError, ApiUnavailable."""
    for kind in ("complete", "plain"):
        created = {namespace: await _create(api, namespace, kind) for namespace in (JUDGED, UNJUDGED)}
        with_defaults = {namespace: b"RuntimeDefault" in answer for namespace, answer in created.items()}
        if with_defaults != {JUDGED: True, UNJUDGED: kind == "complete"}:
            raise WrongAnswerError(f"the {kind} pod was with_defaults wrongly: {with_defaults}")
    await _create(api, UNJUDGED, "violating")
    try:
        await _create(api, JUDGED, "violating")
    except ApiError as error:
        if error.status != 403 or "sekisho.dev" not in error.message:
            raise
    else:
        raise WrongAnswerError("the violating pod was admitted")


async def measure(api: ApiClient, kind: Kind, clients: int, blocks: int) -> Creations:
    """Time creations, in `blocks` of each namespace. Raises ApiError, ApiUnavailable when one fails."""
    seconds: dict[str, list[float]] = {JUDGED: [], UNJUDGED: []}

    async def client(namespace: str) -> None:
        for _ in range(_A_BLOCK[clients]):
            started = time.perf_counter()
            await _create(api, namespace, kind)
            seconds[namespace].append(time.perf_counter() - started)

    for _ in range(blocks):
        for namespace in (JUDGED, UNJUDGED):
            await asyncio.gather(*(client(namespace) for _ in range(clients)))
    return Creations(kind, clients, Latencies(seconds[JUDGED]), Latencies(seconds[UNJUDGED]))


async def _create(api: ApiClient, namespace: str, kind: Kind) -> bytes:
    body = _BODIES[kind].replace(b'"namespace":"shop"', f'"namespace":"{namespace}"'.encode())
    return await api.create(f"/api/v1/namespaces/{namespace}/pods", body, {"dryRun": "All"})
