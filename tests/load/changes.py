"""Policies that change one after the other: whether their statuses come to rest, and what the API server is asked."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from sekisho.cluster.api import ApiClient
from sekisho.cluster.replica_reporter import RENEW_SECONDS, SETTLE_SECONDS
from sekisho.operator.prover import PROOF_SECONDS
from tests.cluster.audit import Audit, Request
from tests.load import population
from tests.load.waiting import until

_LEADER_RENEWS_IN: Final = 2.0
_DRY_RUNS_OF_PROOF: Final = 3
_WATCH_LASTS: Final = 45.0
_WATCHED_BY_REPLICA: Final = 5
_WATCHED_BY_CONTROLLER: Final = 10
"""Collections and single objects that it follows."""


class Spent(Struct, frozen=True):
    """What `changes` changes of policies took, in `seconds` until every status was right."""

    changes: int
    replicas: int
    seconds: float
    converged: float
    """Seconds from the last change until then."""
    controller: Counter[tuple[str, str]]
    """Requests by verb and resource."""
    webhooks: Counter[tuple[str, str]]
    """Those of all replicas together."""

    def excesses(self) -> list[str]:
        """What was more than it may be: none of it depends on how many policies there are."""
        changes, replicas, seconds = self.changes, self.replicas, self.seconds
        replica_writes = changes + seconds / SETTLE_SECONDS + seconds / (0.8 * RENEW_SECONDS) + 2
        proofs = self.controller[("create", "pods")] + self.controller[("create", "podpolicies")]
        limits = {
            "statuses that the controller wrote": (
                self.controller[("patch", "clusterpodpolicies/status")],
                changes * (replicas + 1),
            ),
            "other writes of the controller": (
                _writes(self.controller) - self.controller[("patch", "clusterpodpolicies/status")] - proofs,
                seconds / _LEADER_RENEWS_IN + 2,
            ),
            "dry runs that prove": (proofs, _DRY_RUNS_OF_PROOF * (seconds / PROOF_SECONDS + 1)),
            "writes of the replicas": (_writes(self.webhooks), replicas * replica_writes),
            "reads of the controller": (
                self.controller.total() - _writes(self.controller),
                4 * _WATCHED_BY_CONTROLLER * (seconds / _WATCH_LASTS + 1),
            ),
            "reads of the replicas": (
                self.webhooks.total() - _writes(self.webhooks),
                2 * replicas * _WATCHED_BY_REPLICA * (seconds / _WATCH_LASTS + 1),
            ),
        }
        return [
            f"{what}: {count}, at most {maximum:.0f}" for what, (count, maximum) in limits.items() if count > maximum
        ]


async def make(api: ApiClient, policies: int, replicas: int, deadline: float) -> list[str]:
    """Make a number of policies and give their names once all replicas enforce them. Raises DeadlineError."""
    made = population.policies(policies)
    await population.create_all(api, population.POLICIES, made)
    await _until_enforced(api, policies, replicas, deadline)
    return [item["metadata"]["name"] for item in made]


async def measure(
    api: ApiClient,
    audit: Audit,
    credentials: tuple[str, str],
    names: Sequence[str],
    replicas: int,
    changes: int,
    every: float,
    deadline: float,
) -> Spent:
    """Change a policy every `every` seconds, and count what controller and replicas ask of the API server meanwhile.

    `credentials` are the ids of their tokens. Raises DeadlineError when the statuses do not come to rest.
    """
    before, begun = len(audit), time.monotonic()
    for number in range(changes):
        enforcement = "Warn" if number // len(names) % 2 == 0 else "Deny"
        patch = msgspec.json.encode({"spec": {"enforcement": enforcement}})
        await api.patch(f"{population.POLICIES}/{names[number * 7 % len(names)]}", patch)
        await asyncio.sleep(max(0.0, begun + (number + 1) * every - time.monotonic()))
    changed = time.monotonic()
    await _until_enforced(api, len(names), replicas, deadline)
    ended = time.monotonic()
    controller, webhooks = (_counted(audit.requests(credential, before)) for credential in credentials)
    return Spent(changes, replicas, ended - begun, ended - changed, controller, webhooks)


def _counted(requests: Sequence[Request]) -> Counter[tuple[str, str]]:
    return Counter((request.verb, request.resource) for request in requests)


def _writes(requests: Counter[tuple[str, str]]) -> int:
    return sum(count for (verb, _), count in requests.items() if verb not in ("get", "list", "watch"))


async def _until_enforced(api: ApiClient, policies: int, replicas: int, deadline: float) -> None:
    async def all_are() -> bool:
        items = msgspec.json.decode(await api.get(population.POLICIES))["items"]
        return len(items) == policies and all(_is_enforced(item, replicas) for item in items)

    await until(all_are, deadline, f"{policies} policies are enforced by {replicas} replicas", pause=0.5)


def _is_enforced(policy: dict[str, Any], replicas: int) -> bool:
    status = policy.get("status", {})
    is_current = status.get("observedGeneration") == policy["metadata"]["generation"]
    conditions = {item["type"]: item["status"] for item in status.get("conditions", [])}
    return is_current and conditions.get("Enforced") == "True" and status["enforcedBy"] == f"{replicas}/{replicas}"
