"""Conflicting defaults: two policies that may apply to the same pod set the same field to different values.

Two policies may apply to the same pod unless their matches rule it out.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from sekisho.globs import globs_meet
from sekisho.policies.compilation import CompiledPolicy
from sekisho.policies.compiled_defaults import DefaultLevel
from sekisho.policies.selectors import LabelSelector, Match
from sekisho.policies.status import MAX_CONFLICTS, Conflict
from sekisho.policies.types import ClusterPodPolicy, PodPolicy

MAX_VALUE_LENGTH: Final = 80
MAX_COMPARED: Final = 4096
"""Pairs of patterns; policies with more are taken to apply to the same namespace."""
MAX_CACHED_LENGTH: Final = 1024
"""Characters of the values of defaults whose comparison is cached: tenants choose these values, and change them."""


class Field(NamedTuple):
    """A default: its field, and its value as JSON."""

    level: DefaultLevel
    key: str
    value: str

    @property
    def path(self) -> str:
        """Its path in the policy."""
        return self.level.path(self.key)


class Defaulting(Struct, frozen=True, eq=False):
    """A policy, reduced to its defaults and its match."""

    policy: ClusterPodPolicy | PodPolicy
    compiled: CompiledPolicy
    fields: tuple[Field, ...]

    @property
    def title(self) -> str:
        """The policy's name in messages."""
        return self.compiled.name

    @property
    def rank(self) -> tuple[bool, str]:
        """Defaults of the policy with the lower rank are applied: ClusterPodPolicies first, then by name."""
        return self.compiled.namespace is not None, self.compiled.name


def defaulting_of(policy: ClusterPodPolicy | PodPolicy, compiled: CompiledPolicy) -> Defaulting | None:
    """The part of a policy to compare; None for one without defaults."""
    fields = tuple(
        Field(default.level, default.key, msgspec.json.encode(default.value).decode()) for default in compiled.defaults
    )
    return Defaulting(policy, compiled, fields) if fields else None


def conflicts_between(one: Defaulting, other: Defaulting) -> Iterator[tuple[Conflict, Conflict]]:
    """For each default in conflict, the entries for the status of `one` and of `other`."""
    first, second = (one, other) if one.rank < other.rank else (other, one)
    contrary = _contrary(first.fields, second.fields, first.rank[0] != second.rank[0])
    if not contrary or not may_meet(one, other):
        return
    for default, against in contrary:
        applied, ignored = f"pods that both apply to get {_short(default.value)}", f"not {_short(against.value)}"
        prevails = Conflict(default.path, second.title, f"{applied}, {ignored} of {second.title}")
        yields = Conflict(against.path, first.title, f"{applied} of {first.title}, {ignored}")
        yield (prevails, yields) if first is one else (yields, prevails)


def _contrary(fields: tuple[Field, ...], others: tuple[Field, ...], across: bool) -> tuple[tuple[Field, Field], ...]:
    """The pairs of fields with different values. Cached, because many policies have the same defaults.

    across: whether one is a ClusterPodPolicy and the other a PodPolicy. The latter's default is not applied if the
        former has one for the field, whether for the pod or for its containers.
    """
    if fields == others:
        return ()
    length = sum(len(field.value) for field in (*fields, *others))
    return (_cached_pairs if length <= MAX_CACHED_LENGTH else _pairs)(fields, others, across)


def _pairs(fields: tuple[Field, ...], others: tuple[Field, ...], across: bool) -> tuple[tuple[Field, Field], ...]:
    return tuple(
        (field, other)
        for field in fields
        for other in others
        if field.key == other.key and field.value != other.value and (across or field.level == other.level)
    )


_cached_pairs: Final = lru_cache(maxsize=1024)(_pairs)


def may_meet(one: Defaulting, other: Defaulting) -> bool:
    """Whether there may be a pod that both policies apply to."""
    return _namespaces_may_meet(one, other) and all(
        _may_both_select(selector, other_selector)
        for selector, other_selector in zip(_selectors(one), _selectors(other), strict=True)
    )


def _namespaces_may_meet(one: Defaulting, other: Defaulting) -> bool:
    for named, selecting in ((one, other), (other, one)):
        names = _names(named)
        if names is not None:
            return any(map(selecting.compiled.selects_namespace, filter(named.compiled.selects_namespace, names)))
    patterns, other_patterns = _patterns(one), _patterns(other)
    return len(patterns) * len(other_patterns) > MAX_COMPARED or any(
        globs_meet(pattern, other_pattern) for pattern in patterns for other_pattern in other_patterns
    )


def _names(policy: Defaulting) -> tuple[str, ...] | None:
    """The namespaces that a policy names; None if it has patterns."""
    patterns = _patterns(policy)
    return None if any("*" in pattern for pattern in patterns) else patterns


def _patterns(policy: Defaulting) -> tuple[str, ...]:
    if policy.compiled.namespace is not None:
        return (policy.compiled.namespace,)
    match = policy.policy.spec.match
    namespaces = match.namespaces if isinstance(match, Match) else None
    return ("*",) if namespaces is None else namespaces


def _selectors(policy: Defaulting) -> tuple[LabelSelector | None, LabelSelector | None]:
    match = policy.policy.spec.match
    return match.namespace_selector if isinstance(match, Match) else None, match.pod_selector


def _may_both_select(one: LabelSelector | None, other: LabelSelector | None) -> bool:
    """False if they require different values of the same label."""
    if one is None or other is None:
        return True
    required, also = one.match_labels or {}, other.match_labels or {}
    return all(required[key] == also[key] for key in required.keys() & also.keys())


def _short(value: str) -> str:
    return value if len(value) <= MAX_VALUE_LENGTH else f"{value[: MAX_VALUE_LENGTH - 1]}…"


class Conflicts:
    """The conflicts among a cluster's policies; each policy has a unique key.

    PodPolicies of two namespaces never apply to the same pod, so a policy is compared with those of its own namespace
    and the cluster's. Policies with the same defaults form a group, and only groups are compared.
    """

    def __init__(self) -> None:
        self._policies: dict[str, Defaulting] = {}
        self._groups: dict[str | None, dict[tuple[Field, ...], dict[str, Defaulting]]] = {}
        """By namespace, None for the cluster's, and by defaults."""
        self._conflicts: dict[str, tuple[Conflict, ...]] = {}

    def update(self, key: str, policy: Defaulting | None) -> None:
        """Add or replace a policy; None removes it, as it is deleted or has no defaults."""
        before = self._policies.pop(key, None)
        self._conflicts.pop(key, None)
        if before is not None:
            groups = self._groups[before.compiled.namespace]
            del groups[before.fields][key]
            if not groups[before.fields]:
                del groups[before.fields]
            if not groups:
                del self._groups[before.compiled.namespace]
        for changed in filter(None, (before, policy)):
            for other, against in self._contrary_to(changed):
                if other in self._conflicts and next(conflicts_between(changed, against), None):
                    del self._conflicts[other]
        if policy is not None:
            self._policies[key] = policy
            self._groups.setdefault(policy.compiled.namespace, {}).setdefault(policy.fields, {})[key] = policy

    def of(self, key: str) -> tuple[Conflict, ...]:
        """A policy's conflicts, first those with the policies of the lowest rank."""
        conflicts = self._conflicts.get(key)
        policy = self._policies.get(key)
        if conflicts is None and policy is not None:
            conflicts = self._conflicts[key] = tuple(islice(self._find(policy), MAX_CONFLICTS))
        return conflicts or ()

    def _find(self, policy: Defaulting) -> Iterator[Conflict]:
        for _, against in sorted(self._contrary_to(policy), key=lambda item: item[1].rank):
            yield from (ours for ours, _ in conflicts_between(policy, against))

    def _contrary_to(self, policy: Defaulting) -> Iterator[tuple[str, Defaulting]]:
        """The policies, with their keys, that have a different value for some field and may share a namespace."""
        own = policy.compiled.namespace
        for namespace in self._groups if own is None else (None, own):
            for fields, group in self._groups.get(namespace, {}).items():
                if _contrary(policy.fields, fields, (own is None) != (namespace is None)):
                    yield from group.items()
