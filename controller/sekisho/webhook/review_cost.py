"""What a small review costs, before it is judged.

A quick one is judged on the event loop, where all others wait for it; any other one is judged in a thread.
"""

from collections.abc import Mapping
from typing import Final

from sekisho.admission import Review
from sekisho.pods import Pod
from sekisho.policies import PolicySet
from sekisho.remembered import begin_trial, end_trial

MAX_SMALL_BYTES: Final = 64 * 1024
"""A body up to this size is decoded on the event loop; larger ones take their turn in a thread of their own."""
MAX_SMALL_WORK: Final = 5000
"""Containers times the cost of their policies, of a quick review; about 1 us each, 7 at worst."""
MAX_SMALL_PRODUCT: Final = 1_500_000
"""Bytes of the body times the cost of its policies, of a quick review; about 10 ns each, 30 at worst.
Any list in the pod may be compared with any list of a policy: sysctls, claims, annotations, variables."""
_MAX_FEW_CONTAINERS: Final = 4
"""A pod with at most this many is quick for MAX_SMALL_PRODUCT alone, where there are few policies."""
_MAX_TINY_BYTES: Final = 1024
"""Such a pod with a body of up to this size is quick, whatever its policies cost."""
_MAX_EXEMPTIONS: Final = 10_000
"""What a denied pod may be compared with in the waivers for its namespace, where its review is quick; about 2 us for
each. They are policies, values, conditions, and for each container patterns for images."""
_MAX_PATTERNS: Final = 10_000
"""The cost of the patterns that a namespace is compared with, as `pattern_cost` gives it; about 1 us each. With more,
what applies to it is selected in a thread."""
_MAX_RESOURCES: Final = 500
"""Requests and limits of all containers of a quick review; those of a template take about 45 us each."""
_MAX_FEW_POLICIES: Final = 50
"""In the whole cluster. With more, even a pod with few containers is quick only if its own policies cost little. With
more that may apply to a namespace, a plan is computed in a thread, which takes about 0.1 ms for each."""


def needs_no_planning(review: Review, policies: PolicySet, labels: Mapping[str, str] | None) -> bool:
    """Whether what applies to a pod is known, or so little to select and plan that all others can wait for it."""
    namespace = review.namespace or ""
    if _has_many_exemptions(review.containers, policies) and not policies.knows_exemptions(namespace):
        return False
    if (
        policies.namespace_cost > _MAX_PATTERNS  # seldom, and quick to know
        and not policies.knows_namespace(namespace, labels)
        and policies.selection_cost(namespace, labels) > _MAX_PATTERNS
    ):
        return False
    if len(policies) <= _MAX_FEW_POLICIES:
        return True
    if review.is_custom:
        return False
    subject = review.user_info if review.is_pod else None
    return (
        policies.is_planned(namespace, labels, review.pod, subject)
        or policies.max_policies_in(namespace, labels) <= _MAX_FEW_POLICIES
    )


def is_quick(review: Review, size: int, policies: PolicySet, labels: Mapping[str, str] | None) -> bool:
    """Whether a review that `needs_no_planning` takes so little time that all others can wait for it.

    size: that of its body.
    """
    if review.is_custom:  # its pods are read when it is judged
        return False
    namespace, containers = review.namespace or "", review.containers
    if _has_many_exemptions(containers, policies):
        exemptions, images = policies.exemptions_in(namespace)
        if exemptions + containers * images > _MAX_EXEMPTIONS:
            return False
    has_few_containers = len(policies) <= _MAX_FEW_POLICIES and containers <= _MAX_FEW_CONTAINERS
    if has_few_containers and size <= _MAX_TINY_BYTES:
        return True
    begin_trial()
    try:
        plan = policies.plan(namespace, labels, review.pod, review.user_info if review.is_pod else None)
    finally:
        end_trial(keep=False)
    if size * plan.cost > MAX_SMALL_PRODUCT or _resources(review) > _MAX_RESOURCES:
        return False
    return has_few_containers or containers * plan.cost <= MAX_SMALL_WORK


def _resources(review: Review) -> int:
    """The requests and limits of all containers."""
    spec = (review.pod or Pod()).spec
    containers = (*(spec.containers or ()), *(spec.init_containers or ()), *(spec.ephemeral_containers or ()))
    resources = [container.resources for container in containers if container.resources is not None]
    return sum(len(amounts.requests or ()) + len(amounts.limits or ()) for amounts in resources)


def _has_many_exemptions(containers: int, policies: PolicySet) -> bool:
    """Whether all waivers together have more than a denied pod may be compared with in a quick review."""
    return policies.exemptions + containers * policies.exempt_images > _MAX_EXEMPTIONS
