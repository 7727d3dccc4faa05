"""Policies, waivers, catalogs and authorities as they are applied in a cluster."""

from typing import Final

from sekisho.cluster.api import ApiClient, ApiError
from sekisho.cluster.pages import pages
from sekisho.policies import Policy, PolicyError, Problem
from sekisho.policies.crd import RESOURCES
from sekisho.policies.loading import decode, verify
from sekisho.policies.types import GROUP, VERSION

_AUTHORITIES: Final = "ImageAuthority"
"""Most users may not read these: for them, the list counts as empty."""
_KINDS: Final = ("ClusterPodPolicy", "PodPolicy", "PolicyWaiver", "ImageCatalog", _AUTHORITIES)
"""A kind that is not installed counts as an empty list."""


async def applied_policies(api: ApiClient, namespace: str | None = None) -> tuple[list[Policy], list[Problem]]:
    """The objects that can be used, and a problem for each that cannot; nothing where Sekisho is not installed.

    namespace: the only one whose PodPolicies are read; None for all.

    Raises ApiError, ApiUnavailable, msgspec.DecodeError.
    """
    policies: list[Policy] = []
    problems: list[Problem] = []
    for kind in _KINDS:
        resource = RESOURCES[kind]
        within = f"namespaces/{namespace}/" if namespace and resource.scope == "Namespaced" else ""
        try:
            async for page in pages(api, f"/apis/{GROUP}/{VERSION}/{within}{resource.plural}", {}):
                for raw in page.items or ():
                    _take(raw, kind, policies, problems)
        except ApiError as error:
            if error.status != 404 and (error.status, kind) != (403, _AUTHORITIES):
                raise
    return policies, problems


def _take(raw: bytes, kind: str, policies: list[Policy], problems: list[Problem]) -> None:
    try:
        policy: Policy = decode(raw, RESOURCES[kind].kind)
        verify(policy)
    except PolicyError as error:
        problems += error.problems
    else:
        policies.append(policy)
