"""How long a change of a policy takes to be in effect on every replica."""

import asyncio
import random
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import aiohttp
import msgspec

from sekisho.cluster.api import ApiClient
from tests.controlplane.component import Component
from tests.load.figures import Latencies
from tests.load.population import NAMESPACES, POLICIES
from tests.load.questions import VIOLATING
from tests.load.replicas import ask
from tests.load.waiting import until

_NAMESPACE: Final = "switched"
_NAME: Final = "switch"
_GLANCE: Final = 0.002
_WITHIN: Final = 30.0
_SEED: Final = 1


async def measure(
    api: ApiClient, session: aiohttp.ClientSession, replicas: Sequence[Component], changes: int
) -> Latencies:
    """Switch a policy between Deny and Warn, and time from the API server's answer until the last replica obeys.

    Raises DeadlineError when one does not, ApiError, ApiUnavailable.
    """
    chance = random.Random(_SEED)  # noqa: S311 - the same pauses in every run
    await api.create(NAMESPACES, msgspec.json.encode({"metadata": {"name": _NAMESPACE}}))
    await _all_say(session, replicas, "allow")
    await api.create(POLICIES, msgspec.json.encode(_policy("Deny")))
    await _all_say(session, replicas, "deny")
    seconds = []
    for number in range(changes):
        enforcement, expected = ("Deny", "deny") if number % 2 else ("Warn", "allow")
        await api.patch(f"{POLICIES}/{_NAME}", msgspec.json.encode({"spec": {"enforcement": enforcement}}))
        answered = time.perf_counter()
        await _all_say(session, replicas, expected)
        seconds.append(time.perf_counter() - answered)
        await asyncio.sleep(chance.uniform(0, 0.1))  # else a change always comes at the same moment after the last
    return Latencies(seconds)


async def _all_say(session: aiohttp.ClientSession, replicas: Sequence[Component], expected: str) -> None:
    async def says(replica: Component) -> bool:
        return await ask(session, replica, VIOLATING, _NAMESPACE) == expected

    waits = (until(partial(says, replica), _WITHIN, f"{replica.name} says {expected}", _GLANCE) for replica in replicas)
    await asyncio.gather(*waits)


def _policy(enforcement: str) -> dict[str, Any]:
    return {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": _NAME},
        "spec": {"enforcement": enforcement, "match": {"namespaces": [_NAMESPACE]}, "controls": {"privileged": {}}},
    }
