"""Limits of the PodPolicies in a namespace, so that a tenant's policies cannot slow down the pods of others."""

from collections.abc import Iterator
from typing import Final

from sekisho.documents import Problem
from sekisho.policies.compilation import CompiledPolicy, compile_policy
from sekisho.policies.compiled_defaults import entries_of
from sekisho.policies.sets import PolicySet
from sekisho.policies.types import PodPolicy

MAX_POD_POLICIES: Final = 32
MAX_COST: Final = 2048
"""Checks, and entries of lists and maps, of all PodPolicies in a namespace: compared for each container or pod."""


def cost(policy: CompiledPolicy) -> int:
    """The checks of a policy, and the entries of lists in their parameters, of maps of defaults, and its match."""
    return sum(rule.cost for rule in policy.rules) + entries_of(policy.defaults) + policy.match_entries


def limit_problems(policy: PodPolicy, policies: PolicySet) -> Iterator[Problem]:
    """Why a valid PodPolicy cannot be added or changed: the limits of its namespace.

    policies: those in effect. A change that does not increase the cost is always possible.
    """
    namespace = policy.metadata.namespace
    in_namespace = {pod_policy.name: pod_policy for pod_policy in policies.pod_policies(namespace)}
    before = in_namespace.pop(policy.title, None)
    if before is None and len(in_namespace) >= MAX_POD_POLICIES:
        message = f"namespace {namespace} has {len(in_namespace)} PodPolicies; the maximum is {MAX_POD_POLICIES}"
        yield Problem("metadata.namespace", message)
    own = cost(compile_policy(policy))
    total = own + sum(map(cost, in_namespace.values()))
    if total > MAX_COST and (before is None or own > cost(before)):
        yield Problem(
            "spec",
            f"the PodPolicies of namespace {namespace} would have {total} checks and entries, {own} of them "
            f"in this one; the maximum is {MAX_COST}",
        )
