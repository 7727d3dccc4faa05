"""Policies from the API, strictly: a misspelt or misplaced field is an error with its path."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from sekisho.documents import Problem, problem_of
from sekisho.policies.compilation import compile_policy
from sekisho.policies.problems import PolicyError
from sekisho.policies.types import ClusterPodPolicy, PodPolicy
from sekisho.policies.waivers import PolicyWaiver, compile_waiver

Policy = ClusterPodPolicy | PodPolicy | PolicyWaiver
"""An object of any of Sekisho's kinds."""
K = TypeVar("K", bound=Policy)


def decode_policy(raw: bytes) -> ClusterPodPolicy:
    """A ClusterPodPolicy from the API server's JSON. Raises PolicyError with the field's path."""
    return decode(raw, ClusterPodPolicy)


def decode(raw: bytes, kind: type[K]) -> K:
    """A policy or a waiver from the API server's JSON. Raises PolicyError with the field's path."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise PolicyError(problem_of(error)) from None


def from_object(value: Any, kind: type[K]) -> K:
    """A policy or a waiver from the API's JSON, already decoded. Raises PolicyError with the field's path."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise PolicyError(problem_of(error)) from None


def verify(policy: Policy) -> None:
    """Raise PolicyError for a policy or a waiver that its schema allows and that cannot be compiled."""
    if isinstance(policy, PolicyWaiver):
        compile_waiver(policy)
    else:
        compile_policy(policy)


def duplicate_names(policies: Iterable[Policy]) -> Iterator[Problem]:
    """A problem for each name that two policies, or two waivers, share."""
    seen: set[tuple[str, bool]] = set()
    for policy in policies:
        is_waiver = isinstance(policy, PolicyWaiver)
        if (policy.title, is_waiver) in seen:
            yield Problem(policy.title, f"two {'waivers' if is_waiver else 'policies'} have this name")
        seen.add((policy.title, is_waiver))
