"""The waivers of a PolicySet, by namespace and policy."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from sekisho.policies.index import NamespaceIndex
from sekisho.policies.waivers import CompiledWaiver

MAX_ENTRIES: Final = 500_000
"""Names of namespaces, and waivers of a policy in one of them, that are cached; a full cache is cleared."""


class _Selected(Struct):
    """The waivers for a namespace, also by the names of policies, and what `exemptions_in` gives once it is known."""

    waivers: tuple[CompiledWaiver, ...]
    by_policy: Mapping[str, Sequence[CompiledWaiver]]
    exemptions: tuple[int, int] | None = None


class WaiverIndex:
    """Waivers in the order of their names, expired ones included. What applies to a namespace is selected once."""

    def __init__(self, waivers: Iterable[CompiledWaiver]) -> None:
        by_name = sorted(waivers, key=lambda waiver: waiver.name)
        self._index = NamespaceIndex((waiver.cues, waiver) for waiver in by_name)
        self._known: dict[str, _Selected] = {}
        self._entries = 0
        self.is_empty = not by_name
        self.exemptions = _exemptions(by_name)
        """As `exemptions_in`, of the waivers for all namespaces."""
        self.namespace_cost = sum(waiver.namespace_cost for waiver in by_name)
        """The most that `selection_cost` may be for any namespace."""
        self.label_keys = frozenset[str]().union(*(waiver.label_keys for waiver in by_name))
        """The keys of the pods' labels that waivers select pods by."""

    def knows(self, namespace: str) -> bool:
        """Whether the waivers for a namespace were selected already."""
        return self.is_empty or namespace in self._known

    def knows_exemptions(self, namespace: str) -> bool:
        """Whether `exemptions_in` was called for a namespace already."""
        known = self._known.get(namespace)
        return self.is_empty or (known is not None and known.exemptions is not None)

    def exemptions_in(self, namespace: str) -> tuple[int, int]:
        """What a denied pod of a namespace may be compared with.

        The policies, values and conditions of waivers, and the patterns for images that one container is compared with.
        """
        selected = self._selected(namespace)
        if selected.exemptions is None:
            selected.exemptions = _exemptions(selected.waivers)
        return selected.exemptions

    def selection_cost(self, namespace: str) -> int:
        """What selecting the waivers for a namespace costs, as `pattern_cost` gives it."""
        return sum(waiver.namespace_cost for waiver in self._index.candidates(namespace, {}))

    def waivers_in(self, namespace: str) -> Mapping[str, Sequence[CompiledWaiver]]:
        """The waivers for a namespace by the names of policies."""
        return self._selected(namespace).by_policy

    def _selected(self, namespace: str) -> _Selected:
        known = self._known.get(namespace)
        if known is None:
            candidates = self._index.candidates(namespace, {})
            waivers = tuple(waiver for waiver in candidates if waiver.selects_namespace(namespace))
            by_policy: dict[str, list[CompiledWaiver]] = {}
            for waiver in waivers:
                for name in waiver.policies:
                    by_policy.setdefault(name, []).append(waiver)
            entries = 20 + len(waivers) + sum(map(len, by_policy.values()))
            if self._entries + entries > MAX_ENTRIES:
                self._known.clear()
                self._entries = 0
            self._entries += entries
            known = self._known[namespace] = _Selected(waivers, by_policy)
        return known


def _exemptions(waivers: Sequence[CompiledWaiver]) -> tuple[int, int]:
    return sum(waiver.cost for waiver in waivers), _most_compared(waivers)


def _most_compared(waivers: Iterable[CompiledWaiver]) -> int:
    """The most image patterns of waivers that an image is compared with: they are filed by their literal beginnings."""
    by_literal: Counter[tuple[str, ...]] = Counter()
    for waiver in waivers:
        for literal in waiver.literals:
            by_literal[literal] += len(waiver.images)
    without_literal = by_literal.pop((), 0)
    return without_literal + max(by_literal.values(), default=0)
