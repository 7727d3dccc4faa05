"""The audit of what runs: which pods violate policies, and which would be denied when they are created again. Pure.

A running pod that violates a policy is not a pod that would be denied: defaults may fill in what it lacks. So there are
two numbers, which are never added up. The first one judges each pod as it runs. The second one judges the template that
the pod is made from, as the API server creates a pod from it and after defaults; a pod without a known template is
judged as if it were created again as it is.
"""

from sekisho.audit.broken_defaults import BrokenDefault
from sekisho.audit.counts import Impact, OwnerAudit, Result, examples
from sekisho.audit.objects import LINKS, PODS, TEMPLATES, Kind, Owner
from sekisho.audit.passes import Audit, Surroundings
from sekisho.audit.promotion import Promotions, promotions_of

__all__ = [
    "LINKS",
    "PODS",
    "TEMPLATES",
    "Audit",
    "BrokenDefault",
    "Impact",
    "Kind",
    "Owner",
    "OwnerAudit",
    "Promotions",
    "Result",
    "Surroundings",
    "examples",
    "promotions_of",
]
