"""A large cluster's policies and namespaces: many teams, each with a policy of its own for its namespaces."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final

import msgspec

from sekisho.backoff import backoff
from sekisho.cluster.api import ApiClient, ApiError, ApiUnavailable
from tests.load.policies import REGISTRY

POLICIES: Final = "/apis/sekisho.dev/v1alpha1/clusterpodpolicies"
NAMESPACES: Final = "/api/v1/namespaces"
_CLIENTS: Final = 16
_A_TEAM: Final = 10
_TRIES: Final = 6
_CONFLICT: Final = 409
_SERVER_ERROR: Final = 500
_NEWEST: Final = 37


def policies(teams: int) -> list[dict[str, Any]]:
    """A policy a team, about its namespaces by their names or by their labels in turn."""
    return [_policy(team) for team in range(teams)]


def namespaces(count: int) -> list[dict[str, Any]]:
    """`count` namespaces, ten a team."""
    return [
        {
            "metadata": {
                "name": f"team-{index // _A_TEAM:04}-{index % _A_TEAM}",
                "labels": {
                    "team": f"team-{index // _A_TEAM:04}",
                    "tier": ("prod", "staging", "dev")[index % 3],
                    "cost-center": str(1000 + index // _A_TEAM),
                    "pod-security.kubernetes.io/enforce": "baseline",
                },
                "annotations": {
                    "example.com/owner": f"team-{index // _A_TEAM:04}@example.com",
                    "example.com/made-by": "ci",
                },
            }
        }
        for index in range(count)
    ]


async def create_all(api: ApiClient, path: str, objects: Iterable[dict[str, Any]]) -> None:
    """Create objects, several at the same time. Raises ApiError, ApiUnavailable."""
    await together(create(api, path, item) for item in objects)


async def create(api: ApiClient, path: str, item: dict[str, Any]) -> None:
    """Create an object, with more tries while the API server or a webhook is too slow. Raises ApiError, ApiUnavailable.

    On a busy machine the many clients of a benchmark may keep a request waiting past its timeout.
    """
    body = msgspec.json.encode(item)
    for failures in range(1, _TRIES + 1):
        try:
            await api.create(path, body)
        except (ApiError, ApiUnavailable) as error:
            if failures > 1 and isinstance(error, ApiError) and error.status == _CONFLICT:
                return  # an earlier try was carried out, and its answer came too late
            if failures == _TRIES or (isinstance(error, ApiError) and error.status < _SERVER_ERROR):
                raise
            await asyncio.sleep(backoff(failures))
        else:
            return


async def together(calls: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Run calls to their ends, a few at the same time; the first failure is raised."""
    waiting = iter(calls)

    async def client() -> None:
        for call in waiting:
            await call

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_CLIENTS):
                group.create_task(client())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _policy(team: int) -> dict[str, Any]:
    name = f"team-{team:04}"
    by_name = {"namespaces": [f"{name}-*"]}
    by_labels = {"namespaceSelector": {"matchLabels": {"team": name}}}
    return {
        "apiVersion": "sekisho.dev/v1alpha1",
        "kind": "ClusterPodPolicy",
        "metadata": {"name": name, "annotations": {"example.com/owner": f"{name}@example.com"}},
        "spec": {
            "match": by_labels if team % 2 else by_name,
            "podSecurityStandard": {"level": "restricted", "version": f"v1.{_NEWEST - team % 10}"},
            "controls": {
                "images": {"trustedRegistries": [REGISTRY, f"{name}.registry.example.com", f"ghcr.io/{name}/*"]},
                "hostPorts": {"allowed": [{"min": 8000 + team, "max": 8010 + team}]},
            },
            "defaults": {"profile": "restricted"},
        },
    }
