"""The policies that a run was given: of files, and of a level of the Pod Security Standards."""

from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from sekisho.controls import Level
from sekisho.policies import ClusterPodPolicy, Policy, PolicyError, read_policies
from sekisho.policies.loading import duplicate_names
from sekisho.policies.types import ClusterPodPolicySpec, PodSecurityStandard, PolicyMeta
from sekisho.standards import LATEST, parse_version


def load_policies(paths: Iterable[Path], standard: str | None = None) -> list[Policy]:
    """The policies of files and folders, and one more for a standard such as `restricted` or `baseline:v1.30`.

    Raises PolicyError for what is wrong with a file, and ValueError for a standard that there is not.
    """
    policies = [policy for path in paths for policy in read_policies(path)]
    if standard is not None:
        policies.append(policy_of_standard(standard))
    problems = tuple(dict.fromkeys(duplicate_names(policies)))
    if problems:
        raise PolicyError(*problems)
    return policies


def policy_of_standard(standard: str) -> ClusterPodPolicy:
    """A policy that asks for a level of the Pod Security Standards, named after it. Raises ValueError."""
    level, _, version = standard.partition(":")
    levels = get_args(Level)
    if level not in levels:
        raise ValueError(f"the level must be {', '.join(levels[:-1])} or {levels[-1]}")
    parse_version(version or LATEST)
    asked = PodSecurityStandard(level=level, version=version or LATEST)  # type: ignore[arg-type]
    return ClusterPodPolicy(PolicyMeta(standard), ClusterPodPolicySpec(pod_security_standard=asked))
