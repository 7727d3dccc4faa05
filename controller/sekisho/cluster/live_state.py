"""What a cluster judges pods by, read once: policies, and what is known of its namespaces, as sources of manifests."""

from typing import Final

from msgspec import Struct

from sekisho.cluster.api import ApiClient, ApiError
from sekisho.cluster.live_namespaces import exempt_namespaces
from sekisho.cluster.live_policies import applied_policies
from sekisho.cluster.pages import pages
from sekisho.policies import Policy, Problem
from sekisho.policies.idle import EXEMPT_NAMESPACES

_KINDS: Final = {"Namespace": "namespaces", "LimitRange": "limitranges", "ServiceAccount": "serviceaccounts"}


class LiveState(Struct, frozen=True):
    """A cluster at one moment.

    problems: one for each policy that is applied and cannot be used.
    objects: the Namespaces, LimitRanges and ServiceAccounts as JSON, by kind.
    """

    policies: tuple[Policy, ...]
    problems: tuple[Problem, ...]
    objects: tuple[tuple[str, str], ...]


async def read_state(api: ApiClient) -> LiveState:
    """The state of a cluster. Raises ApiError, ApiUnavailable, msgspec.DecodeError."""
    policies, problems = await applied_policies(api)
    objects = [
        (kind, bytes(raw).decode())
        for kind, plural in _KINDS.items()
        async for page in pages(api, f"/api/v1/{plural}", {})
        for raw in page.items or ()
    ]
    return LiveState(tuple(policies), tuple(problems), tuple(objects))


async def namespaces_not_judged(api: ApiClient, labels: dict[str, dict[str, str]]) -> frozenset[str]:
    """The namespaces whose pods the webhooks are not sent; kube-system where the webhooks may not be read.

    Raises ApiError, ApiUnavailable, msgspec.DecodeError.
    """
    try:
        return await exempt_namespaces(api, labels)
    except ApiError as error:
        if error.status != 403:
            raise
        return EXEMPT_NAMESPACES
